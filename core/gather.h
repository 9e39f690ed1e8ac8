/*
 * gather.h - fill a struct process from a frozen process: all but memory and
 * descriptors.
 */
#ifndef GATHER_H
#define GATHER_H

#include "process.h"

struct snap_ctx;
struct frozen;
struct frozen_tree;

/*
 * From outside: /proc, ptrace.  Nothing is run in the process, and its
 * registers in `z` are settled: a thread in an rseq critical section is moved
 * out of it.
 */
int gather_outside(struct snap_ctx *cx, struct frozen *z, struct process *p);

/*
 * By calls that heal themselves, run in the process: altstacks, tid addresses,
 * credentials, scheduling, dispositions, timers, death signals, brk, and the
 * like.  And what follows from that: pending signals, calls in progress.  Does heal_open(); p->vmas are known.
 */
int gather_inside(struct snap_ctx *cx, struct frozen *z, struct process *p);

/*
 * Has the process, of which `child` is a child that is stopped, been told so by
 * wait(2)?  Between gather_inside() and heal_close().
 */
int gather_stop_told(
    struct snap_ctx *cx, struct frozen *z, pid_t child, bool *told);

/*
 * What is to be undone to System V semaphores when the process ends (SEM_UNDO):
 * p->undos.  `nothing` is a process with nothing of the kind, or 0.  Between
 * gather_inside() and heal_close().
 */
int gather_undo(
    struct snap_ctx *cx, struct frozen *z, pid_t nothing, struct process *p);

/*
 * All are frozen, and what each has to undo is known: the sets of semaphores that
 * nobody else uses, as they are.
 */
int gather_semsets(
    struct snap_ctx *cx, struct frozen_tree *ft, struct family *t);

/*
 * Likewise the message queues that nobody else uses.  And when they go on: those
 * for which somebody else waits are left out, and named.
 */
int gather_msgqueues(
    struct snap_ctx *cx, struct frozen_tree *ft, struct family *t);
int gather_msgqueues_waited(struct snap_ctx *cx, struct family *t);

/*
 * What those that are frozen share as threads do, with each other or with the
 * first's parent, is named: it is not brought back.
 */
int gather_shared(struct snap_ctx *cx, struct process *const *p, size_t n);
/* Likewise what is to be undone to semaphores, which only the first keeps. */
int gather_shared_undos(struct snap_ctx *cx, const struct family *t);

/*
 * What a twin inherits and /proc shows: limits, arguments, links, layout of
 * memory.  `pid` is the twin, while the original runs, or the frozen original.
 */
int gather_twin(struct snap_ctx *cx, pid_t pid, struct process *p);

#endif
