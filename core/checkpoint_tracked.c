#include "checkpoint_tracked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "freeze_tree.h"
#include "increment.h"
#include "look_ahead.h"
#include "secret.h"
#include "tracker.h"
#include "tracker_tree.h"
#include "unseen.h"
#include "written_ahead.h"

/* ---- before the freeze ---- */

void
tracked_look_before(struct snap_ctx *cx, pid_t pid, uint64_t copy_max,
    struct snap_checkpoint *cp)
{
	struct tracker_tree *below;

	if (cp->tracker == NULL || !tracker_is_at_work(cp->tracker))
		return;
	below = tracker_below(cp->tracker);
	cp->aheads.left = copy_max;
	if (below != NULL)
		tracker_tree_look(cx, below, &cp->aheads);
	look_ahead(cx, pid, cp->tracker, &cp->aheads);
	cp->aheads.left = copy_max;
}

/* ---- while all are frozen ---- */

static bool
is_tracked(const struct snap_checkpoint *cp, size_t i)
{
	return cp->tracked != NULL && cp->tracked[i].tracker != NULL;
}

bool
tracked_is_copied(const struct snap_checkpoint *cp, size_t i)
{
	return cp->tracked != NULL && cp->tracked[i].copied;
}

/*
 * What was written since the parent, and how much of that is not copied yet; is
 * it shorter to copy this than to fork?  The parent of each is part of the
 * first's.
 */
static int
is_to_copy(struct snap_checkpoint *cp, size_t i, const struct written *w,
    int64_t *left)
{
	struct tracked *t = &cp->tracked[i];
	struct spans dirty = { 0 }, held = { 0 };
	uint64_t bytes = 0;
	int err = ahead_renew(t->ahead, w);

	if (err == 0)
		err = tracker_since_parent(t->tracker, t->generation,
		    i == 0 ? NULL : cp->tracked[0].parent, t->parent, &dirty);
	if (err > 0) {
		err = written_spans(cp->tree.v[i], &dirty, &held);
		bytes = spans_bytes(&held);
		*left = err < 0 ? err : ahead_settle(t->ahead, &held);
		err = *left < 0 ? (int)*left
				: bytes <= cp->aheads.left &&
				      written_is_shorter(w, (uint64_t)*left);
	}
	if (err > 0)
		cp->aheads.left -= bytes;
	spans_fini(&dirty);
	spans_fini(&held);
	return err;
}

/* What of it was written since the parent is copied, if that is shorter. */
static int
try_to_copy(struct snap_ctx *cx, struct frozen *z, size_t i,
    struct snap_checkpoint *cp, const struct written *w)
{
	struct process *p = cp->tree.v[i];
	struct tracked *t = &cp->tracked[i];
	int64_t left = 0;
	int err = is_to_copy(cp, i, w, &left), twin = 1;

	/* What only a twin could tell: there may be nothing of that. */
	if (err > 0 && !t->strangers && !secret_any(p))
		twin = unseen_maybe(cx, z, p);
	if (err < 0 || twin != 0) {
		p->nruns = 0;
		/* What was copied in vain will not be the next time. */
		tracker_missed(t->tracker);
		return err < 0 ? err : twin < 0 ? twin : 0;
	}
	t->copied = cp->copied = true;
	err = written_copy(cx, z, p, t->ahead);
	snap_logf(cx, SNAP_STEP,
	    "process %d: no twin: of what was written, %lld bytes are copied "
	    "while it is frozen",
	    (int)z->pid, (long long)left);
	return err;
}

int
tracked_begin(
    struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp)
{
	struct tracker_tree *below;
	struct snap_tracker **v;

	if (cp->tracker == NULL)
		return 0;
	below = tracker_below(cp->tracker);
	cp->tracked = calloc(ft->n, sizeof(*cp->tracked));
	v = calloc(ft->n, sizeof(struct snap_tracker *));
	if (cp->tracked == NULL || v == NULL || below == NULL) {
		free(v);
		return snap_fail(cx, -ENOMEM, "no memory");
	}
	tracker_tree_join(cx, below, &cp->tree, v);
	v[0] = snap_tracker_get(cp->tracker);
	for (size_t i = 0; i < ft->n; i++) {
		cp->tracked[i].tracker = v[i];
		cp->tracked[i].ahead = aheads_find(&cp->aheads, v[i]);
	}
	free(v);
	frozen_step(cx, ft->v[0], "who is tracked known");
	return 0;
}

/*
 * The first is seen: to which copy the increment will be.  Without a twin it is
 * not known which of its pages children still have in common with a process.  Of
 * those that are of the parent that says so, for what nobody wrote since; others
 * need the twin.
 */
static void
find_parent(const struct frozen_tree *ft, struct snap_checkpoint *cp)
{
	struct tracked *v = cp->tracked;

	if (cp->aheads.n == 0 ||
	    tracker_since_parent(
		v[0].tracker, v[0].generation, NULL, v[0].parent, NULL) <= 0)
		return;
	for (size_t k = 1; k < ft->n; k++)
		if (v[k].tracker == NULL ||
		    !tracker_is_part(v[k].tracker, v[0].parent))
			v[ft->parent[k]].strangers = true;
}

int
tracked_scan(struct snap_ctx *cx, struct frozen_tree *ft, size_t i,
    struct snap_checkpoint *cp)
{
	struct written w = { .p = cp->tree.v[i] };
	struct tracked *t;
	int64_t gen;
	bool copy;
	int err = 0;

	if (!is_tracked(cp, i))
		return 0;
	t = &cp->tracked[i];
	copy = t->ahead != NULL;
	gen = tracker_scan(cx, ft->v[i], w.p, t->tracker, copy ? &w : NULL);
	if (gen > 0)
		t->generation = (uint64_t)gen;
	frozen_step(cx, ft->v[i], "what was written seen");
	if (gen > 0 && i == 0)
		find_parent(ft, cp);
	if (gen > 0 && copy && cp->tracked[0].parent[0] != '\0')
		err = try_to_copy(cx, ft->v[i], i, cp, &w);
	else
		w.p->nruns = 0; /* a scan that failed may have told some */
	written_fini(&w);
	return gen < 0 ? (int)gen : err;
}

/*
 * Is its memory registered with a descriptor that the process has not, but we
 * have, of this tracker or another?
 */
static bool
is_ours(const struct snap_checkpoint *cp, size_t i)
{
	const struct process *p = cp->tree.v[i];
	struct snap_ctx quiet = { 0 };
	uint64_t flags = 0;

	if (cp->tracked == NULL)
		return false;
	if (is_tracked(cp, i) && tracker_is_at_work(cp->tracked[i].tracker))
		return true;
	for (size_t k = 0; k < p->nvmas; k++)
		flags |= p->vmas[k].flags;
	return (flags & VMA_F_UFFD) != 0 && tracker_own(&quiet, p->pid) == 0;
}

void
tracked_forget_ours(struct snap_checkpoint *cp, size_t i)
{
	struct process *p = cp->tree.v[i];

	if (!is_ours(cp, i))
		return;
	for (size_t k = 0; k < p->nvmas; k++)
		p->vmas[k].flags &= ~(uint64_t)VMA_F_UFFD;
}

/* ---- now that they go on ---- */

/*
 * What each has written since it was copied as part of what is the parent now.
 * Another copy may have come to its end since some were seen.
 */
static int
find_written(const struct snap_checkpoint *cp, struct increment_part *v)
{
	const struct tracked *first = &cp->tracked[0];
	int r = 1;

	for (size_t i = 0; r >= 0 && i < cp->tree.n; i++) {
		const struct tracked *t = &cp->tracked[i];

		v[i].settled = t->copied;
		if (t->copied)
			memcpy(v[i].parent, t->parent, sizeof(v[i].parent));
		else if (t->generation != 0)
			r = tracker_since_parent(t->tracker, t->generation,
			    i == 0 ? NULL : v[0].parent, v[i].parent,
			    &v[i].dirty);
		if (i == 0 && cp->copied &&
		    strcmp(v[0].parent, first->parent) != 0)
			return -ESTALE;
		if (i == 0 && r == 0)
			return 0;
	}
	return r < 0 ? r : 1;
}

int
tracked_increment(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	struct increment_part *v;
	int r;

	if (cp->tracked == NULL || cp->tracked[0].generation == 0)
		return 0;
	v = calloc(cp->tree.n, sizeof(*v));
	if (v == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	r = find_written(cp, v);
	if (r == -ESTALE)
		r = snap_fail(cx, r, "another copy has become the parent");
	if (r > 0)
		r = increment_new(cx, &cp->tree, v, (uint32_t)cp->files.tree.n,
		    &cp->increment);
	for (size_t i = 0; i < cp->tree.n; i++)
		spans_fini(&v[i].dirty);
	free(v);
	return r;
}

int
tracked_settle(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	int err = 0;

	if (!cp->copied)
		return 0;
	for (size_t i = 0; err == 0 && i < cp->tree.n; i++) {
		const struct tracked *t = &cp->tracked[i];
		struct process *p = cp->tree.v[i];

		if (!t->copied)
			continue;
		err = written_runs(p, t->ahead);
		if (err == 0)
			err = tracker_settle(cx, t->tracker, p);
	}
	return err;
}

void
tracked_remember(const struct snap_checkpoint *cp)
{
	for (size_t i = 0; cp->tracked != NULL && i < cp->tree.n; i++) {
		const struct tracked *t = &cp->tracked[i];

		if (t->generation != 0)
			tracker_remember(t->tracker, cp->tree.v[i], t->copied);
	}
}

void
tracked_drop(struct snap_checkpoint *cp)
{
	for (size_t i = 0; cp->tracked != NULL && i < cp->tree.n; i++) {
		const struct tracked *t = &cp->tracked[i];

		if (t->generation != 0)
			tracker_dropped(t->tracker, t->generation);
		snap_tracker_put(t->tracker);
	}
	free(cp->tracked);
	snap_tracker_put(cp->tracker);
}

void
tracked_missed(const struct snap_checkpoint *cp)
{
	for (size_t i = 0; cp->tracked != NULL && i < cp->tree.n; i++)
		if (cp->tracked[i].copied)
			tracker_missed(cp->tracked[i].tracker);
}
