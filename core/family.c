#include "family.h"

#include <errno.h>
#include <stdlib.h>

#include "image.h"

struct process *
family_add(struct family *t, size_t parent)
{
	struct image_sums **sums;
	size_t n = t->n, m = t->n;
	struct process **v;

	if (n >= FAMILY_MAX || (n > 0 && parent >= n))
		return NULL;
	v = process_grow(&t->v, &n, sizeof(*v));
	sums = v == NULL ? NULL : process_grow(&t->sums, &m, sizeof(*sums));
	if (sums == NULL)
		return NULL;
	*v = process_new();
	if (*v == NULL)
		return NULL;
	(*v)->tree = t;
	(*v)->index = t->n;
	(*v)->parent = t->n > 0 ? parent : 0;
	(*v)->depth = t->n > 0 ? t->v[parent]->depth + 1 : 0;
	t->n++;
	return *v;
}

int
family_add_above(struct family *t, struct process *p, struct image_sums *sums)
{
	size_t n = t->nabove;
	struct image_sums **s =
	    process_grow(&t->above_sums, &n, sizeof(struct image_sums *));
	struct process **slot = NULL;

	if (s != NULL)
		slot = process_grow(
		    &t->above, &t->nabove, sizeof(struct process *));
	if (slot == NULL) {
		process_free(p);
		image_sums_free(sums);
		return -ENOMEM;
	}
	p->tree = NULL;
	p->index = n - 1;
	*slot = p;
	*s = sums;
	return 0;
}

void
family_fini(struct family *t)
{
	for (size_t i = 0; i < t->n; i++) {
		process_free(t->v[i]);
		image_sums_free(t->sums[i]);
	}
	for (size_t i = 0; i < t->nabove; i++) {
		process_free(t->above[i]);
		image_sums_free(t->above_sums[i]);
	}
	free(t->above);
	free(t->above_sums);
	free(t->v);
	free(t->sums);
	t->v = NULL;
	t->sums = NULL;
	t->n = 0;
}

struct process *
family_find(const struct family *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i]->pid == pid)
			return t->v[i];
	return NULL;
}

size_t
family_source(const struct family *t, const struct process *p, uint32_t src)
{
	const struct process *q = src == 0 ? p : p->sources[src - 1];

	return q->tree == t ? q->index : t->n + q->index;
}

struct process *
family_numbered(const struct family *t, size_t k)
{
	return k < t->n ? t->v[k] : t->above[k - t->n];
}

struct process *
family_keeper(const struct process *p, const struct content *c)
{
	for (uint32_t up = c->up; up > 0 && p->depth > 0; up--)
		p = p->tree->v[p->parent];
	return (struct process *)p;
}

/* ---- contents ---- */

struct content *
family_own(struct process *p, uint32_t id)
{
	for (size_t i = 0; i < p->ncontents; i++)
		if (p->contents[i].id == id)
			return &p->contents[i];
	return NULL;
}

/* Give content `id` of p to the first process. */
static int
hand_up(struct family *t, struct process *p, uint32_t id)
{
	struct process *first = t->v[0];
	struct content *c = family_own(first, id), *own;

	if (c == NULL) {
		c = process_grow(
		    &first->contents, &first->ncontents, sizeof(*c));
		if (c == NULL)
			return -ENOMEM;
	}
	own = family_own(p, id);
	*c = *own;
	c->up = 0;
	own->fd = -1;
	own->up = p->depth;
	return 0;
}

/* The bytes of a content that p only refers to. */
static int
settle(struct family *t, struct process *p, struct content *c)
{
	const uint32_t id = c->id;

	c->up = p->depth;
	for (size_t i = 1; i < t->n; i++) {
		struct content *own = family_own(t->v[i], id);

		if (own != NULL && own->fd >= 0)
			return hand_up(t, t->v[i], id);
	}
	return 0;
}

static int
by_id(const void *a, const void *b)
{
	const struct content *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

int
family_settle_contents(struct family *t)
{
	int err = 0;

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; err == 0 && k < t->v[i]->ncontents; k++)
			if (t->v[i]->contents[k].fd < 0)
				err = settle(t, t->v[i], &t->v[i]->contents[k]);
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i]->ncontents > 0)
			qsort(t->v[i]->contents, t->v[i]->ncontents,
			    sizeof(struct content), by_id);
	return err;
}
