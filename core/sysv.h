/*
 * sysv.h - which mappings are System V shared memory, and what the kernel says
 * of that, and of others of its kind.
 */
#ifndef SYSV_H
#define SYSV_H

#include "process.h"

#define SYSV_MODES 0777u

struct ipc_perm;

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

/* Is it in the IPC namespace that we are in? */
bool sysv_same_namespace(pid_t pid);

/* What the kernel says of one; nothing but its permissions from its mode. */
struct ipc sysv_object(int32_t id, const struct ipc_perm *perm);

/* A process that lives, and is not of the tree (NULL: none is)? */
bool sysv_other(pid_t pid, const struct family *t);

/* By id, of whatever begins with a struct ipc. */
int sysv_by_id(const void *a, const void *b);

/*
 * Of the segment with this id, from the text of /proc/sysvipc/shm.  False if it
 * is not there.
 */
bool sysv_parse(const char *text, int32_t id, struct ipc *s, uint64_t *size);

#endif
