/*
 * pins.h - may a call that the process makes have pages of it pinned, and so
 * written without that being seen?
 *
 * A page that is pinned is written by a device, or by another program that
 * answers a request, past the page tables: no write-protection sees it.  The
 * call that pinned it ends when it has been written, so in a process that is
 * frozen there is none; in one that runs there may be.
 */
#ifndef PINS_H
#define PINS_H

#include <stdbool.h>
#include <sys/types.h>

struct snap_ctx;

/*
 * No call that is made now has pages pinned to write to them: each descriptor
 * of the process is of a kind that never does.  False also if that cannot be
 * told.
 */
bool pins_none(struct snap_ctx *cx, pid_t pid);

/*
 * Of one: where its link leads to, its fdinfo; mountinfo(5) of its process.
 * `mode` and `rdev` are those of what has a path.  Pure.
 */
bool pins_not(const char *target, const char *fdinfo, const char *mountinfo,
    mode_t mode, dev_t rdev);

#endif
