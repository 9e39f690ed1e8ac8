#include "increment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "served.h"

struct increment {
	struct family tree; /* of v[], */
	struct process *v;  /* of which all but the runs is borrowed */
	uint32_t base;
	struct served files;
	struct snap_node *nodes;
};

/* ---- its pages ---- */

/* The part of a held run up to `end`: written, or as the parent has it. */
static int
add_part(struct process *p, const struct run *whole, uint64_t at, uint64_t end,
    bool written)
{
	struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	*r = *whole;
	r->start = at;
	r->end = end;
	r->src_off += at - whole->start;
	r->offset = p->pages_size;
	if (whole->kind == RUN_HELD && written)
		p->pages_size += end - at;
	else if (whole->kind == RUN_HELD)
		r->kind = RUN_PARENT;
	return 0;
}

static int
take_runs(struct process *p, const struct process *whole)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < whole->nruns; i++)
		err = add_part(p, &whole->runs[i], whole->runs[i].start,
		    whole->runs[i].end, true);
	return err;
}

/*
 * What was copied while it was frozen is held again: there a page may be only
 * one of the kernel's marks, see tracker_uffd.c, that the parent does not hold.
 */
static int
split_runs(
    struct process *p, const struct process *whole, const struct spans *dirty)
{
	uint64_t at, end;
	int err = 0, in;

	for (size_t i = 0; err == 0 && i < whole->nruns; i++) {
		const struct run *r = &whole->runs[i];

		for (at = r->start; err == 0 && at < r->end; at = end) {
			in = spans_contain(dirty, at, r->end, &end);
			if (r->kind != RUN_HELD ||
			    r->src_fd == whole->frozen_fd) {
				in = 1;
				end = r->end;
			}
			err = add_part(p, r, at, end, in);
		}
	}
	return err;
}

/* ---- its files ---- */

/* The same nodes as part of the checkpoint's. */
static int
number(struct increment *inc)
{
	inc->nodes = calloc(inc->files.tree.n, sizeof(*inc->nodes));
	if (inc->nodes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < inc->files.tree.n; i++) {
		struct snap_node *n = &inc->nodes[i];

		*n = inc->files.tree.v[i].node;
		if (n->first_child != 0)
			n->first_child += inc->base;
		if (n->next != 0)
			n->next += inc->base;
		n->parent = i == 0 ? 0 : n->parent + inc->base;
	}
	inc->nodes[0].name = "delta";
	return 0;
}

/* ---- its processes ---- */

/* Behind the runs, as they are: whoever has them in common was not asked. */
static int
take_former(struct process *p, const struct process *whole)
{
	for (size_t i = 0; i < whole->nformer; i++) {
		struct run *r =
		    process_grow(&p->former, &p->nformer, sizeof(*r));

		if (r == NULL)
			return -ENOMEM;
		*r = whole->former[i];
		r->offset = p->pages_size;
		p->pages_size += r->end - r->start;
	}
	return 0;
}

static int
make_process(struct process *p, const struct process *whole,
    const struct increment_part *part)
{
	int err;

	*p = *whole;
	p->runs = p->former = NULL;
	p->nruns = p->nformer = 0;
	p->pages_size = 0;
	memcpy(p->parent_id, part->parent, sizeof(p->parent_id));
	err = part->settled || part->parent[0] == '\0'
		  ? take_runs(p, whole)
		  : split_runs(p, whole, &part->dirty);
	return err == 0 ? take_former(p, whole) : err;
}

static int
make_tree(struct increment *inc, const struct family *whole,
    const struct increment_part *parts)
{
	struct family *t = &inc->tree;
	int err = 0;

	inc->v = calloc(whole->n, sizeof(*inc->v));
	t->v = calloc(whole->n, sizeof(struct process *));
	if (inc->v == NULL || t->v == NULL)
		return -ENOMEM;
	for (size_t i = 0; err == 0 && i < whole->n; i++) {
		t->v[t->n++] = &inc->v[i];
		err = make_process(&inc->v[i], whole->v[i], &parts[i]);
		inc->v[i].tree = t;
	}
	return err;
}

int
increment_new(struct snap_ctx *cx, const struct family *tree,
    const struct increment_part *parts, uint32_t base, struct increment **out)
{
	struct increment *inc = calloc(1, sizeof(*inc));
	int err;

	*out = inc;
	if (inc == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	inc->base = base;
	err = make_tree(inc, tree, parts);
	if (err == 0)
		err = served_init(cx, &inc->files, inc->tree.v[0], false);
	if (err == 0)
		err = number(inc);
	return err < 0 ? snap_fail(cx, err, "no memory") : 0;
}

void
increment_free(struct increment *inc)
{
	if (inc == NULL)
		return;
	served_fini(&inc->files);
	free(inc->nodes);
	for (size_t i = 0; i < inc->tree.n; i++) {
		free(inc->v[i].runs);
		free(inc->v[i].former);
	}
	free(inc->tree.v);
	free(inc->v);
	free(inc);
}

/* ---- reading ---- */

uint32_t
increment_nodes(const struct increment *inc)
{
	return inc == NULL ? 0 : (uint32_t)inc->files.tree.n;
}

const struct snap_node *
increment_node(const struct increment *inc, uint32_t n)
{
	if (inc == NULL || n < inc->base || n - inc->base >= inc->files.tree.n)
		return NULL;
	return &inc->nodes[n - inc->base];
}

uint32_t
increment_lookup(const struct increment *inc, uint32_t dir, const char *name)
{
	uint32_t n = 0;

	if (increment_node(inc, dir) != NULL)
		n = image_find(&inc->files.tree, dir - inc->base, name);
	return n == 0 ? 0 : n + inc->base;
}

ssize_t
increment_read(
    struct increment *inc, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct snap_node *node = increment_node(inc, n);

	if (node == NULL || node->type == SNAP_DIR)
		return -EISDIR;
	return served_read(&inc->files, n - inc->base, buf, len, off);
}

void
increment_reading(struct increment *inc, uint32_t n, size_t len, uint64_t off)
{
	if (increment_node(inc, n) != NULL)
		served_begin(&inc->files, n - inc->base, len, off);
}

void
increment_served(struct increment *inc, uint32_t n, const void *buf, size_t len,
    uint64_t off)
{
	if (increment_node(inc, n) != NULL)
		served_feed(&inc->files, n - inc->base, buf, len, off);
}
