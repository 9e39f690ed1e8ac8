#include "tracker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze.h"
#include "pagemap.h"
#include "tracker_tree.h"

struct generation {
	uint64_t seq;
	bool live; /* its checkpoint may still be copied */
	struct spans dirty;
};

/* More ranges are not remembered: 1.5 MiB of a process. */
#define SEEN_MAX (1u << 16)

struct snap_tracker {
	pthread_mutex_t lock;
	atomic_uint refs; /* no call waits for the lock for that */
	int uffd;
	bool fresh; /* it was not used for a scan yet */
	bool stopped;
	bool can_build; /* on what was seen before: see tracker_uffd.c */
	bool has_seen;
	struct tracker_seen seen; /* what was there at the last scan */
	struct spans ahead; /* told by tracker_look(), not yet by a scan */
	uint64_t scans;	    /* of both kinds, whether they went well or not */
	bool hung;
	uint64_t last;	      /* seq, from 1 up */
	uint64_t parent_seq;  /* 0: none */
	struct generation *v; /* above parent_seq, in order, without a gap */
	size_t n;
	struct vma_flags *flags; /* of the last checkpoint that knew them */
	size_t nflags;
	char copy[33];	    /* the first process's id at the parent */
	unsigned with_twin; /* how many of the next ones have to have one */
	_Atomic(struct tracker_tree *) below; /* made when it is asked for */
	struct snap_tracker_info info;
};

struct snap_tracker *
tracker_new_below(bool can_build)
{
	struct snap_tracker *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->refs = 1;
	t->uffd = -1;
	t->can_build = can_build;
	return t;
}

struct snap_tracker *
snap_tracker_new(void)
{
	return tracker_new_below(tracker_kernel_tells_holes());
}

struct tracker_tree *
tracker_below(struct snap_tracker *t)
{
	struct tracker_tree *was = NULL, *new;

	if (t->below != NULL)
		return t->below;
	new = tracker_tree_new(t->can_build);
	if (new != NULL &&
	    !atomic_compare_exchange_strong(&t->below, &was, new))
		tracker_tree_free(new);
	return t->below;
}

struct snap_tracker *
snap_tracker_get(struct snap_tracker *t)
{
	if (t != NULL)
		t->refs++;
	return t;
}

/* ---- generations; all with the lock ---- */

static void
forget_first(struct snap_tracker *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		spans_fini(&t->v[i].dirty);
	t->n -= n;
	if (t->n > 0)
		memmove(t->v, t->v + n, t->n * sizeof(*t->v));
}

static void
forget_seen(struct tracker_seen *s)
{
	seen_fini(&s->seen);
	spans_fini(&s->where);
	s->odd = false;
}

/*
 * What is written from here on is not known.  Whoever begins anew has all
 * memory to register, so all of it counts as written.
 */
static void
let_go(struct snap_tracker *t)
{
	if (t->uffd >= 0)
		close(t->uffd);
	t->uffd = -1;
	t->info.on = false;
	forget_seen(&t->seen);
	t->has_seen = false;
	spans_fini(&t->ahead);
	free(t->flags);
	t->flags = NULL;
	t->nflags = 0;
}

/* One whose checkpoint is gone is no parent: it is one with the next. */
static void
join_dead(struct snap_tracker *t)
{
	for (size_t i = 0; i + 1 < t->n;) {
		if (t->v[i].live ||
		    spans_unite(&t->v[i + 1].dirty, &t->v[i].dirty) < 0) {
			i++;
			continue;
		}
		spans_fini(&t->v[i].dirty);
		memmove(t->v + i, t->v + i + 1, (t->n - i - 1) * sizeof(*t->v));
		t->n--;
	}
}

void
snap_tracker_put(struct snap_tracker *t)
{
	if (t == NULL || --t->refs > 0)
		return;
	tracker_tree_free(t->below);
	let_go(t);
	forget_first(t, t->n);
	free(t->v);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void
snap_tracker_stop(struct snap_tracker *t)
{
	if (t == NULL)
		return;
	pthread_mutex_lock(&t->lock);
	let_go(t);
	t->stopped = true;
	pthread_mutex_unlock(&t->lock);
	if (t->below != NULL)
		tracker_tree_stop(t->below);
	snap_tracker_put(t);
}

void
snap_tracker_info(struct snap_tracker *t, struct snap_tracker_info *info)
{
	pthread_mutex_lock(&t->lock);
	*info = t->info;
	info->processes = 1;
	pthread_mutex_unlock(&t->lock);
	if (t->below != NULL)
		tracker_tree_info(t->below, info);
}

void
snap_tracker_limit(struct snap_tracker *t, size_t processes)
{
	struct tracker_tree *below = tracker_below(t);

	if (below != NULL)
		tracker_tree_limit(below, processes > 0 ? processes - 1 : 0);
}

/* ---- scanning ---- */

static bool
is_tracked(const struct vma *v)
{
	return !v->shared && (v->kind == VMA_ANON || v->kind == VMA_FILE);
}

/* A VMA that was not there as a whole then is looked at as if for the first time. */
static const struct seen *
seen_before(const struct snap_tracker *t, const struct vma *v)
{
	uint64_t end;

	return t->has_seen &&
		       spans_contain(&t->seen.where, v->start, v->end, &end) !=
			   0 &&
		       end == v->end
		   ? &t->seen.seen
		   : NULL;
}

static int
scan_all(struct snap_tracker *t, const struct pagemap *pm,
    const struct process *p, size_t *at, struct spans *dirty,
    struct tracker_seen *now)
{
	const struct tracker_kernel k = { t->uffd, pm->fd, t->fresh,
		pm->guard };
	const struct vma *v;
	int err = tracker_has_memory(t->uffd) ? 0 : -ESRCH;

	for (*at = 0; err == 0 && *at < p->nvmas; ++*at) {
		v = &p->vmas[*at];
		if (!is_tracked(v))
			continue;
		err = tracker_scan_vma(&k, v, seen_before(t, v), dirty, now);
		if (err == 0)
			err = spans_add(&now->where, v->start, v->end);
		if (err < 0)
			break;
	}
	return err;
}

static void
begin(struct snap_ctx *cx, struct frozen *z, struct snap_tracker *t)
{
	t->uffd = tracker_uffd(cx, z);
	t->fresh = true;
	if (t->uffd >= 0)
		snap_logf(cx, SNAP_STEP,
		    "process %d: what it writes is tracked from here on: all "
		    "of it counts as written",
		    (int)z->pid);
}

/*
 * Of the VMA at which it failed, all may be protected again and none told.
 */
static int
scan_while_running(struct snap_tracker *t, const struct process *p,
    const struct pagemap *pm, struct tracker_seen *now, struct spans *dirty)
{
	struct spans failed = { 0 };
	size_t i = 0;
	int err, err1;

	err = scan_all(t, pm, p, &i, dirty, now);
	err1 = spans_unite(&t->ahead, dirty);
	if (err < 0 && err1 == 0 && i < p->nvmas)
		err1 = spans_add(&failed, p->vmas[i].start, p->vmas[i].end);
	if (err < 0 && err1 == 0)
		err1 = spans_unite(&t->ahead, &failed);
	if (err1 < 0 || err == -ENOMEM)
		let_go(t);
	spans_fini(&failed);
	return err < 0 ? err : err1;
}

/*
 * Twice, since an exec(2) gives the process another memory, which the descriptor
 * does not know.
 */
static int
scan_or_begin(struct snap_ctx *cx, struct frozen *z, const struct process *p,
    struct snap_tracker *t, struct spans *dirty, struct tracker_seen *now)
{
	struct pagemap pm;
	size_t at;
	int err = pagemap_open(cx, z->pid, &pm);

	if (err < 0)
		return err;
	err = -ESRCH;
	for (int i = 0; i < 2 && err == -ESRCH; i++) {
		if (t->uffd < 0)
			begin(cx, z, t);
		err = t->uffd < 0 ? t->uffd
				  : scan_all(t, &pm, p, &at, dirty, now);
		t->fresh = false;
		if (err < 0) {
			let_go(t);
			spans_fini(dirty);
			forget_seen(now);
		}
	}
	pagemap_close(&pm);
	return err;
}

/* For the next scan. */
static void
remember_seen(struct snap_tracker *t, struct tracker_seen *now)
{
	forget_seen(&t->seen);
	t->has_seen = t->can_build && !now->odd && now->seen.n <= SEEN_MAX;
	if (!t->has_seen)
		return;
	t->seen = *now;
	*now = (struct tracker_seen){ 0 };
}

static int
add_generation(struct snap_tracker *t, struct spans *dirty)
{
	struct generation *g = process_grow(&t->v, &t->n, sizeof(*g));

	if (g == NULL)
		return -ENOMEM;
	g->seq = ++t->last;
	g->live = true;
	g->dirty = *dirty;
	*dirty = (struct spans){ 0 };
	join_dead(t);
	return 0;
}

static void
note_failure(
    struct snap_ctx *cx, pid_t pid, struct snap_tracker *t, const char *why)
{
	snprintf(t->info.why, sizeof(t->info.why), "%s", why);
	snap_logf(cx, SNAP_NOTICE,
	    "process %d: what it writes cannot be tracked: %s; its checkpoints "
	    "are full",
	    (int)pid, t->info.why);
}

/* Another has registered its memory. */
static const char *
who_else(pid_t pid)
{
	struct snap_ctx quiet = { 0 };

	return tracker_own(&quiet, pid) < 0
		   ? "the process uses userfaultfd itself"
		   : "it is tracked already, by itself, with a process above "
		     "it or by another daemon";
}

bool
tracker_is_at_work(struct snap_tracker *t)
{
	bool at_work;

	pthread_mutex_lock(&t->lock);
	at_work = t->uffd >= 0;
	pthread_mutex_unlock(&t->lock);
	return at_work;
}

int
tracker_look(struct snap_ctx *cx, struct process *p, struct snap_tracker *t,
    struct written *w)
{
	struct tracker_seen now = { 0 };
	struct pagemap pm;
	int err = pagemap_open(cx, p->pid, &pm);

	if (err < 0)
		return err;
	pthread_mutex_lock(&t->lock);
	w->nth = ++t->scans;
	err = t->uffd < 0 ? -ENOENT
			  : scan_while_running(t, p, &pm, &now, &w->fresh);
	/* What was there before says nothing of what is protected now. */
	if (err < 0)
		now.odd = true;
	if (err == 0)
		err = written_find(w, &now.seen, now.odd);
	remember_seen(t, &now);
	pthread_mutex_unlock(&t->lock);
	forget_seen(&now);
	pagemap_close(&pm);
	return err;
}

int64_t
tracker_scan(struct snap_ctx *cx, struct frozen *z, struct process *p,
    struct snap_tracker *t, struct written *w)
{
	struct spans dirty = { 0 };
	struct tracker_seen now = { 0 };
	uint64_t begun = now_ns(), pages;
	int64_t seq = 0;
	int err;

	pthread_mutex_lock(&t->lock);
	if (t->stopped) {
		pthread_mutex_unlock(&t->lock);
		return 0;
	}
	++t->scans;
	err = scan_or_begin(cx, z, p, t, &dirty, &now);
	if (err == 0 && w != NULL) {
		w->nth = t->scans;
		err = spans_unite(&w->fresh, &dirty);
	}
	if (err == 0)
		err = spans_unite(&dirty, &t->ahead);
	spans_fini(&t->ahead);
	pages = spans_bytes(&dirty) / 4096;
	if (err == 0 && w != NULL)
		err = written_find(w, &now.seen, now.odd);
	if (err == 0)
		remember_seen(t, &now);
	if (err == 0)
		err = add_generation(t, &dirty);
	if (err == 0) {
		seq = (int64_t)t->last;
		t->info.on = true;
		t->info.why[0] = '\0';
		t->info.scans++;
		t->info.pages = pages;
		t->info.scan_us = (now_ns() - begun) / 1000;
	} else {
		let_go(t);
		if (err != -EAGAIN && cx->error == 0)
			note_failure(cx, z->pid, t,
			    err == -EBUSY ? who_else(z->pid) : strerror(-err));
	}
	pthread_mutex_unlock(&t->lock);
	forget_seen(&now);
	spans_fini(&dirty);
	if (err == -EAGAIN || cx->error != 0)
		return err == 0 ? -EIO : err;
	return seq;
}

/* ---- without a twin ---- */

/* After one that had to be taken again, so many are taken with a twin. */
#define WITH_TWIN 8

bool
tracker_may_copy(struct snap_tracker *t)
{
	bool may;

	pthread_mutex_lock(&t->lock);
	may = t->with_twin == 0 && t->uffd >= 0 && t->parent_seq != 0 &&
	      t->nflags > 0;
	if (t->with_twin > 0)
		t->with_twin--;
	pthread_mutex_unlock(&t->lock);
	return may;
}

void
tracker_missed(struct snap_tracker *t)
{
	pthread_mutex_lock(&t->lock);
	t->with_twin = WITH_TWIN;
	pthread_mutex_unlock(&t->lock);
}

bool
tracker_may_copy_ahead(struct snap_tracker *t)
{
	bool may;

	pthread_mutex_lock(&t->lock);
	may = !t->hung;
	pthread_mutex_unlock(&t->lock);
	return may;
}

void
tracker_hung(struct snap_tracker *t)
{
	pthread_mutex_lock(&t->lock);
	t->hung = true;
	pthread_mutex_unlock(&t->lock);
}

int
tracker_settle(struct snap_ctx *cx, struct snap_tracker *t, struct process *p)
{
	struct vma_flags *flags;
	size_t n;
	int err;

	/* It reads files, so not with the lock. */
	pthread_mutex_lock(&t->lock);
	n = t->nflags;
	flags = calloc(n + 1, sizeof(*flags));
	if (flags != NULL && n > 0)
		memcpy(flags, t->flags, n * sizeof(*flags));
	pthread_mutex_unlock(&t->lock);
	err = flags == NULL ? -ENOMEM : written_settle(cx, p, flags, n);
	free(flags);
	return err;
}

void
tracker_remember(
    struct snap_tracker *t, const struct process *p, bool without_twin)
{
	struct vma_flags *flags = calloc(p->nvmas + 1, sizeof(*flags));

	for (size_t i = 0; flags != NULL && i < p->nvmas; i++)
		flags[i] = (struct vma_flags){ p->vmas[i].start, p->vmas[i].end,
			p->vmas[i].flags };
	pthread_mutex_lock(&t->lock);
	free(t->flags);
	t->flags = flags;
	t->nflags = flags == NULL || t->uffd < 0 ? 0 : p->nvmas;
	t->info.copied += without_twin;
	pthread_mutex_unlock(&t->lock);
}

/* ---- copies ---- */

int
tracker_since_parent(struct snap_tracker *t, uint64_t gen, const char *copy,
    char parent[33], struct spans *dirty)
{
	int r = 0;

	pthread_mutex_lock(&t->lock);
	if (t->parent_seq != 0 && t->parent_seq < gen &&
	    (copy == NULL || strcmp(copy, t->copy) == 0)) {
		r = 1;
		memcpy(parent, t->info.parent, sizeof(t->info.parent));
		for (size_t i = 0;
		     dirty != NULL && r > 0 && i < t->n && t->v[i].seq <= gen;
		     i++)
			if (spans_unite(dirty, &t->v[i].dirty) < 0)
				r = -ENOMEM;
		if (dirty != NULL && r > 0 && gen > t->last &&
		    spans_unite(dirty, &t->ahead) < 0)
			r = -ENOMEM;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

bool
tracker_is_part(struct snap_tracker *t, const char *copy)
{
	bool is;

	pthread_mutex_lock(&t->lock);
	is = t->parent_seq != 0 && strcmp(copy, t->copy) == 0;
	pthread_mutex_unlock(&t->lock);
	return is;
}

static struct generation *
find(struct snap_tracker *t, uint64_t gen)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].seq == gen)
			return &t->v[i];
	return NULL;
}

void
tracker_copied(
    struct snap_tracker *t, uint64_t gen, const char *id, const char *copy)
{
	struct generation *g;

	pthread_mutex_lock(&t->lock);
	/* One below the parent is there no more. */
	g = find(t, gen);
	if (g != NULL) {
		t->parent_seq = gen;
		snprintf(t->info.parent, sizeof(t->info.parent), "%s", id);
		snprintf(t->copy, sizeof(t->copy), "%s", copy);
		forget_first(t, (size_t)(g - t->v) + 1);
	}
	pthread_mutex_unlock(&t->lock);
}

void
tracker_dropped(struct snap_tracker *t, uint64_t gen)
{
	struct generation *g;

	pthread_mutex_lock(&t->lock);
	g = find(t, gen);
	if (g != NULL)
		g->live = false;
	join_dead(t);
	pthread_mutex_unlock(&t->lock);
}
