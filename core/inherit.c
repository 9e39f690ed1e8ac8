#include "inherit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "family.h"
#include "plan.h"

/*
 * How many VMAs of a process are handed on: the kernel's limit is twice that,
 * and the agent has some of its own.
 */
#define HANDED_MAX 30000
/* What a growing stack of the agent needs below it, and some. */
#define DISTANCE (16ull << 20)
/* Moved by whole page tables. */
#define ALIGN (2ull << 20)

#define UNFIT \
	(VMA_F_DROPPABLE | VMA_F_SHADOWSTACK | VMA_F_SYNC | VMA_F_IO | \
	    VMA_F_HUGETLB)
#define ALIKE \
	(VMA_F_GROWSDOWN | VMA_F_NORESERVE | VMA_F_HUGEPAGE | \
	    VMA_F_NOHUGEPAGE | VMA_F_ACCOUNT)

/* ---- which VMAs ---- */

static const struct mapfile *
file_of(const struct process *p, const struct vma *v)
{
	return v->file < 0 ? NULL : &p->mapfiles[v->file];
}

static bool
is_fit(const struct process *p, const struct vma *v)
{
	const struct mapfile *f = file_of(p, v);

	if (v->shared || (v->flags & UNFIT) != 0 || v->end > LAYOUT_TASK_SIZE)
		return false;
	return v->kind == VMA_ANON ||
	       (v->kind == VMA_FILE && f != NULL && f->content == 0);
}

static bool
is_same_file(const struct mapfile *a, const struct mapfile *b)
{
	return strcmp(a->path, b->path) == 0 && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       strcmp(a->build_id, b->build_id) == 0;
}

/* Can v of p be what fork(2) makes of u of its parent q? */
static bool
is_alike(const struct process *p, const struct vma *v, const struct process *q,
    const struct vma *u)
{
	if (v->kind != u->kind || ((v->flags ^ u->flags) & ALIKE) != 0)
		return false;
	/* One that grew after the fork would come back as two. */
	if (v->flags & VMA_F_GROWSDOWN &&
	    (v->start != u->start || v->end != u->end))
		return false;
	return v->kind == VMA_ANON ||
	       (v->offset - v->start == u->offset - u->start &&
		   is_same_file(file_of(p, v), file_of(q, u)));
}

/* Those of all processes that are handed on or inherited, by index. */
struct marks {
	bool **of;
	size_t *n; /* how many of each */
};

static void
mark(struct marks *m, size_t process, size_t vma)
{
	if (m->of[process][vma] || m->n[process] >= HANDED_MAX)
		return;
	m->of[process][vma] = true;
	m->n[process]++;
}

/* Where the runs of p say that it has the same as its parent. */
static void
mark_process(struct marks *m, const struct process *p, const struct process *q)
{
	size_t i = 0, k = 0;

	for (size_t r = 0; r < p->nruns; r++) {
		const struct run *run = &p->runs[r];

		if (!inherit_is_same(run))
			continue;
		while (i < p->nvmas && p->vmas[i].end <= run->start)
			i++;
		while (k < q->nvmas && q->vmas[k].end <= run->start)
			k++;
		if (i == p->nvmas || !is_fit(p, &p->vmas[i]))
			continue;
		for (size_t j = k; j < q->nvmas && q->vmas[j].start < run->end;
		     j++) {
			if (!is_fit(q, &q->vmas[j]) ||
			    !is_alike(p, &p->vmas[i], q, &q->vmas[j]))
				continue;
			mark(m, p->index, i);
			mark(m, q->index, j);
		}
	}
}

static void
marks_free(struct marks *m, size_t n)
{
	for (size_t i = 0; m->of != NULL && i < n; i++)
		free(m->of[i]);
	free(m->of);
	free(m->n);
}

static int
mark_all(struct marks *m, const struct family *t)
{
	m->of = calloc(t->n, sizeof(*m->of));
	m->n = calloc(t->n, sizeof(*m->n));
	if (m->of == NULL || m->n == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		m->of[i] = calloc(t->v[i]->nvmas + 1, sizeof(bool));
		if (m->of[i] == NULL)
			return -ENOMEM;
	}
	for (size_t i = 1; i < t->n; i++)
		mark_process(m, t->v[i], t->v[t->v[i]->parent]);
	return 0;
}

/* ---- their pieces ---- */

static int
add(struct pieces *s, uint64_t start, uint64_t end, size_t vma, bool inherited)
{
	struct piece *c;

	if (start >= end)
		return 0;
	c = process_grow(&s->v, &s->n, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	*c = (struct piece){ start, end, start, vma, inherited };
	return 0;
}

/* Cut where the parent's pieces end: each must lie in one VMA of the kernel. */
static int
cut(struct pieces *s, const struct process *p, size_t vma,
    const struct process *q, const struct pieces *above, size_t *k)
{
	const struct vma *v = &p->vmas[vma];
	uint64_t at = v->start;
	int err = 0;

	while (*k < above->n && above->v[*k].end <= at)
		(*k)++;
	for (size_t i = *k;
	     err == 0 && i < above->n && above->v[i].start < v->end; i++) {
		const struct piece *c = &above->v[i];
		uint64_t from = c->start > at ? c->start : at;
		uint64_t to = c->end < v->end ? c->end : v->end;

		if (!is_alike(p, v, q, &q->vmas[c->vma]))
			continue;
		err = add(s, at, from, vma, false);
		if (err == 0)
			err = add(s, from, to, vma, true);
		at = to;
	}
	return err == 0 ? add(s, at, v->end, vma, false) : err;
}

static int
cut_process(const struct inheritance *in, const struct marks *m,
    const struct family *t, size_t i)
{
	static const struct pieces none = { 0 };
	const struct process *p = t->v[i];
	const struct pieces *above = i == 0 ? &none : &in->of[p->parent];
	size_t k = 0;
	int err = 0;

	for (size_t v = 0; err == 0 && v < p->nvmas; v++)
		if (m->of[i][v])
			err = cut(&in->of[i], p, v, t->v[p->parent], above, &k);
	return err;
}

/* ---- where they lie ---- */

static int
by_start(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* The ranges of all pieces; those that overlap become one. */
static int
unite(struct inheritance *in)
{
	struct range *v;
	size_t total = 0, n = 0;

	for (size_t i = 0; i < in->n; i++)
		total += in->of[i].n;
	in->places = v = calloc(total + 1, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < in->n; i++)
		for (size_t k = 0; k < in->of[i].n; k++)
			v[n++] = (struct range){ in->of[i].v[k].start,
				in->of[i].v[k].end };
	qsort(v, total, sizeof(*v), by_start);
	n = 0;
	for (size_t i = 0; i < total; i++) {
		if (n > 0 && v[i].start < v[n - 1].end) {
			if (v[i].end > v[n - 1].end)
				v[n - 1].end = v[i].end;
		} else {
			v[n++] = v[i];
		}
	}
	in->nplaces = n;
	return 0;
}

/* `k` moves on: both are sorted. */
static bool
is_in_the_way(const struct layout *self, const struct range *r, size_t *k)
{
	while (*k < self->n && self->v[*k].end + DISTANCE <= r->start)
		(*k)++;
	return *k < self->n && self->v[*k].start < r->end + DISTANCE;
}

/* Room that nobody has anything in, neither we nor an image. */
static uint64_t
find_room(const struct family *t, const struct layout *self, uint64_t len)
{
	static const struct process nobody = { 0 };
	struct layout all = { 0 };
	uint64_t at;

	for (size_t i = 0; i < t->n; i++)
		all.n += t->v[i]->nvmas;
	all.v = calloc(all.n + self->n, sizeof(*all.v));
	if (all.v == NULL)
		return 0;
	all.n = self->n;
	memcpy(all.v, self->v, self->n * sizeof(*all.v));
	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < t->v[i]->nvmas; k++)
			all.v[all.n++] = (struct range){ t->v[i]->vmas[k].start,
				t->v[i]->vmas[k].end };
	qsort(all.v, all.n, sizeof(*all.v), by_start);
	at = layout_hole(&all, &nobody, len);
	free(all.v);
	return at;
}

/* How far each place is from where the agent has nothing; 0: not at all. */
static int
find_shifts(struct snap_ctx *cx, const struct family *t,
    const struct layout *self, const struct inheritance *in, uint64_t *shift)
{
	uint64_t len = 0, at;
	size_t k = 0;

	for (size_t i = 0; i < in->nplaces; i++) {
		const struct range *r = &in->places[i];

		shift[i] = is_in_the_way(self, r, &k);
		if (shift[i] != 0)
			len += r->end - r->start + 2 * ALIGN;
	}
	if (len == 0)
		return 0;
	at = find_room(t, self, len);
	if (at == 0)
		return snap_fail(cx, -ENOMEM,
		    "no %llu bytes of address space that neither the image "
		    "nor snapfs uses",
		    (unsigned long long)len);
	for (size_t i = 0; i < in->nplaces; i++) {
		const struct range *r = &in->places[i];

		if (shift[i] == 0)
			continue;
		at += (r->start - at) % ALIGN;
		shift[i] = at - r->start;
		at += r->end - r->start;
	}
	return 0;
}

/* What neither overlaps nor is shifted alike was one with its neighbour. */
static void
shift_all(struct inheritance *in, const uint64_t *shift)
{
	for (size_t i = 0; i < in->n; i++) {
		size_t k = 0;

		for (size_t c = 0; c < in->of[i].n; c++) {
			struct piece *piece = &in->of[i].v[c];

			while (in->places[k].end <= piece->start)
				k++;
			piece->at = piece->start + shift[k];
		}
	}
	for (size_t k = 0; k < in->nplaces; k++) {
		in->places[k].start += shift[k];
		in->places[k].end += shift[k];
	}
	qsort(in->places, in->nplaces, sizeof(*in->places), by_start);
}

static int
find_places(struct snap_ctx *cx, const struct family *t,
    const struct layout *self, struct inheritance *in)
{
	uint64_t *shift;
	int err;

	err = unite(in);
	shift = calloc(in->nplaces + 1, sizeof(*shift));
	if (err == 0 && shift == NULL)
		err = -ENOMEM;
	if (err == 0)
		err = find_shifts(cx, t, self, in, shift);
	if (err == 0)
		shift_all(in, shift);
	free(shift);
	return err;
}

/* ---- all of it ---- */

int
inherit_find(struct snap_ctx *cx, const struct family *t,
    const struct layout *self, struct inheritance *in)
{
	struct marks m = { 0 };
	int err;

	memset(in, 0, sizeof(*in));
	in->of = calloc(t->n, sizeof(*in->of));
	err = in->of == NULL ? -ENOMEM : mark_all(&m, t);
	in->n = in->of == NULL ? 0 : t->n;
	for (size_t i = 0; err == 0 && i < t->n; i++)
		err = cut_process(in, &m, t, i);
	marks_free(&m, t->n);
	if (err == 0)
		err = find_places(cx, t, self, in);
	return err < 0 ? snap_fail(cx, err, "no memory") : 0;
}

void
inherit_free(struct inheritance *in)
{
	for (size_t i = 0; i < in->n; i++)
		free(in->of[i].v);
	free(in->of);
	free(in->places);
	memset(in, 0, sizeof(*in));
}
