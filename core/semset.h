/*
 * semset.h - System V sets of semaphores, as the kernel tells of them.
 */
#ifndef SEMSET_H
#define SEMSET_H

#include "process.h"

#define SEMSET_MAX 65536u /* semaphores: their numbers have 16 bits */
#define SEMSET_VALUE_MAX 32767

/* For semctl(2), which wants its caller to define it. */
union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

/*
 * All of the set with this id, as *s, whose v is the caller's.  -EINVAL, -EIDRM:
 * there is none; -EACCES: we may not read it; -E2BIG.
 */
int semset_read(int32_t id, struct semset *s);

/* Does a thread wait for one of its semaphores? */
bool semset_is_waited_for(const struct semset *s);

/* Who was the last to change one, lives, and is not of the tree; or 0. */
pid_t semset_other(const struct semset *s, const struct family *t);

/* By id and number. */
int semset_by_undo(const void *a, const void *b);

#endif
