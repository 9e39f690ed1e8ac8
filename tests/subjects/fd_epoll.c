/*
 * fd_epoll - what an epoll descriptor watches: data, events, edge and one
 * shot, nested ones, and one whose number is no longer its descriptor's.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "subject.h"

static int ep;

static void
add(int fd, unsigned events, uint64_t data)
{
	struct epoll_event ev = { events, { .u64 = data } };

	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
}

/* Which are ready: the set of their data. */
static uint64_t
ready(void)
{
	struct epoll_event ev[16];
	uint64_t set = 0;
	int i, n;

	n = epoll_wait(ep, ev, 16, 0);
	for (i = 0; i < n; i++)
		set |= ev[i].data.u64;
	return set;
}

int
main(int argc, char **argv)
{
	int level, edge, once, outer, pipes[2], inner;
	struct epoll_event ev = { EPOLLIN, { .u64 = 1 } };
	uint64_t got;

	subject_init(argc, argv);
	must((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	must((inner = epoll_create1(0)) >= 0);
	must(pipe(pipes) == 0);
	must((level = eventfd(0, 0)) >= 0 && (edge = eventfd(0, 0)) >= 0);
	must((once = eventfd(0, 0)) >= 0 && (outer = eventfd(0, 0)) >= 0);
	add(level, EPOLLIN, 1);
	add(edge, EPOLLIN | EPOLLET, 2);
	add(once, EPOLLIN | EPOLLONESHOT, 4);
	add(pipes[0], EPOLLIN | EPOLLRDHUP, 8);
	add(inner, EPOLLIN, 16);
	must(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &ev) == 0);
	/* Used up before the checkpoint: must stay so. */
	must(eventfd_write(once, 1) == 0);
	must(ready() == 4);

	subject_wait();

	got = ready();
	expect(
	    got == 0, "ready without a reason: %llx", (unsigned long long)got);
	must(eventfd_write(level, 1) == 0 && eventfd_write(edge, 1) == 0);
	must(write(pipes[1], "x", 1) == 1);
	got = ready();
	expect(got == (1 | 2 | 8), "ready: %llx", (unsigned long long)got);
	got = ready();
	expect(got == (1 | 8), "ready again: %llx", (unsigned long long)got);
	must(eventfd_write(outer, 1) == 0);
	got = ready();
	expect(got == (1 | 8 | 16), "nested: %llx", (unsigned long long)got);
	ev.events = EPOLLIN;
	ev.data.u64 = 32;
	expect(epoll_ctl(ep, EPOLL_CTL_MOD, once, &ev) == 0,
	    "the used one is not watched");
	return subject_done();
}
