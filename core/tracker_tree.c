#include "tracker_tree.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "look_ahead.h"
#include "proc_task.h"
#include "tracker.h"

struct member {
	pid_t pid;
	uint64_t starttime;
	struct snap_tracker *tracker; /* NULL: it cannot be tracked */
	bool is_there;		      /* in the tree that is frozen */
};

struct tracker_tree {
	pthread_mutex_t lock; /* the trackers' own come after it */
	struct member *v;
	size_t n;
	size_t limit;
	bool
	    can_build; /* what the kernel can is not asked while they are frozen */
	bool stopped;
};

struct tracker_tree *
tracker_tree_new(bool can_build)
{
	struct tracker_tree *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->limit = SIZE_MAX;
	t->can_build = can_build;
	return t;
}

/* Those that are not there end, or all. */
static void
end(struct tracker_tree *t, bool all)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (!all && t->v[i].is_there)
			t->v[n++] = t->v[i];
		else
			snap_tracker_stop(t->v[i].tracker);
	}
	t->n = n;
}

void
tracker_tree_free(struct tracker_tree *t)
{
	if (t == NULL)
		return;
	end(t, true);
	free(t->v);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void
tracker_tree_stop(struct tracker_tree *t)
{
	pthread_mutex_lock(&t->lock);
	end(t, true);
	t->stopped = true;
	pthread_mutex_unlock(&t->lock);
}

void
tracker_tree_limit(struct tracker_tree *t, size_t limit)
{
	pthread_mutex_lock(&t->lock);
	t->limit = limit;
	pthread_mutex_unlock(&t->lock);
}

static size_t
tracked(const struct tracker_tree *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->v[i].tracker != NULL;
	return n;
}

void
tracker_tree_info(struct tracker_tree *t, struct snap_tracker_info *info)
{
	struct snap_tracker_info of;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n; i++) {
		if (t->v[i].tracker == NULL)
			continue;
		snap_tracker_info(t->v[i].tracker, &of);
		info->processes += of.on;
		info->scan_us += of.scan_us;
		info->pages += of.pages;
		info->copied += of.copied;
	}
	pthread_mutex_unlock(&t->lock);
}

/* ---- who is in it ---- */

/* When it began tells it from another with the same number; 0: it is gone. */
static uint64_t
starttime(pid_t pid)
{
	struct proc_stat st;

	return proc_task_stat(pid, 0, &st) == 0 ? st.starttime : 0;
}

/* Can it be tracked?  If not, that is said once. */
static struct snap_tracker *
begin(struct snap_ctx *cx, const struct tracker_tree *t, pid_t pid)
{
	struct snap_ctx quiet = { 0 };

	if (tracker_own(&quiet, pid) == 0)
		return tracker_new_below(t->can_build);
	snap_logf(cx, SNAP_NOTICE, "%s; it is whole in each increment",
	    snap_error(&quiet));
	return NULL;
}

static struct member *
find(struct tracker_tree *t, pid_t pid, uint64_t when)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].pid == pid && t->v[i].starttime == when)
			return &t->v[i];
	return NULL;
}

static struct member *
add(struct snap_ctx *cx, struct tracker_tree *t, pid_t pid, uint64_t when)
{
	struct snap_tracker *tracker = begin(cx, t, pid);
	struct member *m = process_grow(&t->v, &t->n, sizeof(*m));

	if (m == NULL) {
		snap_tracker_stop(tracker);
		return NULL;
	}
	m->pid = pid;
	m->starttime = when;
	m->tracker = tracker;
	return m;
}

/* What could not be tracked once is not tried again: each try costs time. */
static void
give_up(struct member *m)
{
	struct snap_tracker_info info;

	if (m->tracker == NULL)
		return;
	snap_tracker_info(m->tracker, &info);
	if (info.on || info.why[0] == '\0')
		return;
	snap_tracker_stop(m->tracker);
	m->tracker = NULL;
}

void
tracker_tree_join(struct snap_ctx *cx, struct tracker_tree *t,
    const struct family *f, struct snap_tracker **v)
{
	size_t nroom = 0;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n; i++)
		t->v[i].is_there = false;
	for (size_t i = 1; !t->stopped && i < f->n; i++) {
		uint64_t when = starttime(f->v[i]->pid);
		struct member *m = find(t, f->v[i]->pid, when);

		if (m == NULL && tracked(t) >= t->limit)
			nroom++;
		else if (m == NULL && when != 0)
			m = add(cx, t, f->v[i]->pid, when);
		if (m == NULL)
			continue;
		m->is_there = true;
		give_up(m);
		v[i] = snap_tracker_get(m->tracker);
	}
	end(t, false);
	pthread_mutex_unlock(&t->lock);
	if (nroom > 0)
		snap_logf(cx, SNAP_NOTICE,
		    "process %d: of the processes below it there is no room to "
		    "track %zu: they are whole in each increment",
		    (int)f->v[0]->pid, nroom);
}

/* ---- while they run ---- */

/* Those that are at work, with references; NULL: none, or no memory. */
static struct member *
copy(struct tracker_tree *t, size_t *n)
{
	struct member *v;

	*n = 0;
	pthread_mutex_lock(&t->lock);
	v = calloc(t->n + 1, sizeof(*v));
	for (size_t i = 0; v != NULL && i < t->n; i++)
		if (t->v[i].tracker != NULL &&
		    tracker_is_at_work(t->v[i].tracker)) {
			v[*n] = t->v[i];
			snap_tracker_get(v[(*n)++].tracker);
		}
	pthread_mutex_unlock(&t->lock);
	return v;
}

void
tracker_tree_look(struct snap_ctx *cx, struct tracker_tree *t, struct aheads *a)
{
	size_t n;
	struct member *v = copy(t, &n);

	for (size_t i = 0; i < n; i++) {
		if (starttime(v[i].pid) == v[i].starttime)
			look_ahead(cx, v[i].pid, v[i].tracker, a);
		snap_tracker_put(v[i].tracker);
	}
	free(v);
}
