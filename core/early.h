/*
 * early.h - what is read of the threads before the freeze, and proved after.
 *
 * /proc/PID/task/TID/status takes long to make, and what only it tells
 * hardly ever changes: the capability bounding set, which can only shrink, the
 * ambient set, and the mode of seccomp.  They are read before the freeze and again
 * after it: if they are the same, they were so during it.
 */
#ifndef EARLY_H
#define EARLY_H

#include "process.h"

struct early {
	pid_t tid;
	struct creds creds;
	unsigned seccomp; /* SECCOMP_MODE_* */
};

struct earlies {
	struct early *v;
	size_t n;
};

/* Reads the status of one thread; none of a thread that is gone. */
int early_read(struct earlies *e, pid_t pid, pid_t tid);

/* When all have been read. */
void early_sort(struct earlies *e);

/* NULL if it was not read. */
const struct early *early_find(const struct earlies *e, pid_t tid);

/* -EAGAIN if a thread has other credentials now in what is said above. */
int early_confirm(const struct earlies *e, pid_t pid);

void early_free(struct earlies *e);

#endif
