#include "cow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cow_frame.h"
#include "ctx.h"
#include "memory.h"
#include "proc.h"
#include "twin.h"
#include "vma.h"

#define PAGE 4096ull
#define PIECE 512u /* pages looked at in one go */

/* ---- a checkpoint ---- */

/* A twin, to be compared with another. */
struct side {
	int pagemap, mem;
	uint64_t entries[PIECE];
	uint8_t *bytes; /* PIECE pages */
};

struct search {
	struct snap_ctx *cx;
	struct side parent, child;
	uint64_t again[PIECE];
	struct run *v; /* the child's new runs */
	size_t n;
};

static int
side_open(struct snap_ctx *cx, struct side *s, pid_t twin)
{
	s->pagemap = proc_open(cx, twin, "pagemap", O_RDONLY);
	s->mem = proc_open(cx, twin, "mem", O_RDONLY);
	s->bytes = malloc(PIECE * PAGE);
	if (s->bytes == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	return s->pagemap < 0 ? s->pagemap : s->mem < 0 ? s->mem : 0;
}

static void
side_close(struct side *s)
{
	if (s->pagemap >= 0)
		close(s->pagemap);
	if (s->mem >= 0)
		close(s->mem);
	free(s->bytes);
}

static bool
entries(const struct side *s, uint64_t at, size_t n, uint64_t *v)
{
	return pread(s->pagemap, v, n * sizeof(*v),
		   (off_t)(at / PAGE * sizeof(*v))) ==
	       (ssize_t)(n * sizeof(*v));
}

/*
 * The same frame, seen in the child between two looks at the parent: the kernel
 * may move a page, and give its frame to another.
 */
static bool
same_frame(const struct search *s, size_t i)
{
	uint64_t frame = cow_frame(s->parent.entries[i]);

	return frame != 0 && cow_frame(s->child.entries[i]) == frame &&
	       cow_frame(s->again[i]) == frame;
}

/* Without a right to know frames (or swapped out): by what is in them. */
static bool
same_bytes(const struct search *s, size_t i)
{
	return cow_frame(s->parent.entries[i]) == 0 &&
	       cow_frame(s->child.entries[i]) == 0 &&
	       memcmp(s->parent.bytes + i * PAGE, s->child.bytes + i * PAGE,
		   PAGE) == 0;
}

static int
add(struct search *s, const struct run *of, uint64_t start, uint64_t end,
    enum run_kind kind)
{
	int err = process_add_part(&s->v, &s->n, of, start, end, kind);

	return err < 0 ? snap_fail(s->cx, err, "no memory") : 0;
}

/* The bytes are only read where frames do not tell. */
static bool
read_piece(struct search *s, uint64_t at, size_t n)
{
	bool all = true;

	if (!entries(&s->parent, at, n, s->parent.entries) ||
	    !entries(&s->child, at, n, s->child.entries) ||
	    !entries(&s->parent, at, n, s->again))
		return false;
	for (size_t i = 0; i < n; i++)
		all &= cow_frame(s->parent.entries[i]) != 0 ||
		       cow_frame(s->child.entries[i]) != 0;
	return all || (pread(s->parent.mem, s->parent.bytes, n * PAGE,
			   (off_t)at) == (ssize_t)(n * PAGE) &&
			  pread(s->child.mem, s->child.bytes, n * PAGE,
			      (off_t)at) == (ssize_t)(n * PAGE));
}

/* [at, end) of run `r`, which the parent has too. */
static int
compare(struct search *s, const struct run *r, uint64_t at, uint64_t end)
{
	int err = 0;

	while (err == 0 && at < end) {
		size_t n =
		    (end - at) / PAGE < PIECE ? (end - at) / PAGE : PIECE;
		bool known = read_piece(s, at, n);

		for (size_t i = 0; err == 0 && i < n; i++, at += PAGE)
			err = add(s, r, at, at + PAGE,
			    known && (same_frame(s, i) || same_bytes(s, i))
				? RUN_INHERITED
				: RUN_HELD);
	}
	return err;
}

/* `k` moves on through the parent's runs, which are sorted. */
static int
split(struct search *s, const struct run *r, const struct process *q, size_t *k)
{
	uint64_t at = r->start;
	int err = 0;

	while (*k < q->nruns && q->runs[*k].end <= at)
		(*k)++;
	for (size_t i = *k; err == 0 && i < q->nruns; i++) {
		const struct run *o = &q->runs[i];
		uint64_t from = o->start > at ? o->start : at;
		uint64_t to = o->end < r->end ? o->end : r->end;

		if (o->start >= r->end)
			break;
		if (o->kind == RUN_GUARD || o->kind == RUN_ZERO ||
		    o->src_fd != q->pages_fd)
			continue;
		err = add(s, r, at, from, RUN_HELD);
		if (err == 0)
			err = compare(s, r, from, to);
		at = to;
	}
	return err == 0 ? add(s, r, at, r->end, RUN_HELD) : err;
}

static int
find_in(struct search *s, struct process *p, const struct process *q)
{
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		/* What was copied while it was frozen is not in the twin. */
		if (r->kind == RUN_HELD && r->src_fd == p->pages_fd)
			err = split(s, r, q, &k);
		else
			err = add(s, r, r->start, r->end, r->kind);
	}
	if (err < 0) {
		free(s->v);
		return err;
	}
	free(p->runs);
	p->runs = s->v;
	p->nruns = s->n;
	memory_settle_runs(p);
	return 0;
}

int
cow_find(struct snap_ctx *cx, struct family *t, struct twin *const *twins)
{
	struct search *s = NULL;
	int err = 0;

	for (size_t i = 1; err == 0 && i < t->n; i++) {
		struct process *p = t->v[i];
		pid_t twin = twin_pid(twins[i]);
		pid_t parent = twin_pid(twins[p->parent]);

		if (twin == 0 || parent == 0)
			continue;
		s = calloc(1, sizeof(*s));
		if (s == NULL)
			return snap_fail(cx, -ENOMEM, "no memory");
		s->cx = cx;
		s->parent.pagemap = s->parent.mem = -1;
		s->child.pagemap = s->child.mem = -1;
		err = side_open(cx, &s->parent, parent);
		if (err == 0)
			err = side_open(cx, &s->child, twin);
		if (err == 0)
			err = find_in(s, p, t->v[p->parent]);
		side_close(&s->parent);
		side_close(&s->child);
		free(s);
	}
	return err;
}

/* ---- an image ---- */

bool
cow_is_partial(const struct process *p)
{
	for (size_t i = 0; i < p->nruns; i++)
		if (p->runs[i].kind == RUN_INHERITED ||
		    p->runs[i].kind == RUN_FORMER)
			return true;
	return false;
}

/* A process, and its parent. */
struct resolver {
	struct snap_ctx *cx;
	struct process *p, *q;
	struct run *v; /* what becomes of the runs of p */
	size_t n;
	size_t *pieces;
	uint32_t *known; /* see process_take_source() */
};

static int
put(struct resolver *s, const struct run *r)
{
	struct run *slot = process_grow(&s->v, &s->n, sizeof(*slot));

	if (slot == NULL)
		return -ENOMEM;
	*slot = *r;
	return 0;
}

/* The runs of which it is, of the parent: what that has, or had. */
struct runs {
	const struct run *v;
	size_t n, at;
	bool former;
};

/* The part of `o`, which the parent holds, from `at` on. */
static int
put_piece(struct resolver *s, const struct run *o, uint64_t at, uint64_t end,
    bool former)
{
	struct run piece = *o;
	int err;

	piece.start = at;
	piece.end = o->end < end ? o->end : end;
	piece.offset += at - o->start;
	piece.src_off += at - o->start;
	if (o->kind == RUN_ZERO)
		return put(s, &piece);
	piece.up++;
	piece.former = former;
	if (++*s->pieces > COW_PIECES_MAX)
		return snap_fail(s->cx, -E2BIG,
		    "pagemap: more than %u pieces of the memory of parents in "
		    "the processes of this image",
		    COW_PIECES_MAX);
	err = process_take_source(s->p, s->q, o->src, s->known, &piece.src);
	if (err == -E2BIG)
		return snap_fail(s->cx, err,
		    "pagemap: the memory of process %d is in more than %u "
		    "images: merge some of them",
		    (int)s->p->pid, PAGES_SOURCES_MAX);
	return err < 0 ? err : put(s, &piece);
}

/*
 * A row of zeros that is too short to be called so now (zeros.h) may have been
 * longer when an earlier link of a chain was written.
 */
static bool
is_zero(const struct resolver *s, const struct run *o, uint64_t at)
{
	const struct vma *v = vma_find(s->p, at);

	return o->kind == RUN_ZERO && v != NULL && v->kind == VMA_ANON &&
	       !v->shared;
}

/* Every byte of it must be held by the parent, or by its parent. */
static int
resolve(struct resolver *s, const struct run *r, struct runs *of)
{
	uint64_t at = r->start;
	int err = 0;

	while (of->at < of->n && of->v[of->at].end <= at)
		of->at++;
	for (size_t i = of->at; i < of->n && at < r->end; i++) {
		const struct run *o = &of->v[i];

		if (o->start > at ||
		    (o->kind != RUN_HELD && !is_zero(s, o, at)))
			break;
		err = put_piece(s, o, at, r->end, of->former);
		if (err < 0)
			return err;
		at = o->end;
	}
	return at >= r->end
		   ? 0
		   : snap_fail(s->cx, -EBADMSG,
			 "pagemap: run %lx-%lx: its parent, process %d, does "
			 "not hold these pages",
			 (unsigned long)r->start, (unsigned long)r->end,
			 (int)s->q->pid);
}

enum cow_share
cow_shares(const struct process *p, const struct run *f, size_t *k)
{
	enum cow_share is = COW_NOTHING;

	while (*k < p->nruns && p->runs[*k].end <= f->start)
		(*k)++;
	for (size_t i = *k; i < p->nruns && p->runs[i].start < f->end; i++)
		if (p->runs[i].kind == RUN_HELD && p->runs[i].up > 0)
			is |= p->runs[i].former ? COW_FORMER : COW_CURRENT;
	return is;
}

/* Of each line it has the one or the other, so that it can be born with that. */
static int
check_former(
    struct snap_ctx *cx, const struct process *p, const struct process *q)
{
	size_t k = 0;

	for (size_t i = 0; i < q->nformer; i++)
		if (cow_shares(p, &q->former[i], &k) ==
		    (COW_FORMER | COW_CURRENT))
			return snap_fail(cx, -EBADMSG,
			    "pagemap: of %lx-%lx it has both what its parent, "
			    "process %d, has and what that had",
			    (unsigned long)q->former[i].start,
			    (unsigned long)q->former[i].end, (int)q->pid);
	return 0;
}

int
cow_resolve(
    struct snap_ctx *cx, struct process *p, struct process *q, size_t *pieces)
{
	struct runs now = { .v = q->runs, .n = q->nruns };
	struct runs former = { q->former, q->nformer, 0, true };
	struct resolver s = { .cx = cx, .p = p, .q = q, .pieces = pieces };
	int err = 0;

	s.known = calloc(q->nsources + 1, sizeof(*s.known));
	if (s.known == NULL)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		if (r->kind == RUN_INHERITED || r->kind == RUN_FORMER)
			err = resolve(
			    &s, r, r->kind == RUN_FORMER ? &former : &now);
		else
			err = put(&s, r);
	}
	free(s.known);
	if (err < 0) {
		free(s.v);
		return err == -ENOMEM ? snap_fail(cx, err, "no memory") : err;
	}
	free(p->runs);
	p->runs = s.v;
	p->nruns = s.n;
	return check_former(cx, p, q);
}

int
cow_resolve_tree(struct snap_ctx *cx, struct family *t)
{
	size_t pieces = 0;
	int err = 0;

	for (size_t i = t->nabove; err == 0 && i-- > 1;)
		err = cow_resolve(cx, t->above[i - 1], t->above[i], &pieces);
	if (err == 0 && t->nabove > 0)
		err = cow_resolve(cx, t->v[0], t->above[0], &pieces);
	for (size_t i = 1; err == 0 && i < t->n; i++)
		err = cow_resolve(cx, t->v[i], t->v[t->v[i]->parent], &pieces);
	return err;
}
