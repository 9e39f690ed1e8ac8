/*
 * res_timerfd.c - timerfd_create(2): what is left of its time, and the
 * expirations that were not read.
 *
 * A relative timer goes on with what was left: time stands still for a process
 * that is not there.  An absolute one (TFD_TIMER_ABSTIME) expires when its
 * clock says so, even if that was meanwhile; but CLOCK_MONOTONIC means nothing
 * after a reboot, so there it is relative as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "proc.h"
#include "res.h"

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif
#define NS 1000000000ull
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define KNOWN_SETTIME (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)

static bool
timerfd_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:[timerfd]") == 0;
}

/* it_value: (2, 998533854) */
static bool
pair(const char *fdinfo, const char *key, uint64_t *ns)
{
	const char *s = proc_field(fdinfo, key);
	unsigned long long sec, nsec;

	if (s == NULL || sscanf(s, "(%llu, %llu)", &sec, &nsec) != 2 ||
	    nsec >= NS || sec > INT64_MAX / NS - 1)
		return false;
	*ns = sec * NS + nsec;
	return true;
}

static bool
clock_ns(clockid_t clock, uint64_t *ns)
{
	struct timespec t;

	if (clock_gettime(clock, &t) != 0 || t.tv_sec < 0)
		return false;
	*ns = (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
	return true;
}

static bool
wall(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
}

/* 36 characters and a newline. */
static bool
boot_id(char id[40])
{
	int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, id, 39);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	id[n] = '\0';
	id[strcspn(id, "\n")] = '\0';
	return true;
}

static int
put_expiry(struct openfile *f, clockid_t clock, uint64_t value)
{
	uint64_t now;
	char id[40];

	if (!clock_ns(clock, &now) || (!wall(clock) && !boot_id(id)))
		return 0; /* relative, then */
	if (openfile_put(
		f, "expires", "%llu", (unsigned long long)(now + value)) != 0)
		return -ENOMEM;
	return wall(clock) ? 0 : openfile_put(f, "boot", "%s", id);
}

struct timer {
	uint64_t clock, ticks, how, value, interval;
};

static bool
timer_parse(const char *fdinfo, struct timer *t)
{
	return proc_field_u64(fdinfo, "clockid", 10, &t->clock) &&
	       proc_field_u64(fdinfo, "ticks", 10, &t->ticks) &&
	       proc_field_u64(fdinfo, "settime flags", 8, &t->how) &&
	       pair(fdinfo, "it_value", &t->value) &&
	       pair(fdinfo, "it_interval", &t->interval);
}

/*
 * A periodic timer that has expired stands still until somebody looks: what
 * it missed is counted then, and fdinfo does not look.  timerfd_gettime(2)
 * does, and the process reads what it would have read.
 */
static int
count_missed(struct snap_ctx *cx, const struct fd_probe *q, struct timer *t)
{
	struct itimerspec its;
	char name[32], *text;
	int fd, n, err;

	if (t->value != 0 || t->ticks == 0 || t->interval == 0)
		return 0;
	fd = resource_getfd(cx, q);
	if (fd < 0)
		return fd;
	n = timerfd_gettime(fd, &its);
	close(fd);
	if (n != 0)
		return 0;
	snprintf(name, sizeof(name), "fdinfo/%d", q->fd);
	err = proc_read(cx, q->pid, name, &text, NULL);
	if (err != 0)
		return err;
	if (!timer_parse(text, t))
		err = snap_fail(cx, -EPROTO, "/proc/%d/%s", (int)q->pid, name);
	free(text);
	return err;
}

static int
timerfd_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	struct timer t;
	int err;

	(void)p;
	if (!timer_parse(q->fdinfo, &t))
		return snap_fail(
		    cx, -ENOTSUP, "a timerfd whose state is not known");
	err = count_missed(cx, q, &t);
	if (err != 0)
		return err;
	if (openfile_put(f, "clockid", "%llu", (unsigned long long)t.clock) ||
	    openfile_put(f, "ticks", "%llu", (unsigned long long)t.ticks) ||
	    openfile_put(
		f, "settime-flags", "0%llo", (unsigned long long)t.how) ||
	    openfile_put(f, "value", "%llu", (unsigned long long)t.value) ||
	    openfile_put(f, "interval", "%llu", (unsigned long long)t.interval))
		return -ENOMEM;
	if ((t.how & TFD_TIMER_ABSTIME) == 0 || t.value == 0)
		return 0;
	return put_expiry(f, (clockid_t)t.clock, t.value);
}

static int
timerfd_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const char *boot = openfile_get(f, "boot");
	int err;

	(void)p;
	err = kv_need_u64(cx, f, "clockid", 10, CLOCK_TAI);
	if (err == 0)
		err = kv_need_u64(cx, f, "ticks", 10, UINT64_MAX);
	if (err == 0)
		err = kv_need_u64(cx, f, "settime-flags", 8, KNOWN_SETTIME);
	if (err == 0)
		err = kv_need_u64(cx, f, "value", 10, INT64_MAX);
	if (err == 0)
		err = kv_need_u64(cx, f, "interval", 10, INT64_MAX);
	if (err == 0)
		err = kv_opt_u64(cx, f, "expires", 10, INT64_MAX);
	if (err == 0 && boot != NULL && strlen(boot) > 36)
		err = kv_bad(cx, f, "boot");
	return err;
}

/* ---- a restore ---- */

static struct timespec
timespec_of(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / NS), (long)(ns % NS) };
}

/* When it is to expire on its clock, which says `now`. */
static uint64_t
expiry(const struct openfile *f, clockid_t clock, uint64_t now)
{
	const char *boot = openfile_get(f, "boot");
	char id[40];

	if (openfile_get(f, "expires") != NULL &&
	    (wall(clock) ||
		(boot != NULL && boot_id(id) && strcmp(boot, id) == 0)))
		return kv_u64(f, "expires", 10);
	return now + kv_u64(f, "value", 10);
}

/*
 * A periodic timer that has expired is not running until it is read: so it is
 * set to expire at once, and then has its count.
 */
static int
arm(const struct openfile *f, int fd)
{
	const clockid_t clock = (clockid_t)kv_u64(f, "clockid", 10);
	const uint64_t ticks = kv_u64(f, "ticks", 10);
	uint64_t value = kv_u64(f, "value", 10), now;
	int how = (int)kv_u64(f, "settime-flags", 8);
	struct itimerspec its = { .it_interval =
				      timespec_of(kv_u64(f, "interval", 10)) };
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	bool expired =
	    value == 0 && ticks > 0 &&
	    (its.it_interval.tv_sec != 0 || its.it_interval.tv_nsec != 0);

	if (expired)
		value = 1;
	if ((how & TFD_TIMER_ABSTIME) != 0 && value != 0) {
		if (!clock_ns(clock, &now))
			return -errno;
		value = expired ? now : expiry(f, clock, now);
		if (value == 0)
			value = 1;
	}
	its.it_value = timespec_of(value);
	if (timerfd_settime(fd, how, &its, NULL) != 0)
		return -errno;
	if (expired && poll(&pfd, 1, 1000) != 1)
		return -ETIMEDOUT;
	return ticks == 0 || ioctl(fd, TFD_IOC_SET_TICKS, &ticks) == 0 ? 0
								       : -errno;
}

static int
timerfd_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd, err;

	(void)r;
	fd = timerfd_create(
	    (clockid_t)kv_u64(f, "clockid", 10), TFD_NONBLOCK | TFD_CLOEXEC);
	err = fd < 0 ? -errno : arm(f, fd);
	if (err == 0)
		return resource_set_flags(cx, f, fd);
	if (fd >= 0)
		close(fd);
	return snap_fail(cx, err, "fd %u: timerfd: %s", f->id, strerror(-err));
}

const struct resource res_timerfd = {
	.name = "timerfd",
	.match = timerfd_match,
	.collect = timerfd_collect,
	.check = timerfd_check,
	.restore = timerfd_restore,
};
