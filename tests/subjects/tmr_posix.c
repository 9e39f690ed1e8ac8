/*
 * tmr_posix - POSIX timers: their ids, clocks, ways to notify, what is left,
 * and that they fire.
 *
 * The calls themselves, not libc's: its timer_t is not always the kernel's.
 *
 * clones: none
 */
#include <sys/syscall.h>

#include "subject.h"

#define MS 1000000ll

struct timer {
	clockid_t clock;
	int notify, signo;
	int64_t value, interval; /* ms */
	int id;
};

static struct timer timers[] = {
	{ CLOCK_MONOTONIC, SIGEV_SIGNAL, 40, 1000000, 5000, -1 },
	{ CLOCK_REALTIME, SIGEV_SIGNAL, 41, 20, 20, -1 },
	{ CLOCK_BOOTTIME, SIGEV_NONE, 0, 2000000, 0, -1 },
	{ CLOCK_MONOTONIC, SIGEV_THREAD_ID, 42, 20, 20, -1 },
	{ CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, 43, 3000000, 1, -1 },
	{ CLOCK_MONOTONIC, SIGEV_SIGNAL, 44, 0, 0, -1 }, /* not armed */
};

#define N (int)(sizeof(timers) / sizeof(timers[0]))

static volatile int fired[65], value[65];
static volatile pid_t fired_in[65];

static void
handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_code == SI_TIMER)
		fired[signo]++;
	value[signo] = info->si_value.sival_int;
	fired_in[signo] = subject_tid();
}

static void *
sleeps(void *cookie)
{
	subject_thread_begin(cookie);
	for (;;)
		pause();
	return NULL;
}

static int
create(struct timer *t, pid_t tid)
{
	struct sigevent ev;

	memset(&ev, 0, sizeof(ev));
	ev.sigev_notify = t->notify;
	ev.sigev_signo = t->signo;
	ev.sigev_value.sival_int = 1000 + t->signo;
	if (t->notify == SIGEV_THREAD_ID)
		ev._sigev_un._tid = tid;
	return (int)syscall(SYS_timer_create, t->clock, &ev, &t->id);
}

static void
check(const struct timer *t)
{
	struct itimerspec is;
	int64_t left, interval;

	if (syscall(SYS_timer_gettime, t->id, &is) != 0) {
		subject_fail("timer %d: %s", t->id, strerror(errno));
		return;
	}
	left = is.it_value.tv_sec * 1000 + is.it_value.tv_nsec / MS;
	interval = is.it_interval.tv_sec * 1000 + is.it_interval.tv_nsec / MS;
	expect(interval == t->interval, "timer %d: interval is %lld ms", t->id,
	    (long long)interval);
	if (t->value > 1000)
		expect(left <= t->value && left > t->value - 60000,
		    "timer %d: %lld ms left of %lld", t->id, (long long)left,
		    (long long)t->value);
	else if (t->value == 0)
		expect(left == 0, "timer %d is armed", t->id);
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerspec is;
	sigset_t set;
	pid_t tid;
	int i, gone, before[2];

	subject_init(argc, argv);
	subject_allow(SUBJECT_STATUS);
	for (i = 40; i <= 44; i++)
		must(sigaction(i, &sa, NULL) == 0);
	subject_thread(sleeps, NULL, &tid);
	/* A tick shall not disturb the main thread's sleep. */
	sigemptyset(&set);
	sigaddset(&set, 41);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < N; i++) {
		/* Ids with gaps. */
		must(create(&timers[i], tid) == 0);
		gone = timers[i].id;
		must(create(&timers[i], tid) == 0);
		if (i % 2 == 0)
			must(syscall(SYS_timer_delete, gone) == 0);
	}
	for (i = 0; i < N; i++) {
		is.it_value.tv_sec = timers[i].value / 1000;
		is.it_value.tv_nsec = timers[i].value % 1000 * MS;
		is.it_interval.tv_sec = timers[i].interval / 1000;
		is.it_interval.tv_nsec = timers[i].interval % 1000 * MS;
		must(syscall(SYS_timer_settime, timers[i].id, 0, &is, NULL) ==
		     0);
	}

	subject_wait();

	for (i = 0; i < N; i++)
		check(&timers[i]);
	before[0] = fired[41];
	before[1] = fired[42];
	for (i = 0; i < 1000; i++) {
		if (fired[41] >= before[0] + 3 && fired[42] >= before[1] + 3)
			break;
		subject_rest();
	}
	expect(fired[41] >= before[0] + 3, "CLOCK_REALTIME fires no more");
	expect(value[41] == 1041, "its value is %d", value[41]);
	expect(fired[42] >= before[1] + 3, "SIGEV_THREAD_ID fires no more");
	expect(
	    fired_in[42] == tid, "it fired in %d, not %d", fired_in[42], tid);
	expect(fired[40] == 0 && fired[43] == 0 && fired[44] == 0,
	    "a timer fired that should not");
	for (i = 0; i < N; i++)
		expect(syscall(SYS_timer_delete, timers[i].id) == 0,
		    "timer %d cannot be deleted", timers[i].id);
	return subject_done();
}
