/*
 * sysv.h - which mappings are System V shared memory, and what the kernel says
 * of that, and of others of its kind.
 */
#ifndef SYSV_H
#define SYSV_H

#include "process.h"

struct snap_ctx;

/*
 * The mapped files of a frozen process that are segments become known as such,
 * if they are of the IPC namespace that we are in.  0 or -errno, with a
 * sentence.
 */
int sysv_collect(struct snap_ctx *cx, pid_t pid, struct process *p);

/* Has it any? */
bool sysv_attached(const struct process *p);

/* The text of /proc/sysvipc/KIND; is there anything in it? */
int sysv_read(struct snap_ctx *cx, const char *kind, char **text);
bool sysv_any(const char *text);

/* Is that what the process has, too? */
bool sysv_same_namespace(pid_t pid);

/*
 * Of the segment with this id, from the text of /proc/sysvipc/shm.  False if it
 * is not there.
 */
bool sysv_parse(
    const char *text, int32_t id, struct segment *s, uint64_t *size);

#endif
