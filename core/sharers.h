/*
 * sharers.h - who else has what a process maps shared and without a name.
 */
#ifndef SHARERS_H
#define SHARERS_H

#include "process.h"

struct snap_ctx;
struct twin;

/*
 * Shared memory comes back as the tree's own.  For each object that another
 * process maps too (none of the tree, nor one of `twins`, nor another twin of
 * this program's, nor born of the tree since `until`) a line in the unsupported of whoever has it.
 */
int sharers_list(
    struct snap_ctx *cx, const struct family *t, struct twin *const *twins);

#endif
