/*
 * fd_timerfd - timers as descriptors: what is left, the interval, unread
 * expirations, absolute ones.
 */
#include <sys/timerfd.h>

#include "subject.h"

#define MS 1000000ll

static int
make(clockid_t clock, int flags, int64_t value, int64_t interval)
{
	struct itimerspec is = { { interval / 1000, interval % 1000 * MS },
		{ value / 1000, value % 1000 * MS } };
	int fd;

	must((fd = timerfd_create(clock, TFD_NONBLOCK | TFD_CLOEXEC)) >= 0);
	must(timerfd_settime(fd, flags, &is, NULL) == 0);
	return fd;
}

int
main(int argc, char **argv)
{
	int far, ticks, once, idle, absolute;
	int64_t now, left;
	struct itimerspec is;
	uint64_t n;

	subject_init(argc, argv);
	far = make(CLOCK_MONOTONIC, 0, 1000000, 7000);
	ticks = make(CLOCK_BOOTTIME, 0, 5, 5);
	once = make(CLOCK_MONOTONIC, 0, 1, 0);
	idle = make(CLOCK_REALTIME, 0, 0, 0);
	now = subject_now(CLOCK_REALTIME) / MS;
	absolute = make(CLOCK_REALTIME, TFD_TIMER_ABSTIME, now + 500000, 0);
	for (int i = 0; i < 5; i++)
		subject_rest();

	subject_wait();

	must(timerfd_gettime(far, &is) == 0);
	expect(is.it_value.tv_sec > 900 && is.it_value.tv_sec <= 1000,
	    "%ld s left of 1000", (long)is.it_value.tv_sec);
	expect(is.it_interval.tv_sec == 7, "the interval");
	expect(read(ticks, &n, 8) == 8 && n >= 2, "ticks so far");
	for (int i = 0; i < 10; i++)
		subject_rest();
	expect(read(ticks, &n, 8) == 8 && n >= 1, "it ticks no more");
	expect(read(once, &n, 8) == 8 && n == 1, "an unread expiration");
	expect(read(once, &n, 8) == -1 && errno == EAGAIN, "only one");
	expect(read(idle, &n, 8) == -1 && errno == EAGAIN, "not armed");
	must(timerfd_gettime(absolute, &is) == 0);
	left = is.it_value.tv_sec * 1000 + is.it_value.tv_nsec / MS;
	now += 500000 - subject_now(CLOCK_REALTIME) / MS;
	expect(left - now < 50 && now - left < 50,
	    "absolute: %lld ms left, not %lld", (long long)left,
	    (long long)now);
	return subject_done();
}
