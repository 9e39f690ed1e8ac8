/*
 * sig_suspend - threads asleep in sigsuspend, pause and sigwaitinfo: woken by
 * their signal only, and the old mask is back afterwards.
 */
#include <sys/syscall.h>

#include "subject.h"

static volatile sig_atomic_t handled;
static int done;

static void
handler(int signo)
{
	(void)signo;
	__atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}

static void
check_mask(const char *who)
{
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	expect(
	    sigismember(&now, SIGUSR1) == 1, "%s: SIGUSR1 is not blocked", who);
	expect(sigismember(&now, SIGUSR2) == 0, "%s: SIGUSR2 is blocked", who);
}

static void *
suspends(void *cookie)
{
	sigset_t set;

	subject_thread_begin(cookie);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	expect(sigsuspend(&set) == -1 && errno == EINTR, "sigsuspend");
	expect(handled == 1, "sigsuspend returned without its signal");
	check_mask("sigsuspend");
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

static void *
pauses(void *cookie)
{
	subject_thread_begin(cookie);
	pause();
	expect(handled == 2, "pause returned without its signal");
	check_mask("pause");
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

static void *
waits(void *cookie)
{
	siginfo_t si;
	sigset_t set;
	int got;

	subject_thread_begin(cookie);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	got = sigwaitinfo(&set, &si);
	expect(got == SIGUSR1, "sigwaitinfo gave %d: %s", got, strerror(errno));
	check_mask("sigwaitinfo");
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

static void
wait_done(int n)
{
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < n)
		subject_rest();
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = handler };
	pthread_t a, b, c;
	pid_t tid;
	sigset_t set;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MASKS);
	must(sigaction(SIGUSR1, &sa, NULL) == 0);
	must(sigaction(SIGUSR2, &sa, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	a = subject_thread(suspends, NULL, &tid);
	subject_blocked(tid, SYS_rt_sigsuspend);
	b = subject_thread(pauses, NULL, &tid);
	subject_blocked(tid, SYS_pause);
	c = subject_thread(waits, NULL, &tid);
	subject_blocked(tid, SYS_rt_sigtimedwait);

	subject_wait();

	expect(handled == 0 && done == 0, "woken without a signal");
	pthread_kill(a, SIGUSR1);
	wait_done(1);
	pthread_kill(b, SIGUSR2);
	wait_done(2);
	pthread_kill(c, SIGUSR1);
	wait_done(3);
	return subject_done();
}
