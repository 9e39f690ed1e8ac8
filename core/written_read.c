#include "written_read.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "freeze.h"
#include "process.h"
#include "written.h"

#define PIECES (WRITTEN_CHUNK / 4096)
#define TWO_FROM 4 /* so many chunks: a thread costs as much as some pages */

struct reading_chunk {
	size_t first, n; /* of reading.v */
	uint64_t at;	 /* in the room */
	size_t size;
};

/* ---- what is to be read ---- */

static struct reading_chunk *
open_chunk(struct reading *rd)
{
	struct reading_chunk *c;

	c = rd->nchunks == 0 ? NULL : &rd->chunks[rd->nchunks - 1];
	if (c != NULL && c->size < WRITTEN_CHUNK && c->n < PIECES)
		return c;
	c = process_grow(&rd->chunks, &rd->nchunks, sizeof(*c));
	if (c != NULL)
		*c = (struct reading_chunk){ .first = rd->n, .at = rd->size };
	return c;
}

int
reading_add(struct reading *rd, uint64_t start, uint64_t end)
{
	while (start < end) {
		struct reading_chunk *c = open_chunk(rd);
		struct iovec *v =
		    c == NULL ? NULL : process_grow(&rd->v, &rd->n, sizeof(*v));
		size_t len;

		if (v == NULL)
			return -ENOMEM;
		len = WRITTEN_CHUNK - c->size;
		if (len > end - start)
			len = end - start;
		*v = (struct iovec){ (void *)(uintptr_t)start, len };
		c->n++;
		c->size += len;
		rd->size += len;
		start += len;
	}
	return 0;
}

void
reading_fini(struct reading *rd)
{
	free(rd->v);
	free(rd->chunks);
	*rd = (struct reading){ 0 };
}

/* ---- reading it ---- */

/* Two threads run along one. */
struct lane {
	const struct reading *rd;
	struct frozen *z;
	const struct written_room *room;
	atomic_size_t next; /* the first chunk that nobody has begun */
	atomic_int err;	    /* the first error, */
	uint64_t bad;	    /* and where it was: for -EIO */
};

static bool
read_piece(struct frozen *z, char *buf, const struct iovec *v)
{
	uint64_t at = (uintptr_t)v->iov_base;

	return frozen_read(z, buf, v->iov_len, at) ||
	       pread(z->mem, buf, v->iov_len, (off_t)at) == (ssize_t)v->iov_len;
}

static void
note(struct lane *l, int err, uint64_t bad)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&l->err, &none, err))
		l->bad = bad;
}

/*
 * process_vm_readv(2) copies but once, and does not read what the process may
 * not read itself; for that there is /proc/PID/mem.
 */
static void
read_chunk(struct lane *l, const struct reading_chunk *c, char *buf)
{
	const struct iovec *v = l->rd->v + c->first;
	struct iovec here = { buf, c->size };

	if (process_vm_readv(l->z->pid, &here, 1, v, c->n, 0) ==
	    (ssize_t)c->size)
		return;
	for (size_t i = 0; i < c->n; i++) {
		if (!read_piece(l->z, buf, &v[i])) {
			note(l, -EIO, (uintptr_t)v[i].iov_base);
			return;
		}
		buf += v[i].iov_len;
	}
}

/* What has no place in the room's memory goes through a buffer. */
static void
take_chunk(struct lane *l, const struct reading_chunk *c, char **own)
{
	int err;

	if (c->size <= l->room->size && c->at <= l->room->size - c->size) {
		read_chunk(l, c, l->room->map + c->at);
		return;
	}
	if (*own == NULL)
		*own = malloc(WRITTEN_CHUNK);
	if (*own == NULL) {
		note(l, -ENOMEM, 0);
		return;
	}
	read_chunk(l, c, *own);
	err = contents_write(l->room->fd, *own, c->size, c->at);
	if (err < 0)
		note(l, err, 0);
}

static void *
lane_main(void *arg)
{
	struct lane *l = arg;
	char *own = NULL;
	size_t i;

	while (atomic_load(&l->err) == 0 &&
	       (i = atomic_fetch_add(&l->next, 1)) < l->rd->nchunks)
		take_chunk(l, &l->rd->chunks[i], &own);
	free(own);
	return NULL;
}

int
reading_do(struct snap_ctx *cx, struct frozen *z, const struct reading *rd,
    const struct written_room *room)
{
	struct lane l = { .rd = rd, .z = z, .room = room };
	pthread_t second;
	bool two;
	int err;

	two = rd->nchunks >= TWO_FROM &&
	      pthread_create(&second, NULL, lane_main, &l) == 0;
	lane_main(&l);
	if (two)
		pthread_join(second, NULL);
	err = atomic_load(&l.err);
	if (err == -EIO)
		return snap_fail(cx, err,
		    "reading memory at %lx: it is not to be had",
		    (unsigned long)l.bad);
	return err == 0 ? 0
			: snap_fail(cx, err, "copying what was written: %s",
			      strerror(-err));
}
