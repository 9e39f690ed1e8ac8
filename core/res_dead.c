/*
 * res_dead.c - what stands in the place of a descriptor that could not be
 * opened again, and may be missing: one end of a stream whose other end was
 * closed.  Reading gives the end of file, writing EPIPE, and whoever polls it
 * hears that it hung up, so a program treats it as a partner that has left.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctx.h"
#include "res.h"

static bool
dead_match(const struct fd_probe *q)
{
	(void)q;
	return false;
}

/* No image has one. */
static int
dead_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	(void)p;
	return snap_fail(cx, -EBADMSG,
	    "fdinfo/%u: kind `dead' is not one of an image", f->id);
}

static int
dead_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int v[2];

	(void)r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, v) != 0)
		return snap_fail(cx, -errno, "fd %u: socketpair: %s", f->id,
		    strerror(errno));
	close(v[1]);
	return resource_set_flags(cx, f, v[0]);
}

const struct resource res_dead = {
	.name = "dead",
	.match = dead_match,
	.check = dead_check,
	.restore = dead_restore,
};
