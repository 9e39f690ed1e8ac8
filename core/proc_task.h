/*
 * proc_task.h - what /proc says at this moment of one process or thread, read
 * and parsed.
 *
 * `tid` is a thread of process `pid`; 0: of the process as a whole, as
 * /proc/PID/stat and /proc/PID/status have it.  All give 0, -ESRCH where it is
 * gone, or another -errno, and leave no sentence: proc_task_fail() makes one.
 */
#ifndef PROC_TASK_H
#define PROC_TASK_H

#include "proc_parse.h"

struct snap_ctx;

int proc_task_stat(pid_t pid, pid_t tid, struct proc_stat *st);

/* Without its groups: nothing is to be freed. */
int proc_task_status(pid_t pid, pid_t tid, struct proc_status *st);

/* With them: st->creds.groups is the caller's. */
int proc_task_creds(pid_t pid, pid_t tid, struct proc_status *st);

/* That /proc/PID/NAME could not be read, and why; returns `err`. */
int proc_task_fail(struct snap_ctx *cx, pid_t pid, const char *name, int err);

#endif
