/*
 * memory.h - what a checkpoint keeps of an address space.
 *
 * Three moments: the VMAs are read from the frozen original before anything
 * is run in it; what its twin does not have is copied while it is still
 * frozen; the rest is read from the twin at leisure.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "process.h"

struct frozen;
struct snap_ctx;

/* Frozen, before any call was run in it: p->vmas; or of any, as it is now. */
int memory_collect_vmas(struct snap_ctx *cx, pid_t pid, struct process *p);

/*
 * Frozen, heal_open() done: which of them are locked, and whether new ones are.
 * (No smaps is read here, since that walks every page; except where something
 * is locked.)
 */
int memory_collect_locked(
    struct snap_ctx *cx, const struct frozen *z, struct process *p);

/*
 * Frozen, the twin made (0: there is none, copy everything).  Copies shared
 * anonymous memory, DONTFORK and WIPEONFORK ranges, deleted shared files.
 */
int memory_collect_frozen(
    struct snap_ctx *cx, pid_t pid, pid_t twin, struct process *p);

/* VMA flags, of all that the twin has now. */
int memory_collect_flags(struct snap_ctx *cx, pid_t twin, struct process *p);

/*
 * The same of the process itself as it goes on: ESTALE if one is not there any
 * more.
 */
int memory_collect_running_flags(struct snap_ctx *cx, struct process *p);

/*
 * Thawed: VMA flags, page runs, identities of files, from the twin (or, where
 * there is none, already done by memory_collect_frozen()).  Opens the twin's
 * mem as p->pages_fd.
 */
int memory_collect_late(struct snap_ctx *cx, pid_t twin, struct process *p);

/* Sort p->runs and give them their offsets; p->pages_size. */
void memory_settle_runs(struct process *p);

/* Bytes of `pages`; thread-safe. */
ssize_t memory_read(
    const struct process *p, void *buf, size_t len, uint64_t off);

#endif
