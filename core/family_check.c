/*
 * family_check.c - do the processes of an image fit together?  Pure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "family.h"
#include "fdkv.h"
#include "resource.h"

/* ---- ids ---- */

static int
by_number(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int
put(pid_t **v, size_t *n, pid_t id)
{
	pid_t *slot = process_grow(v, n, sizeof(*slot));

	if (slot == NULL)
		return -ENOMEM;
	*slot = id;
	return 0;
}

static int
check_ids(struct snap_ctx *cx, const struct family *t)
{
	pid_t *v = NULL;
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct process *p = t->v[i];

		for (size_t k = 0; err == 0 && k < p->nthreads; k++)
			err = put(&v, &n, p->threads[k].tid);
		for (size_t k = 0; err == 0 && k < p->nzombies; k++)
			err = put(&v, &n, p->zombies[k].pid);
	}
	if (err == 0 && n > 0)
		qsort(v, n, sizeof(*v), by_number);
	for (size_t k = 1; err == 0 && k < n; k++)
		if (v[k] == v[k - 1])
			err = snap_fail(cx, -EBADMSG,
			    "children: the id %d is there twice", (int)v[k]);
	free(v);
	return err;
}

/* ---- contents ---- */

/* It lies above the tree: whoever has it too means the same. */
static int
take_from_above(struct process *first, struct process *p, struct content *c)
{
	struct content *own;
	uint32_t id = c->id;

	if (p == first) {
		c->up = 0;
		return 0;
	}
	if (family_own(first, id) == NULL) {
		own = process_grow(
		    &first->contents, &first->ncontents, sizeof(*own));
		if (own == NULL)
			return -ENOMEM;
		*own = *c;
		own->up = 0;
		c->fd = -1;
	}
	c->up = p->depth;
	return 0;
}

static int
check_content(struct snap_ctx *cx, struct process *p, const struct content *c)
{
	struct process *keeper = family_keeper(p, c);
	const struct content *own = family_own(keeper, c->id);

	if (c->up > 0 && (own == NULL || own->up != 0 || own->size != c->size))
		return snap_fail(cx, -EBADMSG,
		    "children: process %d shares contents %u with process %d, "
		    "which does not have them",
		    (int)p->pid, c->id, (int)keeper->pid);
	for (size_t i = p->index + 1; c->up == 0 && i < p->tree->n; i++) {
		own = family_own(p->tree->v[i], c->id);
		if (own != NULL && own->up == 0)
			return snap_fail(cx, -EBADMSG,
			    "children: processes %d and %d both have contents "
			    "%u",
			    (int)p->pid, (int)p->tree->v[i]->pid, c->id);
	}
	return 0;
}

static int
check_contents(struct snap_ctx *cx, struct family *t)
{
	int err = 0;

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; err == 0 && k < t->v[i]->ncontents; k++)
			if (t->v[i]->contents[k].up > t->v[i]->depth)
				err = take_from_above(
				    t->v[0], t->v[i], &t->v[i]->contents[k]);
	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; err == 0 && k < t->v[i]->ncontents; k++)
			err = check_content(cx, t->v[i], &t->v[i]->contents[k]);
	return err;
}

const struct content *
family_content(const struct process *p, uint32_t id)
{
	const struct content *c = process_content(p, id);

	if (c == NULL || c->up == 0)
		return c;
	return process_content(family_keeper(p, c), id);
}

/* ---- open files ---- */

static const struct fdent *
find_fd(const struct process *p, int fd)
{
	for (size_t i = 0; i < p->nfds; i++)
		if (p->fds[i].fd == fd)
			return &p->fds[i];
	return NULL;
}

struct process *
family_file(const struct process *p, const struct openfile *f, uint32_t *index)
{
	const char *same = openfile_get(f, "same");
	struct process *q = NULL;
	const struct fdent *e;
	uint64_t pid, fd;

	*index = (uint32_t)(f - p->files);
	if (same == NULL || p->tree == NULL || resource_edited(f) ||
	    !kv_scan_u64(&same, 10, INT32_MAX, &pid) ||
	    !kv_scan_text(&same, "/") || !kv_number(same, 10, INT32_MAX, &fd))
		return (struct process *)p;
	q = family_find(p->tree, (pid_t)pid);
	e = q == NULL ? NULL : find_fd(q, (int)fd);
	if (e == NULL || resource_edited(&q->files[e->file]))
		return (struct process *)p;
	*index = e->file;
	return q;
}

/* An image that was edited may have taken away the one that is meant. */
static int
check_file(struct snap_ctx *cx, struct process *p, struct openfile *f)
{
	const struct openfile *g;
	struct process *q;
	uint32_t index, again;

	q = family_file(p, f, &index);
	g = &q->files[index];
	if (family_file(q, g, &again) != q || again != index ||
	    strcmp(f->kind, g->kind) != 0 || f->flags != g->flags)
		return snap_fail(cx, -EBADMSG,
		    "children: fdinfo/%u of process %d is not the same open "
		    "file as fdinfo/%u of process %d",
		    f->id, (int)p->pid, g->id, (int)q->pid);
	return 0;
}

int
family_check(struct snap_ctx *cx, struct family *t)
{
	int err;

	err = check_ids(cx, t);
	if (err == 0)
		err = check_contents(cx, t);
	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; err == 0 && k < t->v[i]->nfiles; k++)
			err = check_file(cx, t->v[i], &t->v[i]->files[k]);
	return err == 0 ? family_check_shares(cx, t) : err;
}
