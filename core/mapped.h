/*
 * mapped.h - the files that VMAs map: their identities, and the contents of
 * those that no path leads to any more.
 */
#ifndef MAPPED_H
#define MAPPED_H

#include "process.h"

struct snap_ctx;
struct stat;

/*
 * `pid` is frozen.  What it maps shared (or as a memfd) and what has no name
 * is copied into contents, once for all VMAs of an inode; these VMAs get their
 * `file`.  Files that have a name are left alone, but for the VMAs that the
 * twin has not: missing[i] of p->vmas[i] (NULL: there are none).
 */
int mapped_collect_frozen(
    struct snap_ctx *cx, pid_t pid, const bool *missing, struct process *p);

/*
 * The other VMAs of files, and p->exe_file, through `pid`, which may be the
 * twin.  VMAs of what is no regular file become VMA_OTHER, or VMA_ANON in the
 * case of /dev/zero.
 */
int mapped_collect_late(struct snap_ctx *cx, pid_t pid, struct process *p);

/* The index of the mapped file with this inode, or -1. */
int mapped_find(const struct process *p, const struct stat *st);

/*
 * One more.  Takes over `path`; its " (deleted)" goes where `nameless`.  The
 * index, or -ENOMEM.
 */
int mapped_add(
    struct process *p, char *path, const struct stat *st, bool nameless);

#endif
