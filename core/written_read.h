/*
 * written_read.h - pages of a frozen process, read by two threads: it is held
 * for as long as that takes.
 */
#ifndef WRITTEN_READ_H
#define WRITTEN_READ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct snap_ctx;
struct frozen;
struct written_room;

/* What is to be read, one behind the other. */
struct reading {
	struct iovec *v; /* where it is in the process */
	size_t n;
	struct reading_chunk *chunks; /* of v, as much as is read at once */
	size_t nchunks;
	uint64_t size; /* in bytes */
};

/* [start, end) is read behind all that is there already: 0 or -ENOMEM. */
int reading_add(struct reading *rd, uint64_t start, uint64_t end);

/*
 * Into room->fd, from its beginning.  -EIO with a sentence: the process has not
 * all of it.
 */
int reading_do(struct snap_ctx *cx, struct frozen *z, const struct reading *rd,
    const struct written_room *room);

void reading_fini(struct reading *rd);

#endif
