/*
 * cow.h - pages that a process still shares with its parent, or with other
 * children of that, since it was forked: they are held once.
 */
#ifndef COW_H
#define COW_H

#include "process.h"

struct snap_ctx;
struct twin;

/*
 * At leisure, all twins being there: of each process's runs what is the same
 * page as its parent's becomes RUN_INHERITED, and offsets are given anew.
 */
int cow_find(struct snap_ctx *cx, struct family *t, struct twin *const *twins);

/*
 * Then: what is not the parent's page, but one that children of it have in
 * common, becomes RUN_FORMER in these, and a run of the parent's `former`.  Not
 * of those parents that are in `but`, of whose pages nothing is known.
 */
int cow_find_former(struct snap_ctx *cx, struct family *t,
    struct twin *const *twins, const bool *but);

/*
 * Of an image that was read: where the bytes of p's RUN_INHERITED and RUN_FORMER
 * are, now that those of its parent q are known.  They become RUN_HELD, in
 * `pages` of another, and `up` levels above.
 * A line of p may stand for any number of lines of q: *pieces, of all
 * processes of an image, counts them, and there may not be very many.
 */
int cow_resolve(struct snap_ctx *cx, struct process *p, struct process *q,
    size_t *pieces);
/* Of all processes of a tree, and those above it. */
int cow_resolve_tree(struct snap_ctx *cx, struct family *t);

/* What images may take memory for that they have no text for: 200 MB. */
#define COW_PIECES_MAX (1u << 22)

/*
 * What p, resolved, shares with its parent where the run f of `former` of that
 * is.  `k` moves on: both are sorted.
 */
enum cow_share { COW_NOTHING, COW_CURRENT, COW_FORMER };
enum cow_share cow_shares(
    const struct process *p, const struct run *f, size_t *k);

/* Does it have any that is still to be resolved? */
bool cow_is_partial(const struct process *p);

#endif
