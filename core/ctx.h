/*
 * ctx.h - the context of one job: its options, its first error, its log.
 */
#ifndef CTX_H
#define CTX_H

#include "snap.h"

struct snap_ctx {
	struct snap_options opt;
	int error;	 /* the first -errno, 0 if none */
	char text[1024]; /* and its sentence */
};

/*
 * Keep the sentence if it is the first, and return `err`, a negative errno:
 *	return snap_fail(cx, -ENOTSUP, "fd %d: io_uring is not supported", fd);
 */
int snap_fail(struct snap_ctx *cx, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void snap_logf(struct snap_ctx *cx, enum snap_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
