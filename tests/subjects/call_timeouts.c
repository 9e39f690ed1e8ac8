/*
 * call_timeouts - asleep for a time in calls that answer EINTR when they are
 * interrupted, whose time-outs begin anew if they are made again: they go on
 * with what is left, and every register is as it was.  One is ended by a signal
 * with a handler instead.
 *
 * clones: alone
 */
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "call.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#define MS 1000
#define LONG_MS 60000

static const struct timespec brief = { MS / 1000, MS % 1000 * 1000000 };
static struct epoll_event events[4];
static sigset_t set;
static int ep;
static volatile sig_atomic_t handled;

static long
exactly(void *arg)
{
	const uint64_t *a = arg;

	return call_exactly((long)a[0], a + 1);
}

static void
note(int sig)
{
	(void)sig;
	handled = 1;
}

#define P(x) ((uint64_t)(uintptr_t)(x))

int
main(int argc, char **argv)
{
	uint64_t epoll_args[] = { SYS_epoll_wait, 0, P(&events[0]), 1, MS, 5,
		6 };
	uint64_t pwait_args[] = { SYS_epoll_pwait, 0, P(&events[1]), 1, MS, 0,
		8 };
	uint64_t pwait2_args[] = { SYS_epoll_pwait2, 0, P(&events[2]), 1,
		P(&brief), P(&set), 8 };
	uint64_t signal_args[] = { SYS_rt_sigtimedwait, P(&set), 0, P(&brief),
		8, 4, 5 };
	uint64_t ended_args[] = { SYS_epoll_wait, 0, P(&events[3]), 1, LONG_MS,
		0, 0 };
	struct call wait = { .make = exactly, .arg = epoll_args };
	struct call pwait = { .make = exactly, .arg = pwait_args };
	struct call pwait2 = { .make = exactly, .arg = pwait2_args };
	struct call signal_wait = { .make = exactly, .arg = signal_args };
	struct call ended = { .make = exactly, .arg = ended_args };
	struct sigaction sa = { .sa_handler = note, .sa_flags = SA_RESTART };

	subject_init(argc, argv);
	subject_allow(SUBJECT_MASKS);
	must((ep = epoll_create1(0)) >= 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	must(sigaction(SIGUSR2, &sa, NULL) == 0);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	epoll_args[1] = pwait_args[1] = pwait2_args[1] = ended_args[1] =
	    (uint64_t)ep;
	wait.nr = ended.nr = SYS_epoll_wait;
	pwait.nr = SYS_epoll_pwait;
	pwait2.nr = SYS_epoll_pwait2;
	signal_wait.nr = SYS_rt_sigtimedwait;
	call_begin(&ended);
	call_begin(&wait);
	call_begin(&pwait);
	call_begin(&pwait2);
	call_begin(&signal_wait);

	subject_wait();

	call_timed("epoll_wait", &wait, 0, MS);
	call_timed("epoll_pwait", &pwait, 0, MS);
	call_timed("epoll_pwait2", &pwait2, 0, MS);
	call_timed("sigtimedwait", &signal_wait, -EAGAIN, MS);
	expect(!call_finished(&ended), "a long one ends too early");
	must(pthread_kill(ended.thread, SIGUSR2) == 0);
	call_end("epoll_wait and a handler", &ended, -EINTR);
	expect(handled, "the handler did not run");
	return subject_done();
}
