#include "extents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct extent *
add(struct extents *x, uint64_t start, uint64_t end, uint64_t off)
{
	struct extent *e = process_grow(&x->v, &x->n, sizeof(*e));

	if (e != NULL)
		*e = (struct extent){ .start = start, .end = end, .off = off };
	return e;
}

static int
add_run(struct extents *x, const struct run *r, uint64_t piece)
{
	uint64_t at = r->start, off = r->offset;

	while (at < r->end) {
		uint64_t n = piece - off % piece;

		if (n > r->end - at)
			n = r->end - at;
		if (add(x, at, at + n, off) == NULL)
			return -ENOMEM;
		at += n;
		off += n;
	}
	return 0;
}

int
extents_make(struct extents *x, const struct process *p, uint64_t piece,
    bool (*wanted)(const struct vma *v))
{
	size_t v = 0;
	int err = 0;

	memset(x, 0, sizeof(*x));
	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		while (v < p->nvmas && p->vmas[v].end <= r->start)
			v++;
		if (r->kind == RUN_HELD && v < p->nvmas && wanted(&p->vmas[v]))
			err = add_run(x, r, piece);
	}
	if (err < 0)
		extents_free(x);
	return err;
}

int
extents_copy(struct extents *x, const struct extents *from)
{
	memset(x, 0, sizeof(*x));
	x->moved = from->moved;
	for (size_t i = 0; i < from->n; i++) {
		const struct extent *e = &from->v[i];

		if (!e->done && add(x, e->start, e->end, e->off) == NULL) {
			extents_free(x);
			return -ENOMEM;
		}
	}
	return 0;
}

void
extents_free(struct extents *x)
{
	free(x->v);
	memset(x, 0, sizeof(*x));
}

/* The first that ends above `addr`. */
static size_t
at_or_above(const struct extents *x, uint64_t addr)
{
	size_t lo = 0, hi = x->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (x->v[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct extent *
extents_find(const struct extents *x, uint64_t addr)
{
	size_t i = at_or_above(x, addr);

	return i < x->n && x->v[i].start <= addr ? &x->v[i] : NULL;
}

/* The first with bytes at or above `off`; offsets are in order. */
static size_t
by_offset(const struct extents *x, uint64_t off)
{
	size_t lo = 0, hi = x->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct extent *e = &x->v[mid];

		if (e->off + (e->end - e->start) <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct extent *
extents_next(
    const struct extents *x, const struct extent *e, uint64_t off, uint64_t end)
{
	size_t i;

	if (e != NULL)
		i = (size_t)(e - x->v) + 1;
	else
		i = x->moved ? 0 : by_offset(x, off);
	for (; i < x->n; i++) {
		struct extent *c = &x->v[i];

		if (!x->moved && c->off >= end)
			break;
		if (!c->done && c->off < end &&
		    c->off + (c->end - c->start) > off)
			return c;
	}
	return NULL;
}

/* Cut the extent that goes across `addr` in two. */
static int
cut(struct extents *x, uint64_t addr)
{
	struct extent *e = extents_find(x, addr), *tail;
	size_t i;

	if (e == NULL || e->start == addr)
		return 0;
	i = (size_t)(e - x->v);
	if (process_grow(&x->v, &x->n, sizeof(*x->v)) == NULL)
		return -ENOMEM;
	e = &x->v[i];
	memmove(e + 2, e + 1, (x->n - i - 2) * sizeof(*e));
	tail = e + 1;
	*tail = *e;
	tail->start = e->end = addr;
	tail->off += addr - e->start;
	return 0;
}

static int
cut_both(struct extents *x, uint64_t start, uint64_t end)
{
	int err = cut(x, start);

	return err == 0 ? cut(x, end) : err;
}

int
extents_drop(struct extents *x, uint64_t start, uint64_t end)
{
	int err = cut_both(x, start, end);

	for (size_t i = at_or_above(x, start);
	     err == 0 && i < x->n && x->v[i].start < end; i++)
		x->v[i].done = true;
	return err;
}

static int
by_address(const void *a, const void *b)
{
	const struct extent *e = a, *f = b;

	return e->start < f->start ? -1 : e->start > f->start;
}

/* Those that are done would overlap with what comes to lie there. */
static void
forget_done(struct extents *x)
{
	size_t n = 0;

	for (size_t i = 0; i < x->n; i++)
		if (!x->v[i].done)
			x->v[n++] = x->v[i];
	x->n = n;
}

int
extents_move(struct extents *x, uint64_t from, uint64_t to, uint64_t len)
{
	int err = cut_both(x, from, from + len);

	if (err == 0)
		err = extents_drop(x, to, to + len);
	if (err < 0)
		return err;
	forget_done(x);
	for (size_t i = at_or_above(x, from);
	     i < x->n && x->v[i].start < from + len; i++) {
		x->v[i].end = x->v[i].end - from + to;
		x->v[i].start = x->v[i].start - from + to;
	}
	if (x->n > 0)
		qsort(x->v, x->n, sizeof(*x->v), by_address);
	x->moved = true;
	return 0;
}
