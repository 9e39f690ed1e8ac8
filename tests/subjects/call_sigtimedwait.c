/*
 * call_sigtimedwait - asleep until a signal comes, with and without a
 * time-out.  Interrupted, the kernel lets it fail with EINTR or EAGAIN.
 */
#include <sys/syscall.h>

#include "call.h"

static long
waits(void *arg)
{
	struct timespec ts = { 1, 0 };
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, arg == NULL ? SIGUSR1 : SIGUSR2);
	return call_errno(sigtimedwait(&set, &si, arg == NULL ? NULL : &ts));
}

int
main(int argc, char **argv)
{
	struct call a = { .make = waits, .nr = SYS_rt_sigtimedwait };
	struct call b = { .make = waits, .nr = SYS_rt_sigtimedwait, .arg = &a };
	sigset_t set;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MASKS);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	call_begin(&a);
	call_begin(&b);

	subject_wait();

	call_end("sigtimedwait", &b, -EAGAIN);
	expect(
	    !call_finished(&a), "sigwaitinfo returned %ld too early", a.result);
	must(kill(getpid(), SIGUSR1) == 0);
	call_end("sigwaitinfo", &a, SIGUSR1);
	return subject_done();
}
