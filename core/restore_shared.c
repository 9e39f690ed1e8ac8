/*
 * restore_shared.c - who is born with whose table of descriptors, or working
 * directory, and in which order everyone makes those that it makes; pure but
 * for memory.
 *
 * Such a table is had from birth (CLONE_FILES, CLONE_FS), from one's maker, and
 * can only be left (unshare(2)).  So on the way down to each that has it in
 * common with others, from the one below whom all these are, everybody is born
 * with it; and whoever does not have it in the image leaves it when those that
 * it makes are there.  One after another it may have several.
 */
#include <errno.h>
#include <stdlib.h>

#include "ctx.h"
#include "restore_tree.h"

static size_t
maker(const struct restore_tree *t, size_t i)
{
	const struct infant *b = &t->infants[i];

	return b->helper != 0 ? b->helper : b->parent;
}

/* How many makers are above each; an image may have made a ring of them. */
static int
set_depths(struct restore_tree *t, size_t *depth)
{
	for (size_t i = 0; i < t->ninfants; i++) {
		for (size_t k = i; k != 0 && depth[i] <= t->ninfants;
		     k = maker(t, k))
			depth[i]++;
		if (depth[i] > t->ninfants)
			return snap_fail(t->cx, -EBADMSG,
			    "process %d: it is in a session that is led from "
			    "below it",
			    (int)t->infants[i].pid);
	}
	return 0;
}

/* The lowest that both are below, or are. */
static size_t
above_both(
    const struct restore_tree *t, const size_t *depth, size_t a, size_t b)
{
	while (a != b)
		if (depth[a] >= depth[b])
			a = maker(t, a);
		else
			b = maker(t, b);
	return a;
}

static int
cannot(struct restore_tree *t, const struct infant *b, int k)
{
	return snap_fail(t->cx, -ENOTSUP,
	    "process %d: a %s that it shares cannot be shared again, because "
	    "another is where it would have to come from",
	    (int)b->pid,
	    k == SHARE_FDS ? "table of descriptors" : "working directory");
}

/* Table `g` goes down from `top` to `i`. */
static int
hand_down(struct restore_tree *t, size_t i, size_t top, int k, uint32_t g)
{
	for (; i != top; i = maker(t, i)) {
		struct infant *b = &t->infants[i];

		if (b->need[k] != 0 && b->need[k] != g)
			return cannot(t, b, k);
		b->need[k] = g;
	}
	return 0;
}

/* Of one kind; `top` has room for one of each process. */
static int
set_needs(struct restore_tree *t, const size_t *depth, size_t *top, int k)
{
	int err = 0;

	for (size_t i = 0; i < t->n; i++) {
		size_t first = family_sharer(t->family->v[i], k)->index;

		top[i] = i;
		if (first == i)
			continue;
		top[first] = above_both(t, depth, top[first], i);
		t->infants[i].own[k] = t->infants[first].own[k] =
		    (uint32_t)first + 1;
		t->shares = true;
	}
	for (size_t i = 0; err == 0 && i < t->n; i++) {
		uint32_t g = t->infants[i].own[k];

		if (g != 0)
			err = hand_down(t, i, top[g - 1], k, g);
	}
	return err;
}

/* ---- the order ---- */

/* Before its maker leads a session, and so has left the one it is born in. */
static bool
is_early(const struct restore_tree *t, const struct infant *b)
{
	const struct infant *up = &t->infants[b->parent];

	return b->helper == 0 && b->parent > 0 && up->sid == up->pid &&
	       b->born_in == restore_birth_session(t, up);
}

/* What its maker was born with goes first, what it keeps last. */
static uint32_t
phase(const struct restore_tree *t, size_t i, int k)
{
	const struct infant *up = &t->infants[maker(t, i)];
	uint32_t g = t->infants[i].need[k];

	if (g == 0 || g == up->own[k])
		return UINT32_MAX;
	return g == up->need[k] ? 0 : g;
}

static int
by_birth(const void *a, const void *b, void *arg)
{
	const struct restore_tree *t = arg;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	size_t mx = maker(t, x), my = maker(t, y);

	if (mx != my)
		return mx < my ? -1 : 1;
	if (t->infants[x].early != t->infants[y].early)
		return t->infants[x].early ? -1 : 1;
	for (int k = 0; k < SHARES; k++) {
		uint32_t px = phase(t, x, k), py = phase(t, y, k);

		if (px != py)
			return px < py ? -1 : 1;
	}
	return x < y ? -1 : x > y;
}

/* `has` becomes `g`: left[g] is who, plus 1, has left that for good. */
static int
change(struct restore_tree *t, size_t who, const struct infant *b, int k,
    uint32_t g, uint32_t *has, size_t *left)
{
	if (*has == g)
		return 0;
	if (*has != 0)
		left[*has] = who + 1;
	if (g != 0 && left[g] == who + 1)
		return cannot(t, b, k);
	*has = g;
	return 0;
}

/* Those of order[from..to) are made by one: can it have all in turn? */
static int
try_maker(struct restore_tree *t, size_t from, size_t to, int k, size_t *left)
{
	size_t who = maker(t, t->births[from]);
	const struct infant *up = &t->infants[who];
	uint32_t has = up->need[k];
	int err = 0;

	for (size_t i = from; err == 0 && i < to; i++) {
		const struct infant *b = &t->infants[t->births[i]];

		if (b->need[k] != 0)
			err = change(t, who, b, k, b->need[k], &has, left);
	}
	return err == 0 ? change(t, who, up, k, up->own[k], &has, left) : err;
}

static int
try_order(struct restore_tree *t, size_t *left)
{
	size_t n = t->ninfants - 1, from = 0;
	int err = 0;

	for (size_t i = 1; err == 0 && i <= n; i++) {
		if (i < n &&
		    maker(t, t->births[i]) == maker(t, t->births[from]))
			continue;
		for (int k = 0; err == 0 && k < SHARES; k++)
			err = try_maker(
			    t, from, i, k, left + (size_t)k * (t->n + 1));
		from = i;
	}
	return err;
}

static int
set_order(struct restore_tree *t)
{
	size_t *left = calloc(SHARES * (t->n + 1), sizeof(*left));
	int err = 0;

	t->births = calloc(t->ninfants, sizeof(*t->births));
	if (t->births == NULL || left == NULL)
		err = -ENOMEM;
	for (size_t i = 1; err == 0 && i < t->ninfants; i++) {
		t->infants[i].early = is_early(t, &t->infants[i]);
		t->births[i - 1] = i;
	}
	if (err == 0)
		qsort_r(t->births, t->ninfants - 1, sizeof(*t->births),
		    by_birth, t);
	if (err == 0 && t->ninfants > 1)
		err = try_order(t, left);
	free(left);
	return err;
}

int
restore_shared(struct restore_tree *t)
{
	size_t *depth = calloc(t->ninfants + 1, sizeof(*depth));
	size_t *top = calloc(t->n + 1, sizeof(*top));
	int err = depth == NULL || top == NULL ? -ENOMEM : 0;

	if (err == 0)
		err = set_depths(t, depth);
	for (int k = 0; err == 0 && k < SHARES; k++)
		err = set_needs(t, depth, top, k);
	if (err == 0)
		err = set_order(t);
	free(depth);
	free(top);
	return err;
}
