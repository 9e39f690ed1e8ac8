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
add_run(struct extents *x, const struct run *r, uint64_t piece, uint64_t off)
{
	uint64_t at = r->start;

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

static int
by_offset(const void *a, const void *b, void *v)
{
	const struct extent *e = v;
	const size_t *i = a, *k = b;

	return e[*i].off < e[*k].off ? -1 : e[*i].off > e[*k].off;
}

/* Those of several files `pages` are mixed. */
static int
put_in_order(struct extents *x)
{
	size_t i = 1;

	while (i < x->n && x->v[i - 1].off <= x->v[i].off)
		i++;
	if (i >= x->n)
		return 0;
	x->order = calloc(x->n, sizeof(*x->order));
	if (x->order == NULL)
		return -ENOMEM;
	for (i = 0; i < x->n; i++)
		x->order[i] = i;
	qsort_r(x->order, x->n, sizeof(*x->order), by_offset, x->v);
	return 0;
}

int
extents_make(struct extents *x, const struct process *p, uint64_t piece,
    const uint64_t *bases)
{
	int err = 0;

	memset(x, 0, sizeof(*x));
	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		if (r->late)
			err = add_run(x, r, piece, bases[r->src] + r->offset);
	}
	if (err == 0)
		err = put_in_order(x);
	if (err < 0)
		extents_free(x);
	return err;
}

int
extents_copy(struct extents *x, const struct extents *from)
{
	memset(x, 0, sizeof(*x));
	x->moved = from->moved || from->order != NULL;
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
	free(x->order);
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

/* The extent at place `i` of the order of offsets. */
static struct extent *
at_place(const struct extents *x, size_t i)
{
	return &x->v[x->order == NULL ? i : x->order[i]];
}

/* The first place with bytes at or above `off`. */
static size_t
place_of(const struct extents *x, uint64_t off)
{
	size_t lo = 0, hi = x->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct extent *e = at_place(x, mid);

		if (e->off + (e->end - e->start) <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static size_t
next_place(const struct extents *x, const struct extent *e, uint64_t off)
{
	if (e != NULL)
		return x->order == NULL ? (size_t)(e - x->v) + 1
					: place_of(x, e->off) + 1;
	return x->moved ? 0 : place_of(x, off);
}

struct extent *
extents_next(
    const struct extents *x, const struct extent *e, uint64_t off, uint64_t end)
{
	for (size_t i = next_place(x, e, off); i < x->n; i++) {
		struct extent *c = at_place(x, i);

		if (!x->moved && c->off >= end)
			break;
		/* Who asks is alone with his piece; `done` of others changes. */
		if (c->off < end && c->off + (c->end - c->start) > off &&
		    !c->done)
			return c;
	}
	return NULL;
}

static void
forget_order(struct extents *x)
{
	x->moved = x->moved || x->order != NULL;
	free(x->order);
	x->order = NULL;
}

/* Cut the extent that goes across `addr` in two. */
static int
cut(struct extents *x, uint64_t addr)
{
	struct extent *e = extents_find(x, addr), *tail;
	size_t i;

	if (e == NULL || e->start == addr)
		return 0;
	forget_order(x);
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
	forget_order(x);
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
