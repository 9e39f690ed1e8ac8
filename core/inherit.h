/*
 * inherit.h - private memory that a restored child has from its parent, as it
 * had it from fork(2): what is the same page in both is there once.
 *
 * A process that has such memory, or hands it on, puts it into place before its
 * children are born, while it still runs ordinary C (restore_inherit.c); the
 * restorer then leaves it alone.  It lies at its own addresses, but where the
 * agent itself has something there it lies elsewhere meanwhile, at the same
 * place in all processes.
 */
#ifndef INHERIT_H
#define INHERIT_H

#include "layout.h"

struct snap_ctx;

/* A part of a VMA, or all of it. */
struct piece {
	uint64_t start, end;
	uint64_t at; /* where it lies until it is moved to `start` */
	size_t vma;
	bool inherited; /* the parent has it at the same address */
};

/* Sorted; the pieces of a VMA that has any are the whole of it. */
struct pieces {
	struct piece *v;
	size_t n;
};

/* What is to be kept free for all of them in the agent: sorted, disjoint. */
struct inheritance {
	struct pieces *of; /* each process of the tree */
	size_t n;
	struct range *places;
	size_t nplaces;
};

/*
 * Pure.  `self` is what the agent has mapped.  0, or an error with a sentence.
 */
int inherit_find(struct snap_ctx *cx, const struct family *t,
    const struct layout *self, struct inheritance *in);
void inherit_free(struct inheritance *in);

/* Has the process had these bytes from its parent, at this address? */
static inline bool
inherit_is_same(const struct run *r)
{
	return r->kind == RUN_HELD && r->up > 0;
}

#endif
