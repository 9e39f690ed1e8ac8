/*
 * zeros.h - memory that is there, and has nothing in it.
 *
 * Programs that clear what they free, and huge pages of which a part is used,
 * have much of it.  It need not be kept: what is not held of anonymous memory
 * is zero anyhow.
 */
#ifndef ZEROS_H
#define ZEROS_H

#include "process.h"

/*
 * So many pages of zeros in a row are found; fewer are not looked for.  A look
 * at one of 64 pages costs some 10 ms for a GiB that has none.
 */
#define ZEROS_MIN 64

struct snap_ctx;

/*
 * Each such row in the held runs of private anonymous memory becomes a
 * RUN_ZERO.  Where the bytes cannot be read, nothing is changed.  Offsets in
 * `pages` are not those of before.
 */
int zeros_find(struct snap_ctx *cx, struct process *p);

#endif
