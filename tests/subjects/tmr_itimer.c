/*
 * tmr_itimer - the three interval timers: one that ticks, what is left of
 * the others.
 *
 * variants: musl
 */
#include <signal.h>
#include <sys/time.h>

#include "subject.h"

static volatile sig_atomic_t ticks, wrong;

static void
tick(int signo)
{
	if (signo == SIGVTALRM)
		ticks++;
	else
		wrong = signo;
}

static int64_t
left(int which, int64_t *interval)
{
	struct itimerval it;

	must(getitimer(which, &it) == 0);
	*interval = it.it_interval.tv_sec * 1000000ll + it.it_interval.tv_usec;
	return it.it_value.tv_sec * 1000000ll + it.it_value.tv_usec;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = tick, .sa_flags = SA_RESTART };
	struct itimerval real = { { 500, 7 }, { 1000, 0 } };
	struct itimerval virt = { { 0, 8000 }, { 0, 8000 } };
	struct itimerval prof = { { 0, 0 }, { 3000, 0 } };
	int64_t value, interval, since;
	sigset_t virtual;
	int before;

	subject_init(argc, argv);
	must(sigaction(SIGVTALRM, &sa, NULL) == 0);
	must(sigaction(SIGALRM, &sa, NULL) == 0);
	must(sigaction(SIGPROF, &sa, NULL) == 0);
	must(setitimer(ITIMER_REAL, &real, NULL) == 0);
	must(setitimer(ITIMER_VIRTUAL, &virt, NULL) == 0);
	must(setitimer(ITIMER_PROF, &prof, NULL) == 0);

	/* What a checkpoint does in it counts: see CAVEATS in snapfs(1). */
	sigemptyset(&virtual);
	sigaddset(&virtual, SIGVTALRM);
	must(sigprocmask(SIG_BLOCK, &virtual, NULL) == 0);
	subject_wait();

	value = left(ITIMER_REAL, &interval);
	expect(value > 900000000 && value <= 1000000000,
	    "ITIMER_REAL: %lld us left", (long long)value);
	expect(interval == 500000007, "ITIMER_REAL: interval %lld us",
	    (long long)interval);
	value = left(ITIMER_PROF, &interval);
	/* CPU time is counted by the tick. */
	expect(value > 2900000000 && value <= 3000100000,
	    "ITIMER_PROF: %lld us left", (long long)value);
	expect(interval == 0, "ITIMER_PROF: interval %lld us",
	    (long long)interval);
	must(sigprocmask(SIG_UNBLOCK, &virtual, NULL) == 0);
	before = ticks;
	since = subject_now(CLOCK_MONOTONIC);
	while (ticks < before + 3 &&
	       subject_now(CLOCK_MONOTONIC) - since < 5000000000)
		;
	must(sigprocmask(SIG_BLOCK, &virtual, NULL) == 0);
	expect(ticks >= before + 3, "ITIMER_VIRTUAL ticks no more");
	expect(wrong == 0, "signal %d came", wrong);
	return subject_done();
}
