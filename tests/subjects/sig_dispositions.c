/*
 * sig_dispositions - what each signal does: handlers with their flags and
 * masks, ignored ones, default ones; and each thread's signal mask.
 *
 * variants: musl
 * clones: glibc
 */
#include "subject.h"

static volatile sig_atomic_t plain, info_value;
static int go, done;

static void
on_plain(int signo)
{
	plain = signo;
}

static void
on_info(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	info_value = info->si_value.sival_int;
}

static bool
same(const struct sigaction *a, const struct sigaction *b)
{
	int i;

	for (i = 1; i <= 64; i++)
		if (sigismember(&a->sa_mask, i) != sigismember(&b->sa_mask, i))
			return false;
	return a->sa_flags == b->sa_flags && a->sa_handler == b->sa_handler;
}

/* Thread `i` blocks the signals SIGRTMIN + i and SIGRTMIN + i + 5. */
static void
mask_of(int i, sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGRTMIN + i);
	sigaddset(set, SIGRTMIN + i + 5);
}

static void *
other(void *cookie)
{
	int i = (int)(intptr_t)subject_thread_begin(cookie);
	sigset_t want, is;
	int s;

	mask_of(i, &want);
	pthread_sigmask(SIG_SETMASK, &want, NULL);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		usleep(2000);
	pthread_sigmask(SIG_SETMASK, NULL, &is);
	for (s = 1; s <= 64; s++)
		expect(sigismember(&want, s) == sigismember(&is, s),
		    "thread %d: signal %d is %sblocked", i, s,
		    sigismember(&is, s) ? "" : "not ");
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

int
main(int argc, char **argv)
{
	static struct sigaction was[65], is;
	struct sigaction sa;
	int i;

	subject_init(argc, argv);
	for (i = SIGRTMIN; i <= SIGRTMAX; i++) {
		memset(&sa, 0, sizeof(sa));
		sa.sa_sigaction = on_info;
		sa.sa_flags = SA_SIGINFO;
		if (i % 3 == 0)
			sa.sa_flags |= SA_NODEFER | SA_RESTART;
		if (i % 4 == 0)
			sa.sa_flags |= SA_RESETHAND;
		sigaddset(&sa.sa_mask, i - 20);
		sigaddset(&sa.sa_mask, 1 + i % 30);
		must(sigaction(i, &sa, NULL) == 0);
	}
	signal(SIGUSR1, on_plain);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	for (i = 1; i <= 64; i++)
		if (sigaction(i, NULL, &was[i]) != 0)
			must(i >= 32 && i < SIGRTMIN);
	for (intptr_t t = 1; t <= 3; t++)
		subject_thread(other, (void *)t, NULL);
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < 3)
		subject_rest();

	subject_wait();

	for (i = 1; i <= 64; i++) {
		if (i >= 32 && i < SIGRTMIN)
			continue;
		must(sigaction(i, NULL, &is) == 0);
		expect(same(&was[i], &is), "signal %d: flags %x, not %x", i,
		    (unsigned)is.sa_flags, (unsigned)was[i].sa_flags);
	}
	raise(SIGUSR1);
	expect(plain == SIGUSR1, "SIGUSR1's handler did not run");
	for (i = SIGRTMIN; i <= SIGRTMAX && i % 4 == 0; i++)
		;
	must(sigqueue(getpid(), i, (union sigval){ .sival_int = 77 }) == 0);
	expect(info_value == 77, "signal %d's handler did not run", i);
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < 6)
		subject_rest();
	return subject_done();
}
