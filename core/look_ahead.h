/*
 * look_ahead.h - what of an increment is done before its process is frozen.
 */
#ifndef LOOK_AHEAD_H
#define LOOK_AHEAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ahead;
struct snap_ctx;
struct snap_tracker;
struct written;

/*
 * What process `pid` has written so far is seen; if an increment of at most
 * `copy_max` bytes is to be made without a twin, it is copied, too: into *a,
 * which is NULL else.  No failure is one of the checkpoint.
 */
void look_ahead(struct snap_ctx *cx, pid_t pid, struct snap_tracker *t,
    uint64_t copy_max, struct ahead **a);

#endif
