/*
 * calls_sample.c - how long has a thread slept in its call?
 */
#include "calls.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "timed.h"
#include "tracee.h"

/* Not in any header for programs. */
#define K_ERESTARTNOHAND 514
#define K_ERESTART_RESTARTBLOCK 516

/*
 * To wake and be stopped takes a thread no longer than this on its CPU: if it
 * had more it may have been elsewhere, and come back to the same call.
 */
#define WAKE_NS 500000u

/* To read the scheduler's clock takes us less than this, if nobody disturbs. */
#define CLOCK_NS 200000u
#define CLOCK_TRIES 4

/* A small file of /proc, cut off at `size`. */
static bool
small_file(pid_t pid, pid_t tid, const char *name, char *buf, size_t size)
{
	char path[80];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)tid,
	    name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

static bool
times_run(pid_t pid, pid_t tid, uint64_t *ran, uint64_t *runs)
{
	unsigned long long ns, waited, n;
	char buf[128];

	if (!small_file(pid, tid, "schedstat", buf, sizeof(buf)) ||
	    sscanf(buf, "%llu %llu %llu", &ns, &waited, &n) != 3)
		return false;
	*ran = ns;
	*runs = n;
	return true;
}

/* When the thread last ran, by the scheduler's clock, in ns. */
static bool
last_ran(pid_t pid, pid_t tid, uint64_t *ns)
{
	unsigned long long ms, frac;
	char buf[1024], *s;

	if (!small_file(pid, tid, "sched", buf, sizeof(buf)))
		return false;
	s = strstr(buf, "se.exec_start");
	s = s == NULL ? NULL : strchr(s, ':');
	if (s == NULL || sscanf(s + 1, "%llu.%6llu", &ms, &frac) != 2)
		return false;
	*ns = ms * 1000000u + frac;
	return true;
}

/* The CPU that a sleeping thread ran on, whose clock that was; -1: unknown. */
static int
last_cpu(pid_t pid, pid_t tid)
{
	char buf[1024], *s;
	int field = 2;

	if (!small_file(pid, tid, "stat", buf, sizeof(buf)))
		return -1;
	for (s = strrchr(buf, ')'); s != NULL && field < 39; field++)
		s = strchr(s + 1, ' ');
	return s == NULL ? -1 : atoi(s);
}

/*
 * What to add to a CPU's scheduler clock to have CLOCK_MONOTONIC, or a little
 * more, for no time-out may come too early: our own thread, moved there, knows
 * the one for the moment at which it comes back from a short sleep, and asks for
 * the other after that.
 */
static bool
measure_clock(int cpu, int64_t *offset)
{
	const struct timespec t = { 0, 1 };
	cpu_set_t one, old;
	uint64_t woke, mono, sched;
	bool known = true;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(old), &old) != 0 ||
	    sched_setaffinity(0, sizeof(one), &one) != 0)
		return false;
	*offset = INT64_MAX;
	/* If another had the CPU in between, once more. */
	for (int i = 0; known && i < CLOCK_TRIES; i++) {
		nanosleep(&t, NULL);
		woke = now_ns();
		known = last_ran(getpid(), gettid(), &sched);
		mono = now_ns();
		if (known && (int64_t)(mono - sched) < *offset)
			*offset = (int64_t)(mono - sched);
		if (mono - woke < CLOCK_NS)
			break;
	}
	sched_setaffinity(0, sizeof(old), &old);
	return known;
}

static bool
read_clock(struct calls_clock *c, int cpu, int64_t *offset)
{
	if (cpu < 0 || cpu >= CALLS_CPUS)
		return false;
	if (!c->cpu[cpu].tried) {
		c->cpu[cpu].tried = true;
		c->cpu[cpu].known = measure_clock(cpu, &c->cpu[cpu].offset);
	}
	*offset = c->cpu[cpu].offset;
	return c->cpu[cpu].known;
}

/* Has the call a relative time-out that begins when it does? */
static bool
sleeps_for_a_time(const struct call_sample *s)
{
	const struct timed *timed = timed_find(s->nr);

	if (timed != NULL)
		return timed_ends(timed, s->args[timed->arg]);
	switch (s->nr) {
	case SYS_nanosleep:
	case SYS_restart_syscall:
		return true;
	case SYS_clock_nanosleep:
		return (s->args[1] & TIMER_ABSTIME) == 0;
	case SYS_poll:
		return (int)s->args[2] > 0;
	case SYS_futex:
		return (s->args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT &&
		       s->args[3] != 0;
	default:
		return false;
	}
}

void
calls_sample(
    pid_t pid, pid_t tid, struct calls_clock *clock, struct call_sample *s)
{
	unsigned long long a[6];
	uint64_t sched;
	int64_t offset;
	char buf[256];

	memset(s, 0, sizeof(*s));
	if (!small_file(pid, tid, "syscall", buf, sizeof(buf)) ||
	    sscanf(buf, "%d %llx %llx %llx %llx %llx %llx", &s->nr, &a[0],
		&a[1], &a[2], &a[3], &a[4], &a[5]) != 7)
		return;
	for (int i = 0; i < 6; i++)
		s->args[i] = a[i];
	s->fragile = calls_is_fragile(s->nr);
	if (!sleeps_for_a_time(s))
		return;
	if (s->nr == SYS_restart_syscall &&
	    small_file(pid, tid, "wchan", s->wchan, sizeof(s->wchan)) &&
	    s->wchan[0] == '0')
		s->wchan[0] = '\0';
	if (!times_run(pid, tid, &s->ran, &s->runs) ||
	    !last_ran(pid, tid, &sched) ||
	    !read_clock(clock, last_cpu(pid, tid), &offset))
		return;
	s->since = sched + (uint64_t)offset;
	s->valid = true;
}

void
calls_stopped(struct call_sample *s)
{
	uint64_t now = now_ns();

	/* It fell asleep just now, and we took that for a little later. */
	if (s->since > now)
		s->since = now;
	s->slept = now - s->since;
}

void
calls_confirm(pid_t pid, pid_t tid, const struct user_regs_struct *r,
    struct call_sample *s)
{
	uint64_t args[6], ran, runs;
	int err;

	if (!s->valid)
		return;
	calls_args(r, args);
	err = timed_find(s->nr) == NULL ? K_ERESTART_RESTARTBLOCK
					: K_ERESTARTNOHAND;
	s->valid = (long)r->orig_rax >= 0 && (long)r->rax == -err &&
		   s->nr == (int)r->orig_rax &&
		   memcmp(s->args, args, sizeof(args)) == 0 &&
		   times_run(pid, tid, &ran, &runs) && runs == s->runs + 1 &&
		   ran - s->ran < WAKE_NS;
}
