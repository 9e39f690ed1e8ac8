#include "calls.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracee.h"
#include "uapi.h"

/* Not in any header for programs. */
#define K_EINTR 4
#define K_ERESTARTSYS 512
#define K_ERESTARTNOINTR 513
#define K_ERESTARTNOHAND 514
#define K_ERESTART_RESTARTBLOCK 516

#define NS 1000000000ull

static bool
interrupted(const struct user_regs_struct *r, long err)
{
	return (long)r->orig_rax >= 0 && (long)r->rax == -err;
}

bool
calls_waits_for_clones(const struct user_regs_struct *r)
{
	/* One that came home by hand is about to make its call anew. */
	bool again = r->orig_rax == (unsigned long)-1;

	switch (again ? r->rax : r->orig_rax) {
	case SYS_wait4:
		return (r->rdx & (__WALL | __WCLONE)) != 0;
	case SYS_waitid:
		return (r->r10 & (__WALL | __WCLONE)) != 0;
	default:
		return false;
	}
}

static bool
restarts(const struct user_regs_struct *r)
{
	return interrupted(r, K_ERESTARTSYS) ||
	       interrupted(r, K_ERESTARTNOINTR) ||
	       interrupted(r, K_ERESTARTNOHAND);
}

/* ---- plain EINTR ---- */

/*
 * Those that answer EINTR because they were woken, with nothing done: always
 * (the first two lines), on sockets with a time-out (the next), or when a
 * server of a file system gave up.  Their time-outs start anew.
 */
static const int eintr_calls[] = { SYS_epoll_wait, SYS_epoll_pwait,
	SYS_epoll_pwait2, SYS_semop, SYS_semtimedop, SYS_rt_sigtimedwait,
	SYS_io_getevents, SYS_io_pgetevents, 426 /* io_uring_enter */,
#define FRAGILE 9 /* the first so many */
	SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_recvfrom, SYS_recvmsg,
	SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_accept,
	SYS_accept4, SYS_connect, SYS_pread64, SYS_preadv, SYS_pwrite64,
	SYS_pwritev };

static bool
is_fragile(int nr)
{
	for (size_t i = 0; i < FRAGILE; i++)
		if (nr == eintr_calls[i])
			return true;
	return false;
}

bool
calls_hide_eintr(struct user_regs_struct *r)
{
	if (!interrupted(r, K_EINTR))
		return false;
	for (size_t i = 0; i < sizeof(eintr_calls) / sizeof(int); i++)
		if (r->orig_rax == (unsigned long)eintr_calls[i]) {
			r->rax = (unsigned long)-K_ERESTARTNOHAND;
			return true;
		}
	return false;
}

/* ---- how long has it slept? ---- */

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
times_run(pid_t pid, pid_t tid, uint64_t *runs)
{
	unsigned long long ran, waited, n;
	char buf[128];

	if (!small_file(pid, tid, "schedstat", buf, sizeof(buf)) ||
	    sscanf(buf, "%llu %llu %llu", &ran, &waited, &n) != 3)
		return false;
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
 * What to add to a CPU's scheduler clock to have CLOCK_MONOTONIC: our own
 * thread, moved there, knows both for the moment at which it comes back from a
 * short sleep.
 */
static bool
measure_clock(int cpu, int64_t *offset)
{
	struct timespec t = { 0, 1 };
	cpu_set_t one, old;
	uint64_t mono, sched;
	bool known;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(old), &old) != 0 ||
	    sched_setaffinity(0, sizeof(one), &one) != 0)
		return false;
	nanosleep(&t, NULL);
	mono = now_ns();
	known = last_ran(getpid(), gettid(), &sched);
	sched_setaffinity(0, sizeof(old), &old);
	*offset = (int64_t)(mono - sched);
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

/* Has the call a relative time-out that the kernel would keep for us? */
static bool
sleeps_for_a_time(const struct call_sample *s)
{
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
	s->fragile = is_fragile(s->nr);
	if (!sleeps_for_a_time(s))
		return;
	if (s->nr == SYS_restart_syscall &&
	    small_file(pid, tid, "wchan", s->wchan, sizeof(s->wchan)) &&
	    s->wchan[0] == '0')
		s->wchan[0] = '\0';
	if (!times_run(pid, tid, &s->runs) || !last_ran(pid, tid, &sched) ||
	    !read_clock(clock, last_cpu(pid, tid), &offset))
		return;
	s->since = sched + (uint64_t)offset;
	s->valid = true;
}

/* ---- the image's registers ---- */

static void
get_args(const struct user_regs_struct *r, uint64_t a[6])
{
	a[0] = r->rdi;
	a[1] = r->rsi;
	a[2] = r->rdx;
	a[3] = r->r10;
	a[4] = r->r8;
	a[5] = r->r9;
}

static bool
read_timespec(const struct calls_memory *m, uint64_t addr, uint64_t *ns)
{
	struct timespec t;

	if (addr == 0 || !m->read(m->arg, &t, sizeof(t), addr) ||
	    t.tv_sec < 0 || t.tv_nsec < 0 || (uint64_t)t.tv_nsec >= NS)
		return false;
	if (__builtin_mul_overflow((uint64_t)t.tv_sec, NS, ns) ||
	    __builtin_add_overflow(*ns, (uint64_t)t.tv_nsec, ns))
		*ns = UINT64_MAX;
	return true;
}

/* The number that a `mov $nr,%eax` just before the call puts there, or -1. */
static int
preceding_number(const struct calls_memory *m, uint64_t rip)
{
	uint8_t b[16];
	int32_t nr;

	/* ... b8 NR NR NR NR 0f 05 */
	if (!m->read(m->arg, b, 7, rip - 7) || b[0] != 0xb8 || b[5] != 0x0f ||
	    b[6] != 0x05)
		return -1;
	memcpy(&nr, b + 1, sizeof(nr));
	return nr;
}

static bool
is_pointer(uint64_t v)
{
	return v >= 65536 && v < 1ull << 47;
}

static bool
waits_for_futex(uint64_t op)
{
	uint64_t cmd = op & (uint64_t)FUTEX_CMD_MASK;

	return op <= 511 && (cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET);
}

/*
 * A call that has been interrupted before is restart_syscall(2) to the kernel,
 * and its own number is forgotten.  Its arguments are still there, and no two
 * of the four calls that can be meant look alike; where the kernel tells in
 * which function the thread slept, that has to agree.
 */
static int
forgotten_number(const uint64_t a[6], uint64_t rip, const struct call_sample *s,
    const struct calls_memory *m)
{
	const char *w = s->wchan;
	uint64_t ns;
	int nr = -1;

	switch (preceding_number(m, rip)) {
	case SYS_nanosleep:
		return SYS_nanosleep;
	case SYS_clock_nanosleep:
		return SYS_clock_nanosleep;
	case SYS_poll:
		return SYS_poll;
	case SYS_futex:
		return SYS_futex;
	}
	if (a[0] < 16 && a[1] == 0 && read_timespec(m, a[2], &ns))
		nr = SYS_clock_nanosleep;
	else if (is_pointer(a[0]) && (a[1] == 0 || is_pointer(a[1])) &&
		 strstr(w, "poll") == NULL && strstr(w, "futex") == NULL &&
		 read_timespec(m, a[0], &ns))
		nr = SYS_nanosleep;
	else if (is_pointer(a[0]) && waits_for_futex(a[1]) &&
		 strstr(w, "poll") == NULL && read_timespec(m, a[3], &ns))
		nr = SYS_futex;
	else if ((a[0] == 0 || is_pointer(a[0])) && a[1] < 1u << 20 &&
		 (int)a[2] > 0)
		nr = SYS_poll;
	if ((strstr(w, "nanosleep") != NULL && nr != SYS_nanosleep &&
		nr != SYS_clock_nanosleep) ||
	    (strstr(w, "futex") != NULL && nr != SYS_futex) ||
	    (strstr(w, "poll") != NULL && nr != SYS_poll))
		return -1;
	return nr;
}

/*
 * The whole time-out of a call, and where the kernel has already written what
 * is left of it (0: nowhere).  False if it has none.
 */
static bool
timeout(const struct restart *rs, const struct calls_memory *m, uint64_t *ns,
    uint64_t *left_at)
{
	*left_at = 0;
	switch (rs->nr) {
	case SYS_nanosleep:
		*left_at = rs->args[1];
		return read_timespec(m, rs->args[0], ns);
	case SYS_clock_nanosleep:
		*left_at = rs->args[3];
		return read_timespec(m, rs->args[2], ns);
	case SYS_poll:
		*ns = (uint64_t)(int)rs->args[2] * 1000000u;
		return (int)rs->args[2] > 0;
	case SYS_futex:
		return (rs->args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT &&
		       read_timespec(m, rs->args[3], ns);
	default:
		return false;
	}
}

void
calls_stopped(struct call_sample *s)
{
	s->slept = now_ns() - s->since;
}

void
calls_confirm(pid_t pid, pid_t tid, const struct user_regs_struct *r,
    struct call_sample *s)
{
	uint64_t args[6], runs;

	if (!s->valid)
		return;
	get_args(r, args);
	s->valid = interrupted(r, K_ERESTART_RESTARTBLOCK) &&
		   s->nr == (int)r->orig_rax &&
		   memcmp(s->args, args, sizeof(args)) == 0 &&
		   times_run(pid, tid, &runs) && runs == s->runs + 1;
}

/* Start it anew from the beginning. */
static void
again(struct user_regs_struct *r, int nr)
{
	r->rip -= 2; /* `syscall` */
	r->rax = (unsigned long)nr;
	r->orig_rax = (unsigned long)-1;
}

static void
answer_eintr(struct user_regs_struct *r)
{
	r->rax = (unsigned long)-K_EINTR;
	r->orig_rax = (unsigned long)-1;
}

/*
 * The time that is left is what the kernel wrote for the program to see; else
 * the whole less what the thread has slept, as far as that is known.  (Where
 * a call was interrupted before, only the sleep since then is.)
 */
static bool
image_restart_block(struct thread *t, const struct user_regs_struct *r,
    const struct call_sample *s, const struct calls_memory *m)
{
	struct restart *rs = &t->restart;
	uint64_t ns, left_at;

	get_args(r, rs->args);
	rs->nr = r->orig_rax == SYS_restart_syscall
		     ? forgotten_number(rs->args, r->rip, s, m)
		     : (int)r->orig_rax;
	if (rs->nr < 0) {
		answer_eintr(&t->regs);
		return false;
	}
	if (!timeout(rs, m, &ns, &left_at)) {
		/* For ever, or until a moment: from the beginning will do. */
		again(&t->regs, rs->nr);
		rs->nr = -1;
		return true;
	}
	t->regs.orig_rax = (unsigned long)-1;
	rs->has_timeout = true;
	rs->left_ns = ns;
	if (left_at != 0 && read_timespec(m, left_at, &rs->left_ns))
		return true;
	if (s->valid)
		rs->left_ns = s->slept < ns ? ns - s->slept : 0;
	return true;
}

void
calls_by_hand(struct user_regs_struct *home, const struct user_regs_struct *r)
{
	*home = *r;
	home->orig_rax = (unsigned long)-1;
	if (interrupted(r, K_ERESTART_RESTARTBLOCK))
		again(home, SYS_restart_syscall);
	else if (restarts(r))
		again(home, (int)r->orig_rax);
}

bool
calls_image(struct thread *t, const struct user_regs_struct *r,
    const struct call_sample *s, const struct calls_memory *m)
{
	t->regs = *r;
	t->restart.nr = -1;
	if (interrupted(r, K_ERESTART_RESTARTBLOCK))
		return image_restart_block(t, r, s, m);
	if (restarts(r))
		again(&t->regs, (int)r->orig_rax);
	else
		t->regs.orig_rax = (unsigned long)-1;
	return true;
}

/* Those that any handler ends; others only one without SA_RESTART. */
static long
restart_of(unsigned long nr)
{
	switch (nr) {
	case SYS_select:
	case SYS_pselect6:
	case SYS_poll:
	case SYS_ppoll:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_rt_sigtimedwait:
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		return K_ERESTARTNOHAND;
	case SYS_read:
	case SYS_readv:
	case SYS_wait4:
	case SYS_waitid:
		return K_ERESTARTSYS;
	default:
		return 0;
	}
}

bool
calls_interruptible(struct user_regs_struct *r)
{
	long err = (long)r->orig_rax >= 0 ? 0 : restart_of(r->rax);

	if (err == 0)
		return false;
	r->orig_rax = r->rax;
	r->rax = (unsigned long)-err;
	r->rip += 2;
	return true;
}

void
calls_signalled(
    struct thread *t, const struct user_regs_struct *r, uint64_t sa_flags)
{
	if (!interrupted(r, K_ERESTARTNOHAND) &&
	    !interrupted(r, K_ERESTART_RESTARTBLOCK) &&
	    (!interrupted(r, K_ERESTARTSYS) || (sa_flags & SA_RESTART) != 0))
		return;
	t->regs = *r;
	answer_eintr(&t->regs);
	memset(&t->restart, 0, sizeof(t->restart));
	t->restart.nr = -1;
}
