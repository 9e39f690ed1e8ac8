/*
 * late.h - which memory of the processes of a tree a pager brings, when they
 * run already: all that pager_wants(), but what a child has from its parent by
 * fork(2), which must be there when it is born.
 */
#ifndef LATE_H
#define LATE_H

#include "family.h"
#include "inherit.h"

/*
 * Pure.  Of an image whose runs are resolved: cut them, and mark what may come
 * late.  `in` is empty if nothing is inherited.  *soon becomes how much would be
 * late if it were not shared.  0 or -ENOMEM.
 */
int late_find(struct family *t, const struct inheritance *in, uint64_t *soon);
/* It reads all itself. */
void late_none(struct process *p);

uint64_t late_bytes(const struct process *p);

#endif
