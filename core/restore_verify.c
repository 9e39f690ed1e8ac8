/*
 * restore_verify.c - what is read of the image is what was written.  What a
 * pager brings it verifies itself; so of `pages` only those pieces are verified
 * here that hold what a new process reads.
 */
#include <errno.h>
#include <stdlib.h>

#include "ctx.h"
#include "image.h"
#include "pagesums.h"
#include "restore_tree.h"

/* By number of family_source(): which pieces; of a file without sums NULL. */
struct read_here {
	bool **of;
	size_t n;
};

static const struct image_sums *
sums_of(const struct family *f, size_t k)
{
	return k < f->n ? f->sums[k] : f->above_sums[k - f->n];
}

static void
mark(bool *pieces, const struct pagesums *s, const struct run *r)
{
	uint64_t end = r->offset + (r->end - r->start);

	for (size_t i = (size_t)(r->offset / s->piece);
	     i < s->n && i * s->piece < end; i++)
		pieces[i] = true;
}

static void
mark_process(
    struct read_here *h, const struct family *f, const struct process *p)
{
	for (size_t i = 0; i < p->nruns; i++) {
		const struct run *r = &p->runs[i];
		size_t k;

		if (r->kind != RUN_HELD || r->late)
			continue;
		k = family_source(f, p, r->src);
		if (h->of[k] != NULL)
			mark(h->of[k], image_pagesums(sums_of(f, k)), r);
	}
}

static void
forget(struct read_here *h)
{
	for (size_t i = 0; h->of != NULL && i < h->n; i++)
		free(h->of[i]);
	free(h->of);
}

static int
find(struct read_here *h, const struct family *f)
{
	h->n = f->n + f->nabove;
	h->of = calloc(h->n, sizeof(*h->of));
	if (h->of == NULL)
		return -ENOMEM;
	for (size_t k = 0; k < h->n; k++) {
		const struct pagesums *s = image_pagesums(sums_of(f, k));

		if (s == NULL)
			continue;
		h->of[k] = calloc(s->n + 1, sizeof(bool));
		if (h->of[k] == NULL)
			return -ENOMEM;
	}
	for (size_t i = 0; i < f->n; i++)
		mark_process(h, f, f->v[i]);
	return 0;
}

/* An instance reads no pages. */
static int
verify_one(struct restore_tree *t, const struct read_here *h, size_t k)
{
	const struct family *f = t->family;
	const struct process *p = family_numbered(f, k);
	const struct image_sums *sums = sums_of(f, k);
	bool *pieces = h->of == NULL ? NULL : h->of[k];

	t->cx->where = p->dir;
	if (k < f->n && sums == NULL)
		return 0;
	return t->v[0].host.part == PLAN_INSTANCE
		   ? image_verify_contents(t->cx, p, sums)
		   : image_verify(t->cx, p, sums, pieces);
}

int
restore_verify(struct restore_tree *t)
{
	const struct family *f = t->family;
	struct read_here h = { 0 };
	int err = 0;

	if (t->npaged > 0 && find(&h, f) < 0)
		err = snap_fail(t->cx, -ENOMEM, "no memory");
	for (size_t i = 0; err == 0 && i < f->nabove; i++)
		err = verify_one(t, &h, f->n + i);
	for (size_t i = 0; err == 0 && i < f->n; i++)
		err = verify_one(t, &h, i);
	t->cx->where = NULL;
	forget(&h);
	if (err == 0)
		snap_logf(t->cx, SNAP_STEP, "pages verified");
	return err;
}
