/*
 * numa_areas.h - from which nodes each mapping takes its memory, mbind(2).
 */
#ifndef NUMA_AREAS_H
#define NUMA_AREAS_H

#include "process.h"

struct snap_ctx;
struct twin;

/* Of a twin that is not settled yet. */
int numa_areas_collect(struct snap_ctx *cx, struct twin *t, struct process *p);

/* Of the frozen process itself, where there is no twin. */
int numa_areas_collect_frozen(struct snap_ctx *cx, struct process *p);

/* What /proc/PID/numa_maps says of the mappings.  Pure. */
int numa_areas_parse(const char *text, struct process *p);

#endif
