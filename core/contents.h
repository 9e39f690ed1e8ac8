/*
 * contents.h - copies of files: into what a checkpoint keeps, and out of it.
 * Holes stay holes.
 */
#ifndef CONTENTS_H
#define CONTENTS_H

#include "copytime.h"

/*
 * An empty file without a name to put `size` bytes into: memory for little,
 * the disk (/var/tmp) once the checkpoint `p` holds much.  -errno.
 */
int contents_open(const struct process *p, uint64_t size);

/* All of it, wherever a signal or the kernel interrupts; 0 or -errno. */
int contents_write(int fd, const char *buf, size_t n, uint64_t off);

/*
 * Copy `size` bytes from the start of one file to another, in the time that
 * there is (NULL: for ever); 0 or -errno.  Where `src` ends early the rest is a hole.
 */
int contents_copy(int dst, int src, uint64_t size, const struct copytime *time);

#endif
