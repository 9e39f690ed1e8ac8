/*
 * restore.h - a write to .restore: parsed, done by an agent, answered.
 */
#ifndef RESTORE_H
#define RESTORE_H

#include "handle.h"

/*
 * Answer the write of `size` bytes at `off` by `who`, later.  What the reader
 * of the same open file gets is put into `h`.
 */
void restore_request(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, const char *buf, size_t size, off_t off);

/*
 * What was restored through `h` and waits is let go (`go`), or is to stay, but
 * stopped, if the file is closed (`keep`).  False: nothing waits, nothing is
 * answered.
 */
bool restore_word(struct snapfs *fs, fuse_req_t req, struct handle *h,
    bool allowed, const char *buf, size_t size, off_t off);

/* `h` is closed for good: what waits is killed, unless it is to stay. */
void restore_forget(struct snapfs *fs, struct handle *h);

/*
 * It is read: carry out a request that waited for more, and answer with what
 * came of it.  False: there is none, nothing is answered.
 */
bool restore_read(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, size_t size, off_t off);

/*
 * A descriptor of .restore is closed: carry out a request that waited for more
 * (control.h), answer with its errno; 0 where there is none.
 */
void restore_flush(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who);

#endif
