/*
 * sharers.h - who else has what a process maps shared and without a name.
 */
#ifndef SHARERS_H
#define SHARERS_H

#include "process.h"

struct snap_ctx;

/*
 * Shared memory comes back as the process's own.  For each object that another
 * process maps too (not `pid`, nor `twin`, nor another twin of this program's)
 * a line in p->unsupported.
 */
int sharers_list(struct snap_ctx *cx, pid_t pid, pid_t twin, struct process *p);

#endif
