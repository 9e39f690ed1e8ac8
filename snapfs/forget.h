/*
 * forget.h - the kernel drops the names and pages of a checkpoint that is no
 * more.
 */
#ifndef FORGET_H
#define FORGET_H

#include <stddef.h>
#include <stdint.h>

struct fuse_session;

#define FORGET_MAX 256u

struct forget {
	struct fuse_session *se;
	size_t n;
	uint64_t ino[FORGET_MAX];
};

/* Collect inode numbers, a file's before that of its directory. */
void forget_add(struct forget *f, uint64_t ino);

/* What was collected since the last time. */
void forget_flush(struct forget *f);

#endif
