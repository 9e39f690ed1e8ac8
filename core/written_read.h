/*
 * written_read.h - pages of a process, read into a room.  Of one that is frozen
 * by two threads, since it is held for as long as that takes.
 */
#ifndef WRITTEN_READ_H
#define WRITTEN_READ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "spans.h"

struct snap_ctx;
struct written_room;

/* What is to be read, in order of addresses. */
struct reading {
	struct reading_piece *v;
	size_t n;
	struct reading_chunk *chunks; /* of v, as much as is read at once */
	size_t nchunks;
};

/* [start, end) is read to `at` in the room: 0 or -ENOMEM. */
int reading_add(struct reading *rd, uint64_t start, uint64_t end, uint64_t at);
void reading_fini(struct reading *rd);

/* Whose memory: its /proc/PID/mem is for what it may not read itself. */
struct readable {
	pid_t pid;
	int mem;
};

/* -EIO with a sentence: the process has not all of it. */
int reading_do(struct snap_ctx *cx, const struct readable *of,
    const struct reading *rd, const struct written_room *room);

/*
 * Until `deadline`; `not` gets what was not read by then, or is not to be had.
 * -ENOMEM: nothing is known.
 */
int reading_try(const struct readable *of, const struct reading *rd,
    const struct written_room *room, uint64_t deadline, struct spans * not );

#endif
