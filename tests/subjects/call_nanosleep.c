/*
 * call_nanosleep - asleep for a time, relative and absolute; what is left of
 * it is what is left after a restore.
 *
 * variants: musl
 * clones: alone
 */
#include <sys/syscall.h>

#include "call.h"

static long
sleeps(void *arg)
{
	struct timespec ts = { 1, 0 };

	(void)arg;
	return call_errno(syscall(SYS_nanosleep, &ts, NULL));
}

static long
clock_sleeps(void *arg)
{
	struct timespec ts = { 1, 0 }, left = { 0, 0 };

	(void)arg;
	return -clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &left);
}

static struct timespec until;

static long
until_sleeps(void *arg)
{
	struct timespec now;
	long r;

	(void)arg;
	r = -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (r == 0 &&
	    (now.tv_sec < until.tv_sec ||
		(now.tv_sec == until.tv_sec && now.tv_nsec < until.tv_nsec)))
		return -ETIME;
	return r;
}

int
main(int argc, char **argv)
{
	struct call a = { .make = sleeps, .nr = SYS_nanosleep };
	struct call b = { .make = clock_sleeps, .nr = SYS_clock_nanosleep };
	struct call c = { .make = until_sleeps, .nr = SYS_clock_nanosleep };

	subject_init(argc, argv);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	call_begin(&a);
	call_begin(&b);
	call_begin(&c);

	subject_wait();

	call_timed("nanosleep", &a, 0, 1000);
	call_timed("clock_nanosleep", &b, 0, 1000);
	call_end("clock_nanosleep until", &c, 0);
	return subject_done();
}
