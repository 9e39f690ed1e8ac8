#include "late.h"

#include <errno.h>
#include <stdlib.h>

#include "pager.h"
#include "spans.h"

/* ---- what cannot be late ---- */

/*
 * What p has from its parent, where it is mapped as that has it; without
 * `former`, only what that has itself now.
 */
static int
add_inherited(struct spans *s, const struct process *p,
    const struct pieces *has, bool former)
{
	size_t run = 0;
	int err = 0;

	for (size_t i = 0; i < has->n; i++) {
		const struct piece *c = &has->v[i];

		while (run < p->nruns && p->runs[run].end <= c->start)
			run++;
		for (size_t k = run; c->inherited && err == 0 && k < p->nruns &&
				     p->runs[k].start < c->end;
		     k++) {
			const struct run *r = &p->runs[k];

			if (!inherit_is_same(r) || (r->former && !former))
				continue;
			err = spans_add(s,
			    r->start > c->start ? r->start : c->start,
			    r->end < c->end ? r->end : c->end);
		}
	}
	return err;
}

/* What process `i` has from its parent, or its children from it. */
static int
find_soon(struct spans *soon, const struct family *t,
    const struct inheritance *in, size_t i)
{
	int err = 0;

	if (in->n == 0)
		return 0;
	if (i > 0)
		err = add_inherited(soon, t->v[i], &in->of[i], true);
	for (size_t k = 1; err == 0 && k < t->n; k++) {
		struct spans of = { 0 };

		if (t->v[k]->parent != i)
			continue;
		err = add_inherited(&of, t->v[k], &in->of[k], false);
		if (err == 0)
			err = spans_unite(soon, &of);
		spans_fini(&of);
	}
	return err;
}

/* ---- runs ---- */

struct cutter {
	struct run *v;
	size_t n;
	uint64_t soon; /* bytes that it reads for others, too */
};

static int
put(struct cutter *c, const struct run *of, uint64_t start, uint64_t end,
    bool late)
{
	struct run *r = process_grow(&c->v, &c->n, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	*r = *of;
	r->start = start;
	r->end = end;
	r->offset += start - of->start;
	r->src_off += start - of->start;
	r->late = late;
	return 0;
}

static int
cut_run(struct cutter *c, const struct run *r, const struct spans *soon)
{
	uint64_t at = r->start, end;
	int err = 0;

	for (; err == 0 && at < r->end; at = end) {
		bool is_soon = spans_contain(soon, at, r->end, &end) != 0;

		err = put(c, r, at, end, !is_soon);
		if (is_soon && r->up == 0)
			c->soon += end - at;
	}
	return err;
}

static void
mark(struct process *p)
{
	size_t v = 0;

	for (size_t i = 0; i < p->nruns; i++) {
		struct run *r = &p->runs[i];

		while (v < p->nvmas && p->vmas[v].end <= r->start)
			v++;
		r->late = r->kind == RUN_HELD && v < p->nvmas &&
			  pager_wants(&p->vmas[v]);
	}
}

static int
cut(struct process *p, const struct spans *soon, uint64_t *bytes)
{
	struct cutter c = { 0 };
	int err = 0;

	mark(p);
	if (soon->n == 0)
		return 0;
	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		err = r->late ? cut_run(&c, r, soon)
			      : put(&c, r, r->start, r->end, false);
	}
	if (err < 0) {
		free(c.v);
		return err;
	}
	free(p->runs);
	p->runs = c.v;
	p->nruns = c.n;
	*bytes += c.soon;
	return 0;
}

/* ---- all of it ---- */

int
late_find(struct family *t, const struct inheritance *in, uint64_t *soon)
{
	int err = 0;

	*soon = 0;
	for (size_t i = 0; err == 0 && i < t->n; i++) {
		struct spans s = { 0 };

		err = find_soon(&s, t, in, i);
		if (err == 0)
			err = cut(t->v[i], &s, soon);
		spans_fini(&s);
	}
	return err;
}

void
late_none(struct process *p)
{
	for (size_t i = 0; i < p->nruns; i++)
		p->runs[i].late = false;
}

uint64_t
late_bytes(const struct process *p)
{
	uint64_t n = 0;

	for (size_t i = 0; i < p->nruns; i++)
		if (p->runs[i].late)
			n += p->runs[i].end - p->runs[i].start;
	return n;
}
