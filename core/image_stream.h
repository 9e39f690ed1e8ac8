/*
 * image_stream.h - the sum of one file, of what several threads read of it.
 *
 * Sums are made in order, and the pieces of a file come in any.  A piece that
 * comes before the one in front of it waits if that is being read by another
 * thread; if it is not, the piece is noted, and read again when its turn has
 * come.
 */
#ifndef IMAGE_STREAM_H
#define IMAGE_STREAM_H

#include <pthread.h>
#include <xxhash.h>

#include "image.h"
#include "pagesums.h"

#define STREAM_AHEAD_MAX 16   /* pieces that are noted */
#define STREAM_READERS_MAX 64 /* known to be at it; of others nobody waits */

struct stream_piece {
	uint64_t off, end;
};

struct stream {
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t moved; /* `at` or `reading` */
	XXH3_state_t *state;
	uint64_t at; /* the sum is known up to here */
	struct stream_piece ahead[STREAM_AHEAD_MAX];
	unsigned nahead;
	struct stream_piece reading[STREAM_READERS_MAX];
	unsigned nreading;
	/* Of `pages`: the sums of its pieces, and the piece at `at`. */
	struct pagesums *pieces;
	XXH3_state_t *piece;
};

/* NULL: no memory. */
struct stream *stream_new(const struct image_node *n);
void stream_free(struct stream *s); /* accepts NULL */

/* How to read the file. */
struct stream_source {
	image_read_fn *read;
	void *arg;
	uint32_t node;
};

/*
 * A thread is about to read there; it must call stream_feed() at the same
 * offset, with what it has read, even if that is nothing.
 */
void stream_begin(struct stream *s, uint64_t off, uint64_t len);
void stream_feed(struct stream *s, const struct stream_source *from,
    const void *buf, size_t len, uint64_t off);

/* Read on up to `end`; with the lock. */
int stream_catch_up(
    struct stream *s, const struct stream_source *from, uint64_t end);

#endif
