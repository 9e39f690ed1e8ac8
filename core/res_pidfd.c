/*
 * res_pidfd.c - a process's pidfd of itself (pidfd_open(2)).
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
pidfd_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:[pidfd]") == 0 ||
	       strncmp(q->target, "pidfd:", 6) == 0;
}

static int
pidfd_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	uint64_t pid;

	(void)p;
	if (!proc_field_u64(q->fdinfo, "Pid", 10, &pid) ||
	    pid != (uint64_t)q->pid)
		return snap_fail(
		    cx, -ENOTSUP, "a pidfd of another process or thread");
	return openfile_put(f, "pid", "self");
}

static int
pidfd_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const char *pid = openfile_get(f, "pid");

	(void)p;
	return pid != NULL && strcmp(pid, "self") == 0 ? 0
						       : kv_bad(cx, f, "pid");
}

/* O_NONBLOCK and O_EXCL are also the names of its own flags. */
static int
pidfd_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd;

	fd = (int)syscall(SYS_pidfd_open, r->pid != 0 ? r->pid : getpid(),
	    f->flags & (O_NONBLOCK | O_EXCL));
	if (fd < 0)
		return snap_fail(
		    cx, -errno, "fd %u: pidfd: %s", f->id, strerror(errno));
	return fd;
}

const struct resource res_pidfd = {
	.name = "pidfd",
	.match = pidfd_match,
	.collect = pidfd_collect,
	.check = pidfd_check,
	.restore = pidfd_restore,
};
