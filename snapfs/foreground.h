/*
 * foreground.h - a writer of .restore whose terminal is that of what he has
 * restored: he waits in his close(2), as a shell waits for its job.
 */
#ifndef FOREGROUND_H
#define FOREGROUND_H

#include "handle.h"

/*
 * From now on this is so until the end of file is read from `fd`, which is
 * taken over; -1: it is not.  With the lock.
 */
void foreground_set(struct handle *h, int fd);

/* Is it so? */
bool foreground_busy(struct snapfs *fs, struct handle *h);

/* Answer a close: now, or when it is so no longer, or `who` gets a signal. */
void foreground_reply(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who);

#endif
