/*
 * unix_index.h - which open file of a process is the socket of the UNIX domain
 * with this inode, for who asks that of thousands.
 */
#ifndef UNIX_INDEX_H
#define UNIX_INDEX_H

#include "process.h"

/*
 * Made when all of p's files are there; without it, or once there are more, all
 * of them are gone through each time.  0 or -ENOMEM.
 */
int unix_index_make(struct process *p);
void unix_index_free(struct process *p);

/* The first with this `object`, that was not edited; NULL: none. */
const struct openfile *unix_index_find(const struct process *p, uint64_t ino);

#endif
