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
static void
want(struct snap_pager *g, const struct extents *x)
{
	for (size_t i = 0; i < x->n; i++) {
		size_t k = (size_t)(x->v[i].off / g->piece);

		g->left += x->v[i].end - x->v[i].start;
		if (g->state[k] == 0)
			g->nwanted++;
		g->state[k] = PIECE_WANTED;
	}
}

static int
make_pieces(struct snap_pager *g)
{
	g->npieces = (size_t)((g->pages_size + g->piece - 1) / g->piece);
	g->state = calloc(g->npieces + 1, 1);
	g->queue = calloc(g->npieces + 1, sizeof(*g->queue));
	if (g->state == NULL || g->queue == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < g->nroots; i++)
		want(g, &g->spaces[i].x);
	g->total = g->left;
	return 0;
}

static int
make_extents(
    const struct snap_pager *g, const struct pager_client *c, struct extents *x)
{
	uint64_t *bases = calloc(c->nsources + 1, sizeof(*bases));
	int err;

	if (bases == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < c->nsources; i++)
		bases[i] = g->sources[c->sources[i]].base;
	err = extents_make(x, c->p, g->piece, bases);
	free(bases);
	return err;
}

static int
make_root(struct snap_pager *g, const struct pager_client *c, struct space *sp)
{
	int err;

	sp->pid = c->pid;
	sp->pidfd = pidfd_open(c->pid, 0);
	if (sp->pidfd < 0)
		return -errno;
	err = make_extents(g, c, &sp->x);
	if (err < 0 || !c->huge || c->p->nhuge == 0)
		return err;
	sp->huge = calloc(c->p->nhuge, sizeof(*sp->huge));
	if (sp->huge == NULL)
		return -ENOMEM;
	sp->nhuge = c->p->nhuge;
	memcpy(sp->huge, c->p->huge, sp->nhuge * sizeof(*sp->huge));
	return 0;
}

/* From here on the descriptors are closed by pager_free(). */
static int
take_clients(struct snap_pager *g, const struct pager_setup *s)
{
	for (size_t i = 0; i < s->nclients; i++) {
		struct space *sp =
		    process_grow(&g->spaces, &g->nspaces, sizeof(*sp));

		if (sp == NULL) {
			for (; i < s->nclients; i++)
				close(s->clients[i].uffd);
			return -ENOMEM;
		}
		*sp = (struct space){ .fd = s->clients[i].uffd,
			.pm.fd = -1,
			.root = i,
			.pidfd = -1,
			.tie = { -1, -1, -1 } };
	}
	g->nroots = g->nspaces;
	return 0;
}

static int
make(struct snap_pager *g, const struct pager_setup *s)
{
	int err = take_clients(g, s);

	if (err < 0)
		return err;
	g->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->wake < 0)
		return -errno;
	sources_piece(g, s);
	for (size_t i = 0; err == 0 && i < s->nsources; i++)
		err = source_add(g, &s->sources[i]);
	for (size_t i = 0; err == 0 && i < s->nclients; i++)
		err = make_root(g, &s->clients[i], &g->spaces[i]);
	if (err == 0)
		err = make_pieces(g);
	return err == 0 ? early_make(g, s) : err;
}

/* Whole VMAs: what was never touched is served with zeros meanwhile. */
static int
register_memory(
    struct snap_ctx *cx, const struct space *sp, const struct process *p)
{

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
ask_for_hot(
    struct snap_pager *g, const struct extents *x, const struct pager_client *c)
{
	for (size_t i = 0; i < c->nhot; i++) {
		struct extent *e = extents_find(x, c->hot[i]);

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

static int
begin(struct snap_ctx *cx, struct snap_pager *g, const struct pager_setup *s)
{
	int err = make(g, s);

	for (size_t i = 0; err == 0 && i < g->nroots; i++) {
		struct space *sp = &g->spaces[i];

		err = pagemap_open(cx, sp->pid, &sp->pm);
		if (err == 0)
			err = register_memory(cx, sp, s->clients[i].p);
	}
	if (err < 0)
		return err;
	guard_reserve(g->wake);
	for (size_t i = 0; i < g->nroots; i++)
		ask_for_hot(g, &g->spaces[i].x, &s->clients[i]);
	return start_threads(g);
}

int
pager_start(
    struct snap_ctx *cx, const struct pager_setup *s, struct snap_pager **out)
{
	struct snap_pager *g = calloc(1, sizeof(*g));
	int err;

	if (g == NULL) {
		for (size_t i = 0; i < s->nclients; i++)
			close(s->clients[i].uffd);
		return snap_fail(cx, -ENOMEM, "no memory for the pager");
	}
	g->wake = g->early.file = -1;
	g->held = true;
	g->tree = s->tree;
	init_locks(g);
	guard_init(&g->guard);
	err = begin(cx, g, s);
	if (err < 0) {
		snap_fail(cx, err, "starting the pager: %s", strerror(-err));
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

static void
space_fini(struct space *sp)
{
	if (sp->fd >= 0)
		close(sp->fd);
	if (sp->pidfd >= 0)
		close(sp->pidfd);
	pagemap_close(&sp->pm);
	extents_free(&sp->x);
	free(sp->huge);
}

void
pager_free(struct snap_pager *g)
{
	if (g == NULL)
		return;
	join(g);
	guard_fini(g);
	for (size_t i = 0; i < g->nspaces; i++)
		space_fini(&g->spaces[i]);
	free(g->spaces);
	sources_free(g);
	free(g->state);
	free(g->queue);
	early_fini(&g->early);
	if (g->wake >= 0)
		close(g->wake);
	pthread_rwlock_destroy(&g->layout);
	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->work);
	pthread_cond_destroy(&g->news);
	free(g);
}

/* ---- for the front end ---- */

/* Who of a tree it is that lacked memory is not known otherwise. */
static int
tree_error(struct snap_ctx *cx, struct snap_pager *g)
{
	int err = pager_error(cx, g);

	if (err == 0)
		return 0;
	snap_clear(cx);
	return snap_fail(cx, err,
	    "%s killed, for memory could not be brought: %s", g->victims,
	    g->text);
}

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
	err = g->tree ? tree_error(cx, g) : pager_error(cx, g);
	pager_free(g);
	if (err == 0 && unwritten < 0)
		err = snap_fail(cx, unwritten,
		    "what it touched first cannot be written: %s",
		    strerror(-unwritten));
	return err;
}
