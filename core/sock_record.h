/*
 * sock_record.h - what has to be put right in sockets, should all who would do
 * so be killed at once.
 *
 * A file in /run says it, for as long as a sock_guard is at work.  It is locked
 * by whoever made it and by the guard, which has the same open file: so it is
 * free when both are gone, and then the next sweep does what it says.  Only
 * root has such files; what others leave is not swept away.
 */
#ifndef SOCK_RECORD_H
#define SOCK_RECORD_H

#include "sock_guard.h"

struct sock_record {
	int fd; /* -1: there is none */
	char path[64];
};

/* Where there can be none, there is none. */
void sock_record_begin(
    struct sock_record *r, const struct sock_undo *v, size_t n);
void sock_record_end(struct sock_record *r);

/* Do what the records of those who are gone say, and remove them. */
void sock_record_sweep(struct snap_ctx *cx);

#endif
