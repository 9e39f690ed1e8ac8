#include "look_ahead.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "ctx.h"
#include "memory.h"
#include "pins.h"
#include "process.h"
#include "secret.h"
#include "tracee.h"
#include "tracker.h"
#include "written_ahead.h"

/* To copy so much takes so long that more is written meanwhile. */
#define AGAIN (4u << 20)

/* Of a process that runs, a VMA may be told as a part of two. */
static bool
are_in_order(const struct process *p)
{
	for (size_t i = 1; i < p->nvmas; i++)
		if (p->vmas[i].start < p->vmas[i - 1].end)
			return false;
	return true;
}

static int
look(struct snap_ctx *cx, struct snap_tracker *t, struct process *p,
    struct written *w)
{
	int err = memory_collect_vmas(cx, p->pid, p);

	w->p = p;
	if (err == 0 && !are_in_order(p))
		err = -EAGAIN;
	return err == 0 ? tracker_look(cx, p, t, w) : err;
}

/*
 * A call may write to pages past the scan, so that they would be copied too
 * early; not to those that it pins from here on, since that is seen.  What has
 * a twin always need not be copied.
 */
static bool
may_copy(struct snap_ctx *cx, struct snap_tracker *t, const struct process *p)
{
	return tracker_may_copy_ahead(t) && !secret_any(p) &&
	       pins_none(cx, p->pid);
}

static int
copy(struct snap_ctx *cx, struct snap_tracker *t, struct ahead *a, pid_t pid,
    const struct spans *want, uint64_t nth)
{
	uint64_t begun = now_ns();
	int err = ahead_copy(cx, a, pid, want, nth);

	if (err == -ETIMEDOUT)
		tracker_hung(t);
	snap_logf(cx, SNAP_STEP,
	    "process %d: %llu of %llu bytes that were written are copied "
	    "before it is frozen, in %llu us",
	    (int)pid, (unsigned long long)spans_bytes(&a->good),
	    (unsigned long long)spans_bytes(&a->slots),
	    (unsigned long long)(now_ns() - begun) / 1000);
	return err;
}

/* What was written while that was copied. */
static int
copy_again(
    struct snap_ctx *cx, struct snap_tracker *t, struct ahead *a, pid_t pid)
{
	struct process *p = process_new();
	struct written w = { 0 };
	struct spans want = { 0 };
	int err = p == NULL ? -ENOMEM : 0;

	if (err == 0) {
		p->pid = pid;
		err = look(cx, t, p, &w);
	}
	if (err == 0)
		err = ahead_renew(a, &w);
	if (err == 0 && may_copy(cx, t, p)) {
		err = written_spans(p, &w.fresh, &want);
		if (err == 0)
			err = copy(cx, t, a, pid, &want, w.nth);
	}
	spans_fini(&want);
	written_fini(&w);
	process_free(p);
	return err;
}

/* Kept in order, so that it is found soon. */
static int
aheads_add(struct aheads *a, struct snap_tracker *t, struct ahead *ahead)
{
	struct ahead_of *of = process_grow(&a->v, &a->n, sizeof(*of));
	size_t i = a->n - 1;

	if (of == NULL)
		return -ENOMEM;
	for (; i > 0 && (uintptr_t)a->v[i - 1].tracker > (uintptr_t)t; i--)
		a->v[i] = a->v[i - 1];
	a->v[i] = (struct ahead_of){ snap_tracker_get(t), ahead };
	return 0;
}

static int
by_tracker(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct ahead_of *)a)->tracker;
	uintptr_t y = (uintptr_t)((const struct ahead_of *)b)->tracker;

	return x < y ? -1 : x > y;
}

struct ahead *
aheads_find(const struct aheads *a, struct snap_tracker *t)
{
	const struct ahead_of key = { t, NULL };
	const struct ahead_of *of =
	    a->n == 0 ? NULL
		      : bsearch(&key, a->v, a->n, sizeof(*a->v), by_tracker);

	return of == NULL ? NULL : of->ahead;
}

void
aheads_free(struct aheads *a)
{
	for (size_t i = 0; i < a->n; i++) {
		ahead_free(a->v[i].ahead);
		snap_tracker_put(a->v[i].tracker);
	}
	free(a->v);
	*a = (struct aheads){ 0 };
}

/* All that was written since the parent; is it to be copied? */
static int
copy_ahead(struct snap_ctx *cx, struct snap_tracker *t, const struct written *w,
    struct aheads *all)
{
	struct spans dirty = { 0 }, want = { 0 };
	struct ahead *a = NULL;
	char parent[33];
	uint64_t bytes;
	bool ahead, fits;
	int err = tracker_since_parent(t, UINT64_MAX, NULL, parent, &dirty);

	if (err > 0)
		err = written_spans(w->p, &dirty, &want);
	else if (err == 0)
		err = -ENOENT;
	spans_fini(&dirty);
	bytes = spans_bytes(&want);
	fits = err == 0 && bytes <= all->left;
	ahead = fits && !w->odd && may_copy(cx, t, w->p);
	/* Else all of it is copied while it is frozen. */
	if (fits && (ahead || written_is_shorter(w, bytes)))
		a = ahead_new(&want);
	if (a != NULL && aheads_add(all, t, a) < 0) {
		ahead_free(a);
		a = NULL;
	}
	if (a != NULL)
		all->left -= bytes;
	if (a != NULL && ahead) {
		err = copy(cx, t, a, w->p->pid, &want, w->nth);
		if (err == 0 && bytes > AGAIN)
			err = copy_again(cx, t, a, w->p->pid);
	}
	spans_fini(&want);
	return err;
}

void
look_ahead(
    struct snap_ctx *cx, pid_t pid, struct snap_tracker *t, struct aheads *a)
{
	struct process *p = process_new();
	struct written w = { 0 };
	int err = p == NULL ? -ENOMEM : 0;

	if (err == 0) {
		p->pid = pid;
		err = look(cx, t, p, &w);
	}
	if (err == 0 && a->left > 0 && tracker_may_copy(t))
		err = copy_ahead(cx, t, &w, a);
	/* If it is a failure of the process, that shows again. */
	if (err < 0)
		snap_clear(cx);
	written_fini(&w);
	process_free(p);
}
