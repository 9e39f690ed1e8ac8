/*
 * res_signalfd.c - signalfd(2).  What is pending belongs to the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "proc.h"
#include "res.h"

static bool
signalfd_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:[signalfd]") == 0;
}

static int
signalfd_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	uint64_t mask;

	(void)p;
	if (!proc_field_u64(q->fdinfo, "sigmask", 16, &mask))
		return snap_fail(
		    cx, -ENOTSUP, "a signalfd whose mask is not known");
	return openfile_put(f, "sigmask", "%016llx", (unsigned long long)mask);
}

static int
signalfd_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	(void)p;
	return kv_need_u64(cx, f, "sigmask", 16, UINT64_MAX);
}

/* The kernel's own mask of 64 bits, which libc's sigset_t would hide. */
static int
signalfd_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const uint64_t mask = kv_u64(f, "sigmask", 16);
	int fd;

	(void)r;
	fd = (int)syscall(
	    SYS_signalfd4, -1, &mask, sizeof(mask), O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return snap_fail(
		    cx, -errno, "fd %u: signalfd: %s", f->id, strerror(errno));
	return resource_set_flags(cx, f, fd);
}

const struct resource res_signalfd = {
	.name = "signalfd",
	.match = signalfd_match,
	.collect = signalfd_collect,
	.check = signalfd_check,
	.restore = signalfd_restore,
};
