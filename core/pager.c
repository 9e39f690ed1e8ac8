#include "pager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "ctx.h"
#include "pager_parts.h"
#include "uffd.h"

#define PROGRESS_NS 100000000
#define LEARN_S 10 /* so long is seen what is touched */

/*
 * Private anonymous memory.  The kernel has no such faults for pages of
 * private file mappings, and none for memory that it may drop.  Nor is it told
 * that a fork had its memory wiped.
 */
bool
pager_wants(const struct vma *v)
{
	return v->kind == VMA_ANON && !v->shared &&
	       !(v->flags &
		   (VMA_F_DROPPABLE | VMA_F_HUGETLB | VMA_F_WIPEONFORK));
}

void
pager_nudge(struct snap_pager *g)
{
	uint64_t one = 1;

	if (write(g->wake, &one, sizeof(one)) < 0)
		return; /* it cannot be full */
}

void
pager_fail(struct snap_pager *g, int err, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&g->lock);
	if (g->error == 0) {
		va_start(ap, fmt);
		vsnprintf(g->text, sizeof(g->text), fmt, ap);
		va_end(ap);
		g->error = err;
	}
	g->stop = true;
	pthread_cond_broadcast(&g->work);
	pthread_cond_broadcast(&g->news);
	pthread_mutex_unlock(&g->lock);
	pager_nudge(g);
}

bool
pager_has_failed(struct snap_pager *g)
{
	bool failed;

	pthread_mutex_lock(&g->lock);
	failed = g->error != 0;
	pthread_mutex_unlock(&g->lock);
	return failed;
}

/* ---- beginning ---- */

static void
init_locks(struct snap_pager *g)
{
	pthread_rwlockattr_t attr;

	/* The reader of events must not starve. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
	    &attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&g->layout, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->work, NULL);
	pthread_cond_init(&g->news, NULL);
}

/* Which pieces are wanted, and how much that is. */
static int
make_pieces(struct snap_pager *g, const struct extents *x)
{
	g->npieces = (size_t)((g->pages_size + g->piece - 1) / g->piece);
	g->state = calloc(g->npieces + 1, 1);
	g->queue = calloc(g->npieces + 1, sizeof(*g->queue));
	if (g->state == NULL || g->queue == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < x->n; i++) {
		size_t k = (size_t)(x->v[i].off / g->piece);

		g->left += x->v[i].end - x->v[i].start;
		if (g->state[k] == 0)
			g->nwanted++;
		g->state[k] = PIECE_WANTED;
	}
	g->total = g->left;
	return 0;
}

static int
make_extents(
    const struct snap_pager *g, const struct process *p, struct extents *x)
{
	uint64_t *bases = calloc(g->nsources + 1, sizeof(*bases));
	int err;

	if (bases == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < g->nsources; i++)
		bases[i] = g->sources[i].base;
	err = extents_make(x, p, g->piece, bases, pager_wants);
	free(bases);
	return err;
}

static int
make(struct snap_pager *g, const struct pager_setup *s)
{
	struct space *sp;
	int err = 0;

	init_locks(g);
	guard_init(&g->guard);
	g->pid = s->pid;
	g->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->pidfd = pidfd_open(s->pid, 0);
	if (g->wake < 0 || g->pidfd < 0)
		return -errno;
	sp = process_grow(&g->spaces, &g->nspaces, sizeof(*sp));
	if (sp == NULL)
		return -ENOMEM;
	sp->fd = s->uffd;
	sp->pm.fd = -1;
	sources_piece(g, s);
	for (size_t i = 0; err == 0 && i < s->nsources; i++)
		err = source_add(g, &s->sources[i]);
	if (err == 0)
		err = make_extents(g, s->p, &sp->x);
	if (err == 0)
		err = make_pieces(g, &sp->x);
	if (err == 0 && s->huge && s->p->nhuge > 0) {
		g->huge = calloc(s->p->nhuge, sizeof(*g->huge));
		if (g->huge == NULL)
			return -ENOMEM;
		g->nhuge = s->p->nhuge;
		memcpy(g->huge, s->p->huge, g->nhuge * sizeof(*g->huge));
	}
	return err == 0 ? early_make(g, s) : err;
}

/* Whole VMAs: what was never touched is served with zeros meanwhile. */
static int
register_memory(
    struct snap_ctx *cx, struct snap_pager *g, const struct process *p)
{
	const struct space *sp = &g->spaces[0];

	for (size_t i = 0, k = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		int err;

		while (k < sp->x.n && sp->x.v[k].end <= v->start)
			k++;
		if (k == sp->x.n || sp->x.v[k].start >= v->end)
			continue;
		err = uffd_register(sp->fd, v->start, v->end - v->start);
		if (err < 0)
			return snap_fail(cx, err,
			    "maps:%zu: registering it with a userfaultfd: %s",
			    i + 1, strerror(-err));
	}
	return 0;
}

static void
ask_for_hot(struct snap_pager *g, const struct pager_setup *s)
{
	for (size_t i = 0; i < s->nhot; i++) {
		struct extent *e = extents_find(&g->spaces[0].x, s->hot[i]);

		size_t k = e == NULL ? 0 : (size_t)(e->off / g->piece);

		if (e == NULL || g->state[k] & PIECE_HOT)
			continue;
		g->state[k] |= PIECE_HOT;
		g->nhot++;
		pager_ask(g, k);
	}
	g->next = 0;
}

/* The workers must know how many they are when they begin. */
static void
count_workers(struct snap_pager *g)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	g->nworkers = cpus < 2		     ? 2
		      : cpus > PAGER_WORKERS ? PAGER_WORKERS
					     : (unsigned)cpus;
}

static int
start_threads(struct snap_pager *g)
{
	int err;

	count_workers(g);
	err = pthread_create(&g->events, NULL, pager_events, g);
	g->has_events = err == 0;
	while (err == 0 && g->nstarted < g->nworkers) {
		err = pthread_create(
		    &g->workers[g->nstarted], NULL, pager_worker, g);
		g->nstarted += err == 0;
	}
	return -err;
}

int
pager_start(
    struct snap_ctx *cx, const struct pager_setup *s, struct snap_pager **out)
{
	struct snap_pager *g = calloc(1, sizeof(*g));
	int err;

	if (g == NULL) {
		close(s->uffd);
		return snap_fail(cx, -ENOMEM, "no memory for the pager");
	}
	g->wake = g->pidfd = g->early.file = -1;
	g->held = true;
	err = make(g, s);
	if (err == 0)
		err = pagemap_open(cx, s->pid, &g->spaces[0].pm);
	if (err == 0)
		err = register_memory(cx, g, s->p);
	if (err == 0) {
		guard_reserve(g->wake);
		ask_for_hot(g, s);
		err = start_threads(g);
	}
	if (err < 0) {
		snap_fail(cx, err, "starting the pager: %s", strerror(-err));
		if (g->nspaces == 0)
			close(s->uffd);
		pager_free(g);
		return err;
	}
	*out = g;
	return 0;
}

/* ---- while it works ---- */

int
pager_error(struct snap_ctx *cx, struct snap_pager *g)
{
	int err;

	pthread_mutex_lock(&g->lock);
	err = g->error;
	if (err < 0) {
		snap_clear(cx);
		snap_fail(cx, err, "%s", g->text);
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

/* Not longer than so many seconds; 0: to the end. */
static void
wait_end(struct snap_pager *g, void (*tell)(void *, uint64_t, uint64_t),
    void *arg, time_t limit)
{
	struct timespec t;
	time_t until = time(NULL) + limit;

	pthread_mutex_lock(&g->lock);
	while (!g->ended && (limit == 0 || time(NULL) < until)) {
		if (tell != NULL)
			tell(arg, g->total - g->left, g->total);
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += PROGRESS_NS;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&g->news, &g->lock, &t);
	}
	pthread_mutex_unlock(&g->lock);
}

void
pager_hot_is_there(struct snap_pager *g)
{
	pthread_mutex_lock(&g->lock);
	while (!g->ended && g->error == 0 && g->nhot > 0)
		pthread_cond_wait(&g->news, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void
pager_let_go(struct snap_pager *g)
{
	pthread_mutex_lock(&g->lock);
	g->held = g->early.seen != NULL;
	early_rest(g);
	pthread_cond_broadcast(&g->work);
	pthread_mutex_unlock(&g->lock);
}

int
pager_finish(struct snap_ctx *cx, struct snap_pager *g)
{
	/* It does not run before all is there: nothing comes first. */
	pthread_mutex_lock(&g->lock);
	g->early.n = 0;
	pthread_mutex_unlock(&g->lock);
	pager_let_go(g);
	wait_end(g, NULL, NULL, 0);
	return pager_error(cx, g);
}

bool
pager_is_done(struct snap_pager *g)
{
	bool done;

	pthread_mutex_lock(&g->lock);
	done = g->ended;
	pthread_mutex_unlock(&g->lock);
	return done;
}

int
pager_commit(struct snap_ctx *cx, struct snap_pager *g)
{
	int err = pager_error(cx, g);

	if (err == 0 && !pager_is_done(g))
		err = guard_start(cx, g);
	return err;
}

/* ---- the end ---- */

static void
join(struct snap_pager *g)
{
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_cond_broadcast(&g->work);
	pthread_mutex_unlock(&g->lock);
	if (g->wake >= 0)
		pager_nudge(g);
	for (unsigned i = 0; i < g->nstarted; i++)
		pthread_join(g->workers[i], NULL);
	if (g->has_events)
		pthread_join(g->events, NULL);
}

void
pager_free(struct snap_pager *g)
{
	if (g == NULL)
		return;
	join(g);
	for (size_t i = 0; i < g->nspaces; i++) {
		if (g->spaces[i].fd >= 0)
			close(g->spaces[i].fd);
		pagemap_close(&g->spaces[i].pm);
		extents_free(&g->spaces[i].x);
	}
	free(g->spaces);
	guard_fini(&g->guard);
	sources_free(g);
	free(g->state);
	free(g->queue);
	early_fini(&g->early);
	free(g->huge);
	if (g->wake >= 0)
		close(g->wake);
	if (g->pidfd >= 0)
		close(g->pidfd);
	pthread_rwlock_destroy(&g->layout);
	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->work);
	pthread_cond_destroy(&g->news);
	free(g);
}

/* ---- for the front end ---- */

int
snap_pager_wait(struct snap_ctx *cx, struct snap_pager *g,
    void (*tell)(void *arg, uint64_t done, uint64_t total), void *arg)
{
	int err, unwritten = 0;

	if (g == NULL)
		return 0;
	if (g->early.seen != NULL) {
		wait_end(g, tell, arg, LEARN_S);
		unwritten = early_learned(g);
	}
	wait_end(g, tell, arg, 0);
	err = pager_error(cx, g);
	pager_free(g);
	if (err == 0 && unwritten < 0)
		err = snap_fail(cx, unwritten,
		    "what it touched first cannot be written: %s",
		    strerror(-unwritten));
	return err;
}
