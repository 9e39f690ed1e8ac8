#include "chain_share.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cow.h"

/* 50 MB; what is in more pieces is not shared. */
#define SLICES_MAX (COW_PIECES_MAX / 4)

/* Pages by whose they are: of `owner` at the address plus `base`. */
struct page_of {
	const struct process *owner;
	uint64_t base;
};

/* A part of a child's run that is to be known as shared. */
struct cut {
	uint64_t start, end;
	uint32_t up;
	bool former;
};

struct cuts {
	struct cut *v;
	size_t n;
};

static const struct process *
owner(const struct process *p, const struct run *r)
{
	return r->src == 0 ? p : p->sources[r->src - 1];
}

static struct page_of
page_of(const struct process *p, const struct run *r)
{
	return (struct page_of){ owner(p, r), r->offset - r->start };
}

static bool
is_same(const struct page_of *a, const struct page_of *b)
{
	return a->owner == b->owner && a->base == b->base;
}

/* It has it from an earlier link, and for itself as far as is known. */
static bool
may_be_shared(const struct run *r)
{
	return r->kind == RUN_HELD && r->src != 0 && r->up == 0;
}

/* ---- what a child's runs become ---- */

static int
add_cut(struct cuts *c, uint64_t start, uint64_t end, uint32_t up, bool former)
{
	struct cut *last = c->n > 0 ? &c->v[c->n - 1] : NULL;
	struct cut *in;

	if (last != NULL && last->end == start && last->up == up &&
	    last->former == former) {
		last->end = end;
		return 0;
	}
	in = process_grow(&c->v, &c->n, sizeof(*in));
	if (in == NULL)
		return -ENOMEM;
	*in = (struct cut){ start, end, up, former };
	return 0;
}

static int
add_run(struct process *to, const struct run *of, uint64_t start, uint64_t end,
    const struct cut *cut)
{
	struct run *r;

	if (start >= end)
		return 0;
	r = process_grow(&to->runs, &to->nruns, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	*r = *of;
	r->start = start;
	r->end = end;
	r->offset += start - of->start;
	r->src_off += start - of->start;
	if (cut != NULL) {
		r->up = cut->up;
		r->former = cut->former;
	}
	return 0;
}

/* Both are in order; each cut lies in what may be shared. */
static int
apply(struct process *p, const struct cuts *cuts)
{
	struct process new = { 0 };
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];
		uint64_t at = r->start;

		while (k < cuts->n && cuts->v[k].end <= at)
			k++;
		for (size_t n = k; err == 0 && may_be_shared(r) &&
				   n < cuts->n && cuts->v[n].start < r->end;
		     n++) {
			const struct cut *c = &cuts->v[n];
			uint64_t from = c->start > at ? c->start : at;
			uint64_t to = c->end < r->end ? c->end : r->end;

			err = add_run(&new, r, at, from, NULL);
			if (err == 0)
				err = add_run(&new, r, from, to, c);
			at = to;
		}
		if (err == 0)
			err = add_run(&new, r, at, r->end, NULL);
	}
	if (err < 0) {
		free(new.runs);
		return err;
	}
	free(p->runs);
	p->runs = new.runs;
	p->nruns = new.nruns;
	return 0;
}

/* ---- what the parent process has ---- */

static int
find_current(
    const struct process *p, const struct process *q, struct cuts *cuts)
{
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];
		struct page_of its = page_of(p, r);

		while (k < q->nruns && q->runs[k].end <= r->start)
			k++;
		for (size_t n = k; err == 0 && may_be_shared(r) &&
				   n < q->nruns && q->runs[n].start < r->end;
		     n++) {
			const struct run *o = &q->runs[n];
			struct page_of has = page_of(q, o);

			if (o->kind == RUN_HELD && is_same(&its, &has))
				err = add_cut(cuts,
				    o->start > r->start ? o->start : r->start,
				    o->end < r->end ? o->end : r->end,
				    o->up + 1, false);
		}
	}
	return err;
}

static int
share_current(struct process *p, const struct process *q)
{
	struct cuts cuts = { 0 };
	int err = find_current(p, q, &cuts);

	if (err == 0 && cuts.n > 0)
		err = apply(p, &cuts);
	free(cuts.v);
	return err;
}

/* ---- what only children have in common ---- */

/* A part of a run of child `kid`, between two places where any run ends. */
struct slice {
	uint64_t start, end;
	struct page_of page;
	size_t kid, run;
};

struct search {
	const struct family *f;
	struct process *q;
	uint64_t *ends; /* where runs of its children begin or end, in order */
	size_t nends;
	struct slice *v;
	size_t n;
	bool too_many;
};

static int
by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static bool
is_kid(const struct search *s, size_t i)
{
	return i > 0 && s->f->v[s->f->v[i]->parent] == s->q;
}

static int
find_ends(struct search *s)
{
	size_t n = 0, m = 0;

	for (size_t i = 1; i < s->f->n; i++)
		if (is_kid(s, i))
			n += 2 * s->f->v[i]->nruns;
	s->ends = calloc(n + 1, sizeof(*s->ends));
	if (s->ends == NULL)
		return -ENOMEM;
	n = 0;
	for (size_t i = 1; i < s->f->n; i++)
		for (size_t k = 0; is_kid(s, i) && k < s->f->v[i]->nruns; k++) {
			s->ends[n++] = s->f->v[i]->runs[k].start;
			s->ends[n++] = s->f->v[i]->runs[k].end;
		}
	qsort(s->ends, n, sizeof(*s->ends), by_number);
	for (size_t i = 0; i < n; i++)
		if (m == 0 || s->ends[m - 1] != s->ends[i])
			s->ends[m++] = s->ends[i];
	s->nends = m;
	return 0;
}

static int
add_slices(struct search *s, size_t kid, size_t *e)
{
	const struct process *p = s->f->v[kid];
	int err = 0;

	for (size_t k = 0; err == 0 && k < p->nruns && !s->too_many; k++) {
		const struct run *r = &p->runs[k];
		struct slice *in;

		while (s->ends[*e] < r->start)
			++*e;
		for (; err == 0 && may_be_shared(r) && s->ends[*e] < r->end;
		     ++*e) {
			s->too_many |= s->n == SLICES_MAX;
			in = s->too_many
				 ? NULL
				 : process_grow(&s->v, &s->n, sizeof(*in));
			if (in == NULL)
				return s->too_many ? 0 : -ENOMEM;
			*in = (struct slice){ s->ends[*e], s->ends[*e + 1],
				page_of(p, r), kid, k };
		}
	}
	return err;
}

static int
find_slices(struct search *s)
{
	int err = find_ends(s);

	for (size_t i = 1; err == 0 && i < s->f->n; i++) {
		size_t e = 0;

		if (is_kid(s, i) && s->f->v[i]->nruns > 0)
			err = add_slices(s, i, &e);
	}
	return err;
}

static int
by_page(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;
	uintptr_t i = (uintptr_t)x->page.owner, k = (uintptr_t)y->page.owner;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (i != k)
		return i < k ? -1 : 1;
	if (x->page.base != y->page.base)
		return x->page.base < y->page.base ? -1 : 1;
	return x->kid < y->kid ? -1 : x->kid > y->kid;
}

/* Of the parts from `at` on that begin at one place: the most that are one. */
static size_t
most(const struct search *s, size_t at, size_t *end, size_t *first)
{
	uint64_t start = s->v[at].start;
	size_t from = at, best = 0;

	for (; at < s->n && s->v[at].start == start; at++) {
		if (!is_same(&s->v[at].page, &s->v[from].page))
			from = at;
		if (at + 1 - from > best) {
			best = at + 1 - from;
			*first = from;
		}
	}
	*end = at;
	return best;
}

/* It is the parent's from here on; false: that would need too many images. */
static int
put_former(struct search *s, const struct slice *part)
{
	struct process *p = s->f->v[part->kid];
	const struct run *r = &p->runs[part->run];
	uint32_t *known = calloc(p->nsources + 1, sizeof(*known)), src = 0;
	struct run *f;
	int err = known == NULL
		      ? -ENOMEM
		      : process_take_source(s->q, p, r->src, known, &src);

	free(known);
	if (err < 0)
		return err;
	f = process_grow(&s->q->former, &s->q->nformer, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	*f = *r;
	f->start = part->start;
	f->end = part->end;
	f->offset += part->start - r->start;
	f->src_off += part->start - r->start;
	f->src = src;
	return 0;
}

static int
find_shared(struct search *s, struct cuts *of)
{
	size_t n, end, first = 0;
	int err = 0;

	qsort(s->v, s->n, sizeof(*s->v), by_page);
	for (size_t at = 0; err == 0 && at < s->n; at = end) {
		n = most(s, at, &end, &first);
		if (n < 2)
			continue;
		err = put_former(s, &s->v[first]);
		for (size_t k = first; err == 0 && k < first + n; k++)
			err = add_cut(&of[s->v[k].kid], s->v[k].start,
			    s->v[k].end, 1, true);
	}
	return err == -E2BIG ? 0 : err;
}

static int
share_former(const struct family *f, struct process *q)
{
	struct search s = { .f = f, .q = q };
	struct cuts *of = calloc(f->n, sizeof(*of));
	int err = of == NULL ? -ENOMEM : find_slices(&s);

	if (err == 0 && !s.too_many && s.n > 0)
		err = find_shared(&s, of);
	for (size_t i = 1; of != NULL && i < f->n; i++) {
		if (err == 0 && of[i].n > 0)
			err = apply(f->v[i], &of[i]);
		free(of[i].v);
	}
	free(of);
	free(s.ends);
	free(s.v);
	return err;
}

/* ---- all of it ---- */

int
chain_share(struct family *f)
{
	size_t *kids = calloc(f->n, sizeof(*kids));
	int err = kids == NULL ? -ENOMEM : 0;

	for (size_t i = 1; err == 0 && i < f->n; i++) {
		kids[f->v[i]->parent]++;
		err = share_current(f->v[i], f->v[f->v[i]->parent]);
	}
	for (size_t i = 0; err == 0 && i < f->n; i++)
		if (kids[i] > 1 && f->v[i]->nformer == 0)
			err = share_former(f, f->v[i]);
	free(kids);
	return err;
}
