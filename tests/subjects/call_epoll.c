/*
 * call_epoll - asleep in epoll_wait and epoll_pwait, with and without a
 * time-out.  Interrupted, the kernel lets these fail with EINTR.
 */
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "call.h"

static int ep, idle, fds[2];

static long
waits(void *arg)
{
	struct epoll_event ev = { 0, { 0 } };
	long r;

	r = call_errno(epoll_wait(ep, &ev, 1, (int)(intptr_t)arg));
	return r == 1 ? (long)ev.data.u64 : r;
}

static long
pwaits(void *arg)
{
	struct epoll_event ev = { 0, { 0 } };
	sigset_t none;

	sigemptyset(&none);
	return call_errno(epoll_pwait(idle, &ev, 1, (int)(intptr_t)arg, &none));
}

int
main(int argc, char **argv)
{
	struct epoll_event ev = { EPOLLIN, { .u64 = 777 } };
	struct call plain = { .make = waits, .arg = (void *)-1 };
	struct call timed = { .make = pwaits, .arg = (void *)1000 };

	subject_init(argc, argv);
	subject_allow(SUBJECT_MASKS);
	must(pipe(fds) == 0);
	must((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	must((idle = epoll_create1(0)) >= 0);
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ev) == 0);
	plain.nr = SYS_epoll_wait;
	timed.nr = SYS_epoll_pwait;
	call_begin(&plain);
	call_begin(&timed);

	subject_wait();

	call_end("epoll_pwait", &timed, 0);
	expect(!call_finished(&plain), "epoll_wait returned %ld too early",
	    plain.result);
	must(write(fds[1], "x", 1) == 1);
	call_end("epoll_wait", &plain, 777);
	return subject_done();
}
