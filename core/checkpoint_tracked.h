/*
 * checkpoint_tracked.h - what a checkpoint does of processes whose writes are
 * tracked: the increment, and who needs no twin for it.
 *
 * All of these do nothing where the checkpoint, or its process number `i`, is
 * not tracked.  0, or -errno with a sentence.
 */
#ifndef CHECKPOINT_TRACKED_H
#define CHECKPOINT_TRACKED_H

#include "checkpoint.h"

/*
 * What can be done while they run: up to `copy_max` bytes of what was written
 * may be copied of all of them together.
 */
void tracked_look_before(struct snap_ctx *cx, pid_t pid, uint64_t copy_max,
    struct snap_checkpoint *cp);

/* All are frozen: each process, and its tracker if it has one. */
int tracked_begin(
    struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp);

/*
 * Before the twin is made: see tracker.h.  What was written is copied at once if
 * that is shorter than to fork, and tracked_is_copied() then.
 */
int tracked_scan(struct snap_ctx *cx, struct frozen_tree *ft, size_t i,
    struct snap_checkpoint *cp);
bool tracked_is_copied(const struct snap_checkpoint *cp, size_t i);

/* That its memory is registered with ours is no state of the process. */
void tracked_forget_ours(struct snap_checkpoint *cp, size_t i);

/* They go on: what can be seen now of those that have no twin. */
int tracked_settle(struct snap_ctx *cx, struct snap_checkpoint *cp);

/* All was read: the next checkpoint has this to compare with. */
void tracked_remember(const struct snap_checkpoint *cp);

/* cp->increment, if there is a parent. */
int tracked_increment(struct snap_ctx *cx, struct snap_checkpoint *cp);

/* It has failed: next time all have a twin. */
void tracked_missed(const struct snap_checkpoint *cp);

/* It is at its end. */
void tracked_drop(struct snap_checkpoint *cp);

#endif
