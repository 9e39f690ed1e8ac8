/*
 * call_poll - asleep in poll, ppoll, select and pselect, with and without a
 * time-out.
 *
 * clones: alone
 */
#include <poll.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "call.h"

static int fds[2];

static long
polls(void *arg)
{
	struct pollfd pfd = { fds[0], POLLIN, 0 };
	long r;

	r = call_errno(poll(&pfd, 1, (int)(intptr_t)arg));
	return r == 1 ? pfd.revents : r;
}

static long
ppolls(void *arg)
{
	struct timespec ts = { 1, 0 };
	struct pollfd pfd = { fds[0], POLLIN, 0 };
	sigset_t none;
	long r;

	sigemptyset(&none);
	r = call_errno(ppoll(&pfd, 1, arg == NULL ? NULL : &ts, &none));
	return r == 1 ? pfd.revents : r;
}

static long
selects(void *arg)
{
	struct timeval tv = { 1, 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	return call_errno(
	    select(fds[0] + 1, &set, NULL, NULL, arg == NULL ? NULL : &tv));
}

static long
pselects(void *arg)
{
	struct timespec ts = { 1, 0 };
	sigset_t none;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	sigemptyset(&none);
	return call_errno(pselect(
	    fds[0] + 1, &set, NULL, NULL, arg == NULL ? NULL : &ts, &none));
}

int
main(int argc, char **argv)
{
	/* glibc's select is the kernel's pselect6. */
	struct call c[] = {
		{ .make = polls, .nr = SYS_poll, .arg = (void *)-1 },
		{ .make = ppolls, .nr = SYS_ppoll },
		{ .make = selects, .nr = SYS_pselect6 },
		{ .make = pselects, .nr = SYS_pselect6 },
		{ .make = polls, .nr = SYS_poll, .arg = (void *)1000 },
		{ .make = ppolls, .nr = SYS_ppoll, .arg = c },
		{ .make = selects, .nr = SYS_pselect6, .arg = c },
		{ .make = pselects, .nr = SYS_pselect6, .arg = c },
	};
	static const char *const names[] = { "poll", "ppoll", "select",
		"pselect", "poll with a time-out", "ppoll with a time-out",
		"select with a time-out", "pselect with a time-out" };
	static const long want[] = { POLLIN, POLLIN, 1, 1 };
	int i;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MASKS);
	must(pipe(fds) == 0);
	for (i = 0; i < 8; i++)
		call_begin(&c[i]);

	subject_wait();

	for (i = 4; i < 8; i++)
		call_timed(names[i], &c[i], 0, 1000);
	for (i = 0; i < 4; i++)
		expect(!call_finished(&c[i]), "%s returned %ld too early",
		    names[i], c[i].result);
	must(write(fds[1], "x", 1) == 1);
	for (i = 0; i < 4; i++)
		call_end(names[i], &c[i], want[i]);
	return subject_done();
}
