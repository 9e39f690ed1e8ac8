/*
 * restore_former.c - in a new process, before each child is born that has
 * memory of what its parent had when it forked it: the parent has that for the
 * moment; and when all are born, what it has.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cow.h"
#include "ctx.h"
#include "restore_tree.h"

static int
read_at(int fd, uint64_t at, uint64_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pread(fd, (void *)at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		at += (uint64_t)n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* The agent's descriptors, which it has until it puts its own in their place. */
static int
pages_of(const struct restore *r, uint32_t src)
{
	int number;

	if (src == 0)
		return r->kept[0].fd;
	number = r->source_fds[src - 1];
	return number < 0 ? -1 : r->kept[number - r->host.fd_first].fd;
}

static size_t
piece_behind(const struct pieces *v, uint64_t at)
{
	size_t lo = 0, hi = v->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->v[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* [from, to) of a piece, as the process has it itself. */
static int
take_current(
    const struct restore *r, const struct piece *c, uint64_t from, uint64_t to)
{
	const struct process *p = r->p;
	int err = 0;

	if (madvise((void *)(c->at + (from - c->start)), to - from,
		MADV_DONTNEED) != 0)
		return -errno;
	for (size_t i = process_run_above(p, from);
	     err == 0 && i < p->nruns && p->runs[i].start < to; i++) {
		const struct run *run = &p->runs[i];
		uint64_t a = run->start > from ? run->start : from;
		uint64_t b = run->end < to ? run->end : to;

		if (run->kind == RUN_HELD && !run->late)
			err = read_at(pages_of(r, run->src),
			    c->at + (a - c->start), b - a,
			    run->offset + (a - run->start));
	}
	return err;
}

/* As far as it is memory that is handed on at all. */
static int
take(const struct restore *r, const struct run *f, bool former)
{
	const struct pieces *v = &r->host.pieces;
	int err = 0;

	for (size_t i = piece_behind(v, f->start);
	     err == 0 && i < v->n && v->v[i].start < f->end; i++) {
		const struct piece *c = &v->v[i];
		uint64_t from = c->start > f->start ? c->start : f->start;
		uint64_t to = c->end < f->end ? c->end : f->end;

		err = former ? read_at(pages_of(r, f->src),
				   c->at + (from - c->start), to - from,
				   f->offset + (from - f->start))
			     : take_current(r, c, from, to);
	}
	return err;
}

int
restore_former(struct restore *r, const struct process *child)
{
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->p->nformer; i++) {
		struct run *f = &r->p->former[i];
		enum cow_share want = COW_CURRENT;

		if (child != NULL)
			want = cow_shares(child, f, &k);
		/* It has no say, or has it so by now. */
		if (want == COW_NOTHING || f->former == (want == COW_FORMER))
			continue;
		f->former = want == COW_FORMER;
		err = take(r, f, f->former);
	}
	if (err < 0)
		return snap_fail(r->cx, err,
		    "memory that children of process %d have in common: %s",
		    (int)r->p->pid, strerror(-err));
	return 0;
}
