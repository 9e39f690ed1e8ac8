#include "copied.h"

#include <stdlib.h>
#include <string.h>

struct piece {
	uint64_t start, end;
};

/* What was read of a node; when it is whole there is one piece, of all. */
struct node_read {
	uint64_t size;
	struct piece *v; /* in order, not touching */
	unsigned n;
	bool whole;
};

struct copied {
	uint32_t nodes;
	uint32_t delta;	     /* from here on its nodes are */
	uint32_t missing[2]; /* nodes not whole: of the checkpoint, of delta */
	bool told;
	struct node_read v[];
};

struct copied *
copied_new(const struct snap_checkpoint *cp)
{
	uint32_t n = snap_checkpoint_nodes(cp);
	struct copied *c = calloc(1, sizeof(*c) + n * sizeof(c->v[0]));

	if (c == NULL)
		return NULL;
	c->nodes = n;
	c->delta = snap_checkpoint_lookup(cp, 0, "delta");
	if (c->delta == 0)
		c->delta = n;
	for (uint32_t i = 0; i < n; i++) {
		const struct snap_node *node = snap_checkpoint_node(cp, i);

		c->v[i].size = node->type == SNAP_DIR ? 0 : node->size;
		/* Of nothing all was read. */
		c->v[i].whole = c->v[i].size == 0;
		if (!c->v[i].whole)
			c->missing[i >= c->delta]++;
	}
	return c;
}

void
copied_free(struct copied *c)
{
	if (c == NULL)
		return;
	for (uint32_t i = 0; i < c->nodes; i++)
		free(c->v[i].v);
	free(c);
}

/* Put the piece where it belongs, one with those that it touches. */
static void
add_piece(struct node_read *r, struct piece p)
{
	unsigned first = 0, last;

	while (first < r->n && r->v[first].end < p.start)
		first++;
	for (last = first; last < r->n && r->v[last].start <= p.end; last++) {
		if (r->v[last].start < p.start)
			p.start = r->v[last].start;
		if (r->v[last].end > p.end)
			p.end = r->v[last].end;
	}
	if (first == last && r->n == COPIED_GAPS)
		return;
	memmove(r->v + first + 1, r->v + last, (r->n - last) * sizeof(p));
	r->n = r->n - (last - first) + 1;
	r->v[first] = p;
}

bool
copied_served(struct copied *c, uint32_t n, uint64_t off, uint64_t len)
{
	struct node_read *r = n < c->nodes ? &c->v[n] : NULL;
	bool delta = n >= c->delta;

	if (r == NULL || r->whole || len == 0 || off > UINT64_MAX - len)
		return false;
	if (r->v == NULL)
		r->v = malloc((COPIED_GAPS + 1) * sizeof(*r->v));
	if (r->v == NULL)
		return false;
	add_piece(r, (struct piece){ off, off + len });
	if (r->v[0].start != 0 || r->v[0].end < r->size)
		return false;
	r->whole = true;
	free(r->v);
	r->v = NULL;
	r->n = 0;
	if (--c->missing[delta] != 0 || c->told)
		return false;
	c->told = true;
	return true;
}
