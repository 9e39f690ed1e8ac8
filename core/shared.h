/*
 * shared.h - objects that both descriptors and VMAs of a process may refer to
 * (memfds, deleted files, shared memory), copied once into files/ID and found
 * again by their device and inode.
 */
#ifndef SHARED_H
#define SHARED_H

#include <sys/stat.h>

#include "process.h"

struct snap_ctx;

/*
 * The id of the contents that came from this object, 0: none so far.  Where
 * another process of the tree has them, shared_find() makes p refer to them.
 */
uint32_t shared_find(struct process *p, const struct stat *st);
uint32_t shared_known(const struct process *p, const struct stat *st);

/*
 * The contents of the regular file open at `fd` (not consumed), copied with
 * its holes unless shared_find() knows it already.  The process is frozen.
 * `fd` must be an open file of our own (through /proc/PID/fd or map_files, not
 * pidfd_getfd(2)): its offset moves.  Returns the id or -errno, with a sentence.
 */
int shared_collect(struct snap_ctx *cx, struct process *p, int fd);

/*
 * Not a copy: the file itself stays open as the contents, `fd` is taken over
 * at failure too.  For files that nobody writes, such as deleted programs.
 */
int shared_keep(struct snap_ctx *cx, struct process *p, int fd);

#endif
