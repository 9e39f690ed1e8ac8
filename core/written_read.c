#include "written_read.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "process.h"
#include "tracee.h"
#include "written.h"

#define PIECES (WRITTEN_CHUNK / 4096)
#define TWO_FROM 4 /* so many chunks: a thread costs as much as some pages */

struct reading_piece {
	uint64_t start;
	size_t size;
	uint64_t at; /* in the room */
};

struct reading_chunk {
	size_t first, n; /* of reading.v */
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
		*c = (struct reading_chunk){ .first = rd->n };
	return c;
}

int
reading_add(struct reading *rd, uint64_t start, uint64_t end, uint64_t at)
{
	while (start < end) {
		struct reading_chunk *c = open_chunk(rd);
		struct reading_piece *v =
		    c == NULL ? NULL : process_grow(&rd->v, &rd->n, sizeof(*v));
		size_t len;

		if (v == NULL)
			return -ENOMEM;
		len = WRITTEN_CHUNK - c->size;
		if (len > end - start)
			len = end - start;
		*v = (struct reading_piece){ start, len, at };
		c->n++;
		c->size += len;
		at += len;
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

/* Threads run along one. */
struct lane {
	const struct readable *of;
	const struct reading *rd;
	const struct written_room *room;
	atomic_size_t next;  /* the first chunk that nobody has begun */
	atomic_int err;	     /* the first error, */
	uint64_t bad;	     /* and where it was: for -EIO */
	struct spans * not ; /* what is not to be had is no error */
};

static void
note(struct lane *l, int err, uint64_t bad)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&l->err, &none, err))
		l->bad = bad;
}

static bool
read_piece(const struct readable *of, char *buf, const struct reading_piece *v)
{
	struct iovec here = { buf, v->size },
		     there = { (void *)(uintptr_t)v->start, v->size };

	return process_vm_readv(of->pid, &here, 1, &there, 1, 0) ==
		   (ssize_t)v->size ||
	       pread(of->mem, buf, v->size, (off_t)v->start) ==
		   (ssize_t)v->size;
}

/* false: it is an error. */
static bool
leave_out(struct lane *l, const struct reading_piece *v)
{
	if (l->not == NULL)
		note(l, -EIO, v->start);
	else if (spans_add(l->not, v->start, v->start + v->size) < 0)
		note(l, -ENOMEM, v->start);
	else
		return true;
	return false;
}

/*
 * To here[], one for each piece.  process_vm_readv(2) copies but once, and does
 * not read what the process may not read itself; for that there is
 * /proc/PID/mem.
 */
static void
read_chunk(
    struct lane *l, const struct reading_chunk *c, const struct iovec *here)
{
	const struct reading_piece *v = l->rd->v + c->first;
	struct iovec there[PIECES];

	for (size_t i = 0; i < c->n; i++)
		there[i] =
		    (struct iovec){ (void *)(uintptr_t)v[i].start, v[i].size };
	if (process_vm_readv(l->of->pid, here, c->n, there, c->n, 0) ==
	    (ssize_t)c->size)
		return;
	for (size_t i = 0; i < c->n; i++)
		if (!read_piece(l->of, here[i].iov_base, &v[i]) &&
		    !leave_out(l, &v[i]))
			return;
}

/* Through a buffer, which is made when it is first needed. */
static int
take_outside(struct lane *l, const struct reading_chunk *c, char **own)
{
	const struct reading_piece *v = l->rd->v + c->first;
	struct iovec here[PIECES];
	char *at;
	int err = 0;

	if (*own == NULL)
		*own = malloc(WRITTEN_CHUNK);
	if (*own == NULL)
		return -ENOMEM;
	at = *own;
	for (size_t i = 0; i < c->n; at += v[i++].size)
		here[i] = (struct iovec){ at, v[i].size };
	read_chunk(l, c, here);
	for (size_t i = 0; err == 0 && i < c->n; i++)
		err = contents_write(
		    l->room->fd, here[i].iov_base, v[i].size, v[i].at);
	return err;
}

static void
take_chunk(struct lane *l, const struct reading_chunk *c, char **own)
{
	const struct reading_piece *v = l->rd->v + c->first;
	const struct written_room *room = l->room;
	struct iovec here[PIECES];
	bool inside = true;
	int err;

	for (size_t i = 0; inside && i < c->n; i++) {
		inside = v[i].size <= room->size &&
			 v[i].at <= room->size - v[i].size;
		if (inside)
			here[i] =
			    (struct iovec){ room->map + v[i].at, v[i].size };
	}
	if (inside) {
		read_chunk(l, c, here);
		return;
	}
	err = take_outside(l, c, own);
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
reading_do(struct snap_ctx *cx, const struct readable *of,
    const struct reading *rd, const struct written_room *room)
{
	struct lane l = { .of = of, .rd = rd, .room = room };
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

int
reading_try(const struct readable *of, const struct reading *rd,
    const struct written_room *room, uint64_t deadline, struct spans * not )
{
	struct lane l = { .of = of, .rd = rd, .room = room, .not = not };
	char *own = NULL;
	size_t i, n = 0;

	for (i = 0;
	     atomic_load(&l.err) == 0 && i < rd->nchunks && now_ns() < deadline;
	     i++) {
		take_chunk(&l, &rd->chunks[i], &own);
		n = rd->chunks[i].first + rd->chunks[i].n;
	}
	free(own);
	for (; atomic_load(&l.err) == 0 && n < rd->n; n++)
		(void)leave_out(&l, &rd->v[n]);
	return atomic_load(&l.err);
}
