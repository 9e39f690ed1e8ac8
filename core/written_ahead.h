/*
 * written_ahead.h - pages that were written, copied before the process is
 * frozen.
 *
 *	scan ............... scan, frozen
 *	  |-- copied ahead --|-- the rest is copied
 *
 * A scan protects what it tells, so what is copied after it and not told by the
 * next one is as it was.  What is, is copied again.
 */
#ifndef WRITTEN_AHEAD_H
#define WRITTEN_AHEAD_H

#include "spans.h"
#include "written.h"

struct ahead {
	struct written_room room;
	struct spans slots; /* these have places in the room, */
	uint64_t *at;	    /* here each, and at[slots.n] is their end */
	struct spans good;  /* what of them is copied, */
	uint64_t nth;	    /* as it was at this scan, and later */
	/* What the process had written when it was frozen; what was not good. */
	struct spans written, left;
};

/* Places for all of `want`; nothing is copied.  NULL: no memory. */
struct ahead *ahead_new(const struct spans *want);
void ahead_free(struct ahead *a);

/*
 * What of `want` has a place is copied from the process, which runs; whatever is
 * not to be had is left out: it is as it was at scan `nth`, or later.
 * -ETIMEDOUT: what it waits for may never come (a mapping was put there that
 * somebody serves who does not answer).  A thread is left that waits for it, and
 * nothing has a place any more.
 */
int ahead_copy(struct snap_ctx *cx, struct ahead *a, pid_t pid,
    const struct spans *want, uint64_t nth);

/*
 * A scan told what was written since the one before it: that is good no more,
 * and nothing if there were others in between.
 */
int ahead_renew(struct ahead *a, const struct written *w);

/*
 * Frozen: all that was written, in order, is this, which is taken; how many
 * bytes of it are not good, or -ENOMEM.
 */
int64_t ahead_settle(struct ahead *a, struct spans *written);

/*
 * The part of [at, end) that begins at `at` and has one place, or none, ends at
 * *to: the place, or UINT64_MAX.  *k, 0 at first, moves on with `at`.
 */
uint64_t ahead_place(
    const struct ahead *a, size_t *k, uint64_t at, uint64_t end, uint64_t *to);

#endif
