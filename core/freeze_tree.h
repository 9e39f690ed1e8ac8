/*
 * freeze_tree.h - hold a process and all below it at one instant.
 *
 * A frozen process makes no children, so they are frozen from the top down, and
 * looked for again until no frozen process has one that is new: an orphan may
 * have come to another meanwhile.
 */
#ifndef FREEZE_TREE_H
#define FREEZE_TREE_H

#include "freeze.h"
#include "process.h"
#include "snap.h"

struct frozen_child {
	size_t parent; /* index into the frozen ones */
	struct zombie zombie;
};

/* A child that is no part of the checkpoint. */
struct left_out {
	size_t parent;
	pid_t pid;
	char comm[64];
};

struct frozen_tree {
	struct frozen **v; /* parents before children */
	size_t *parent;	   /* of each, an index; the first's is 0 */
	size_t n;
	struct frozen_child *zombies;
	size_t nzombies;
	/* Dead twins that were left in a process: it can reap them. */
	struct left_out *dead;
	size_t ndead;
	/* What whoever asked may not see. */
	struct left_out *hidden;
	size_t nhidden;
	pid_t *members; /* the pids of v[] */
	pid_t *skip;	/* children that are none: excluded ones, twins */
	size_t nskip;
	uint64_t deadline;
};

/*
 * Freeze `pid` and all below it.  *out is to be thawed on the same thread.
 * Errors are those of freeze(), of any of them; ETIMEDOUT also if they come
 * and go too fast, E2BIG if they are too many.  Then none is held.
 */
int freeze_tree(struct snap_ctx *cx, pid_t pid,
    const struct snap_take_options *opt, struct frozen_tree **out);

/* All are let go.  Accepts NULL.  `us` (of n, or NULL): how long each was held. */
void thaw_tree(struct snap_ctx *cx, struct frozen_tree *ft, uint64_t *us);

#endif
