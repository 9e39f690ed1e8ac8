/*
 * res_device.c - the character devices that have no state: /dev/null and its
 * kind.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"

/* null, zero, full, random, urandom */
#define STATELESS (1u << 3 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 9)

static bool
stateless(dev_t dev)
{
	return major(dev) == 1 && minor(dev) < 32 &&
	       (STATELESS >> minor(dev) & 1) != 0;
}

static bool
device_match(const struct fd_probe *q)
{
	return S_ISCHR(q->st.st_mode) && q->target[0] == '/' &&
	       stateless(q->st.st_rdev);
}

static int
device_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	(void)cx;
	(void)p;
	return openfile_put(
	    f, "rdev", "%x:%x", major(q->st.st_rdev), minor(q->st.st_rdev));
}

static int
device_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	dev_t dev;

	(void)p;
	if (!kv_device(openfile_get(f, "rdev"), &dev) || !stateless(dev))
		return kv_bad(cx, f, "rdev");
	return 0;
}

static int
device_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct stat st;
	dev_t dev = 0;
	int fd;

	fd = resource_open(cx, r, f, f->target);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	    kv_device(openfile_get(f, "rdev"), &dev) && st.st_rdev == dev)
		return resource_seek(cx, f, fd);
	close(fd);
	return snap_fail(cx, -ESTALE, "fd %u: %s: it is another device now",
	    f->id, f->target);
}

const struct resource res_device = {
	.name = "device",
	.match = device_match,
	.collect = device_collect,
	.check = device_check,
	.restore = device_restore,
};
