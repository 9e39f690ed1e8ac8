/*
 * copied.h - was all of a checkpoint read?  Pure.
 *
 * A checkpoint of a process that is tracked becomes the parent of increments
 * when it was copied: when of each of its files every byte from the first to
 * the last was given to its reader, and each of its links; or the same of its
 * `delta`.  A file that is never read to its end, or is read in more than
 * COPIED_GAPS pieces that do not touch, does not count: then nothing becomes a
 * parent, and the next increment has more than it needs.
 */
#ifndef COPIED_H
#define COPIED_H

#include "snap.h"

#define COPIED_GAPS 64

struct copied;

/* NULL: no memory. */
struct copied *copied_new(const struct snap_checkpoint *cp);
void copied_free(struct copied *c); /* accepts NULL */

/*
 * These bytes of a file or link were given to the reader.  True if that was the
 * last that was missing; at most once.
 */
bool copied_served(struct copied *c, uint32_t n, uint64_t off, uint64_t len);

#endif
