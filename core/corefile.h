/*
 * corefile.h - a process of a checkpoint as an ELF core file, core(5), which
 * gdb(1) opens.
 *
 * It has what the kernel's own has by default: the registers of all threads,
 * and all memory but that of files which are still there and were not written
 * to; of these it has the first page where that begins an ELF file, and their
 * names.  What was excluded by MADV_DONTDUMP is left out.
 */
#ifndef COREFILE_H
#define COREFILE_H

#include "process.h"

struct corefile;

/*
 * `p`, of a checkpoint that has a twin, and its sources of bytes are borrowed.
 * NULL if there is no memory.
 */
struct corefile *corefile_new(const struct process *p);
void corefile_free(struct corefile *c); /* accepts NULL */

uint64_t corefile_size(const struct corefile *c); /* bytes */

/* The number of bytes read, 0 at the end, -errno.  Thread-safe. */
ssize_t corefile_read(
    const struct corefile *c, void *buf, size_t len, uint64_t off);

#endif
