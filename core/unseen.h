/*
 * unseen.h - what is not brought back of a process and no file of /proc tells:
 * the twin is made to find out.
 */
#ifndef UNSEEN_H
#define UNSEEN_H

#include "process.h"

struct frozen;
struct snap_ctx;
struct twin;

/* Of a twin that is not settled; what is found goes to p->unsupported. */
int unseen_collect(struct snap_ctx *cx, struct twin *t, struct process *p);

/*
 * Frozen, heal_open() done: might a twin find something?  1, 0 or -errno; -EAGAIN
 * as from heal_finish().
 */
int unseen_maybe(
    struct snap_ctx *cx, struct frozen *z, const struct process *p);

#endif
