/*
 * layout.h - address ranges: what we have mapped ourselves, and where neither
 * we nor an image has anything.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "process.h"

struct snap_ctx;

#define LAYOUT_TASK_SIZE 0x7ffffffff000ull /* of four levels of page tables */

struct range {
	uint64_t start, end;
};

struct layout {
	struct range *v; /* sorted, disjoint */
	size_t n;
	struct range vvar, vvar_vclock, vdso; /* empty: there is none */
};

/* Our own, from /proc/self/maps. */
int layout_self(struct snap_ctx *cx, struct layout *l);
void layout_fini(struct layout *l);

/* Something more that is not free; 0 or -ENOMEM. */
int layout_add(struct layout *l, struct range r);

/*
 * The address of `len` free bytes that keep their distance from everything in
 * `l` and in p->vmas, 0 if there is none.  Pure.
 */
uint64_t layout_hole(
    const struct layout *l, const struct process *p, uint64_t len);

#endif
