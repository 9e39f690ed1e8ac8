/*
 * leftover.h - what a tracer that was killed left in a process.
 *
 * Its code has healed the process, but it still lies there: blocks in the tail
 * of the vDSO, scratch areas.  They are known by HEAL_MAGIC.  One may lead to
 * another (we may have found a thread on its way home from an earlier one), so
 * all may go, or none: when no thread is in any of them, and no signal handler
 * would come back to one.
 */
#ifndef LEFTOVER_H
#define LEFTOVER_H

#include "freeze.h"
#include "process.h"

struct snap_ctx;

struct region {
	uint64_t start, size;
	bool scratch; /* mapped memory, else a block in a page of code */
};

struct leftovers {
	struct region *v;
	size_t n;
};

int leftovers_find(
    struct frozen *z, const struct process *p, struct leftovers *l);

/* Threads that are on their way home: take them there. */
int leftovers_go_home(struct frozen *z, const struct leftovers *l);

/* Keep only what may go: none, if one of them is still in use. */
int leftovers_check(
    struct frozen *z, const struct process *p, struct leftovers *l);
void leftovers_free(struct leftovers *l);

/* Does a signal's frame on the stack, from `sp` up, lead into one of them? */
bool leftovers_returns(struct frozen *z, const struct process *p, uint64_t sp,
    const struct leftovers *l);

/* Wipe the blocks; nothing is called in the process. */
void leftovers_wipe(struct frozen *z, const struct leftovers *l);

/* Unmap the areas by heal_call(), and take them off p->vmas. */
int leftovers_unmap(struct snap_ctx *cx, struct frozen *z,
    const struct leftovers *l, struct process *p);

#endif
