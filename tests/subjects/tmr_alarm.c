/*
 * tmr_alarm - alarms that run out meanwhile: one that had expired and is
 * pending already, and ones with little time left, each come exactly once.
 */
#include <sys/time.h>

#include "subject.h"

static volatile sig_atomic_t alarms, timers;

static void
handler(int signo)
{
	if (signo == SIGALRM)
		alarms++;
	else
		timers++;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1 };
	struct itimerspec soon = { { 0, 0 }, { 0, 5000000 } };
	struct itimerval little = { { 0, 0 }, { 0, 150000 } };
	sigset_t set;
	timer_t timer;

	subject_init(argc, argv);
	subject_allow(SUBJECT_STATUS);
	must(sigaction(SIGALRM, &sa, NULL) == 0);
	must(sigaction(SIGUSR1, &sa, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	must(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
	must(timer_settime(timer, 0, &soon, NULL) == 0);
	do {
		subject_rest();
		must(sigpending(&set) == 0);
	} while (!sigismember(&set, SIGUSR1));
	must(setitimer(ITIMER_REAL, &little, NULL) == 0);

	subject_wait();

	for (int i = 0; i < 1000; i++) {
		must(sigpending(&set) == 0);
		if (sigismember(&set, SIGALRM) && sigismember(&set, SIGUSR1))
			break;
		subject_rest();
	}
	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	for (int i = 0; i < 80; i++)
		subject_rest();
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	expect(alarms == 1, "%d alarms", alarms);
	expect(timers == 1, "%d timers", timers);
	return subject_done();
}
