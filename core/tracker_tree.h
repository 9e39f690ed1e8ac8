/*
 * tracker_tree.h - the trackers of the processes below one that is tracked.
 *
 * At each checkpoint of it every process of the tree gets one, that it keeps
 * for as long as it is in the tree.  What has none (it uses userfaultfd itself,
 * there is no room for more) is whole in each increment.
 *
 * Thread-safe.
 */
#ifndef TRACKER_TREE_H
#define TRACKER_TREE_H

#include "process.h"
#include "snap.h"

struct aheads;
struct tracker_tree;

/* NULL: no memory.  `can_build`: see tracker_kernel_tells_holes(). */
struct tracker_tree *tracker_tree_new(bool can_build);
void tracker_tree_free(struct tracker_tree *t);

/* The tracking of all of them ends now. */
void tracker_tree_stop(struct tracker_tree *t);

/* No more than so many from here on. */
void tracker_tree_limit(struct tracker_tree *t, size_t limit);

/* Add what these have written, how it was seen, and how many they are. */
void tracker_tree_info(struct tracker_tree *t, struct snap_tracker_info *info);

/* While they run: part of what is to be done, see look_ahead(). */
void tracker_tree_look(
    struct snap_ctx *cx, struct tracker_tree *t, struct aheads *a);

/*
 * They are frozen: the tracker of each process of `f` but the first, with a
 * reference for the caller, into v[], which is NULL where it has none.  What is
 * not in `f` is tracked no more.  No failure is one of the checkpoint.
 */
void tracker_tree_join(struct snap_ctx *cx, struct tracker_tree *t,
    const struct family *f, struct snap_tracker **v);

#endif
