/*
 * gather.h - fill a struct process from a frozen process: all but memory and
 * descriptors.
 */
#ifndef GATHER_H
#define GATHER_H

#include "process.h"

struct snap_ctx;
struct frozen;

/* From outside: /proc, ptrace.  Nothing is run in the process. */
int gather_outside(struct snap_ctx *cx, struct frozen *z, struct process *p);

/*
 * By calls that heal themselves, run in the process: altstacks, tid addresses,
 * timers, death signals, subreaper.
 */
int gather_inside(struct snap_ctx *cx, struct frozen *z, struct process *p);

/*
 * What the twin inherited: dispositions, securebits, dumpable, brk.  The
 * original runs.
 */
int gather_twin(struct snap_ctx *cx, pid_t twin, struct process *p);

#endif
