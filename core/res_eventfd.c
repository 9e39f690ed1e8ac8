/*
 * res_eventfd.c - eventfd(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "proc.h"
#include "res.h"

static bool
eventfd_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:[eventfd]") == 0;
}

/*
 * Before Linux 6.5 the kernel does not tell a semaphore from a counter.  Nearly
 * all are counters, so that is what it becomes; and it is said.
 */
static int
semaphore(const struct fd_probe *q, struct process *p, uint64_t *on)
{
	char what[24];

	if (proc_field_u64(q->fdinfo, "eventfd-semaphore", 10, on))
		return 0;
	*on = 0;
	snprintf(what, sizeof(what), "fd %d", q->fd);
	return process_unsupported(p, what,
	    "this kernel does not say whether an eventfd is a semaphore; it "
	    "is restored as a counter");
}

static int
eventfd_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	uint64_t count, sem;

	if (!proc_field_u64(q->fdinfo, "eventfd-count", 16, &count) ||
	    count == UINT64_MAX)
		return snap_fail(cx, -ENOTSUP,
		    "an eventfd whose count is not known or has run over");
	if (semaphore(q, p, &sem) != 0 ||
	    openfile_put(
		f, "eventfd-count", "%llx", (unsigned long long)count) != 0)
		return -ENOMEM;
	return openfile_put(f, "eventfd-semaphore", "%d", sem != 0);
}

static int
eventfd_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	int err;

	(void)p;
	err = kv_need_u64(cx, f, "eventfd-count", 16, UINT64_MAX - 1);
	return err != 0 ? err : kv_need_u64(cx, f, "eventfd-semaphore", 10, 1);
}

static int
eventfd_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const uint64_t count = kv_u64(f, "eventfd-count", 16);
	const bool sem = kv_u64(f, "eventfd-semaphore", 10) != 0;
	int fd, err;

	(void)r;
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | (sem ? EFD_SEMAPHORE : 0));
	if (fd >= 0 &&
	    (count == 0 || write(fd, &count, sizeof(count)) == sizeof(count)))
		return resource_set_flags(cx, f, fd);
	err = -errno;
	if (fd >= 0)
		close(fd);
	return snap_fail(cx, err, "fd %u: eventfd: %s", f->id, strerror(-err));
}

const struct resource res_eventfd = {
	.name = "eventfd",
	.match = eventfd_match,
	.collect = eventfd_collect,
	.check = eventfd_check,
	.restore = eventfd_restore,
};
