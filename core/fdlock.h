/*
 * fdlock.h - what belongs to any open file, whatever its kind: locks and
 * leases, and who gets its signals.  In an image:
 *
 *	lock: flock write 0 EOF
 *	lock: posix read 100 199
 *	owner: pid self		(or: pgrp self)
 *	signal: 34
 */
#ifndef FDLOCK_H
#define FDLOCK_H

#include <fcntl.h>

#include "process.h"

struct snap_ctx;
struct fd_probe;

/*
 * The process is frozen.  -ENOTSUP with a sentence for what cannot be
 * restored.
 */
int fdlock_collect(
    struct snap_ctx *cx, const struct fd_probe *q, struct openfile *f);
int fdowner_collect(
    struct snap_ctx *cx, const struct fd_probe *q, struct openfile *f);

/* Pure. */
int fdlock_check(struct snap_ctx *cx, const struct openfile *f);

/*
 * `fd` refers to f.  -EAGAIN if another process holds the lock.  For another
 * process, which inherits or is sent fd, POSIX locks are not taken.
 */
int fdlock_restore(
    struct snap_ctx *cx, const struct openfile *f, int fd, bool for_another);
int fdowner_restore(
    struct snap_ctx *cx, const struct openfile *f, int fd, pid_t self);

/*
 * The POSIX record locks of a process, for fcntl(fd, F_SETLK, &lock).
 * Returns their number, or -ENOMEM; *v is to be freed.
 */
struct fdlock {
	int fd;
	struct flock lock;
};
ssize_t fdlock_posix(const struct process *p, struct fdlock **v);

#endif
