/*
 * numa.h - from which nodes memory is to be taken, set_mempolicy(2) and
 * mbind(2), as text: MODE[,FLAG]... NODES.
 */
#ifndef NUMA_H
#define NUMA_H

#include "process.h"
#include "text.h"

/* Bits of `nodes`, for the kernel's calls. */
#define NUMA_NODES (64 * NUMA_WORDS)

/* Is this one of those that have a name here? */
bool numa_known(const struct numa *n);

void numa_write(struct text *t, const struct numa *n);
/* Changes s.  False: that is none. */
bool numa_parse(char *s, struct numa *n);

/* The second word of a line of /proc/PID/numa_maps; false: not understood. */
bool numa_parse_maps(const char *s, size_t len, struct numa *n);

#endif
