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
	/* What sentences begin with, "children/12/"; borrowed, may be NULL. */
	const char *where;
};

/* As snap_ctx_new(), for what may not fail: nothing has to be freed. */
void ctx_init(struct snap_ctx *cx, const struct snap_options *opt);

/*
 * Keep the sentence if it is the first, and return `err`, a negative errno:
 *	return snap_fail(cx, -ENOTSUP, "fd %d: io_uring is not supported", fd);
 */
int snap_fail(struct snap_ctx *cx, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Of what is below the level that is wanted not even the arguments are
 * computed.  snap_log.h says what a format may have.
 */
/* clang-format off */
#define snap_logf(cx, lvl, fmt, ...) \
	do { \
		const struct snap_ctx *snap_log_cx = (cx); \
		if (snap_log_cx->opt.log != NULL && \
		    (lvl) <= snap_log_cx->opt.log_level) \
			SNAP_LOG(snap_log_cx->opt.log( \
			    snap_log_cx->opt.log_arg, &snap_log_record), \
			    lvl, fmt, ##__VA_ARGS__); \
	} while (0)
/* clang-format on */

#endif
