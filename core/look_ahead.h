/*
 * look_ahead.h - what of an increment is done before its process is frozen.
 */
#ifndef LOOK_AHEAD_H
#define LOOK_AHEAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ahead;
struct snap_ctx;
struct snap_tracker;

/* Of which trackers something was copied, or is to be; sorted by them. */
struct aheads {
	struct ahead_of {
		struct snap_tracker *tracker; /* with a reference */
		struct ahead *ahead;
	} * v;
	size_t n;
	uint64_t left; /* so many bytes may still be copied */
};

/*
 * What process `pid` has written so far is seen; if its increment is to be made
 * without a twin, and a->left is enough for that, it is copied, too, and put
 * into *a.  No failure is one of the checkpoint.
 */
void look_ahead(
    struct snap_ctx *cx, pid_t pid, struct snap_tracker *t, struct aheads *a);

/* NULL: nothing of it. */
struct ahead *aheads_find(const struct aheads *a, struct snap_tracker *t);

/* All of it, and what no process has taken. */
void aheads_free(struct aheads *a);

#endif
