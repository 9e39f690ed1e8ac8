/*
 * extents.h - which memory is still to come, and where in `pages` it is.
 *
 * Pure: nothing but numbers.  `pages` is cut into pieces of one size; an
 * extent is a run of memory within one piece.  As the process unmaps, moves
 * and forks, extents are dropped, moved and copied.
 */
#ifndef EXTENTS_H
#define EXTENTS_H

#include "process.h"

struct extent {
	uint64_t start, end; /* addresses */
	uint64_t off;	     /* of the first byte, in `pages` */
	bool done;	     /* it is there, or not wanted any more */
};

struct extents {
	struct extent *v; /* by address, disjoint */
	size_t n;
	/* Their indices in the order of their offsets, if it is another. */
	size_t *order;
	bool moved; /* the order of their offsets is not known any more */
};

/*
 * The runs of p that are late, all to come.  What a run calls its offset is one
 * from bases[run->src] on.  0 or -ENOMEM.
 */
int extents_make(struct extents *x, const struct process *p, uint64_t piece,
    const uint64_t *bases);
/* Those of `from` that are not done. */
int extents_copy(struct extents *x, const struct extents *from);
void extents_free(struct extents *x);

/* The one that has this address, or NULL. */
struct extent *extents_find(const struct extents *x, uint64_t addr);

/*
 * The next after `e` (NULL: the first) that has bytes of [off, end) of
 * `pages` and is not done, or NULL.
 */
struct extent *extents_next(const struct extents *x, const struct extent *e,
    uint64_t off, uint64_t end);

/* These addresses are not wanted any more.  0 or -ENOMEM. */
int extents_drop(struct extents *x, uint64_t start, uint64_t end);

/* What was to come at [from, from + len) is to come at `to` instead. */
int extents_move(struct extents *x, uint64_t from, uint64_t to, uint64_t len);

#endif
