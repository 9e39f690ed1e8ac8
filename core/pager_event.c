/*
 * pager_event.c - what the kernel says through the userfaultfds.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "huge.h"
#include "pager_parts.h"
#include "uffd.h"

#define PAGE 4096ull
#define BATCH 16
/* How often it is seen whether those are gone of whom we have no pid. */
#define LOOK_MS 500
#define DYING_MS 5
#define VICTIMS 8 /* that are told by name */
#define MANY 64	  /* children, so that it is worth to look who has ended */

/* ---- one event; `layout` is held for writing ---- */

static void
poison(int fd, const struct extents *x)
{
	for (size_t i = 0; i < x->n; i++) {
		const struct extent *e = &x->v[i];

		for (uint64_t a = e->start; !e->done && a < e->end;) {
			int64_t n = uffd_poison(fd, a, e->end - a);

			a += n > 0 ? (uint64_t)n : PAGE;
		}
	}
}

static void
on_fault(struct snap_pager *g, struct space *sp, uint64_t addr)
{
	struct extent *e = extents_find(&sp->x, addr);
	uint64_t page = addr & ~(PAGE - 1);

	if (e != NULL && !e->done) {
		pthread_mutex_lock(&g->lock);
		pager_ask(g, (size_t)(e->off / g->piece));
		pthread_mutex_unlock(&g->lock);
		/* Nothing comes any more. */
		if (sp >= g->spaces + g->nroots && pager_has_failed(g))
			uffd_poison(sp->fd, page, PAGE);
		return;
	}
	/* It was never touched, or dropped, or has come meanwhile. */
	if (uffd_zero(sp->fd, page, PAGE) < 0)
		uffd_wake(sp->fd, page, PAGE);
}

/*
 * Who was forked has all that its parent had, and misses what that missed at
 * this very moment.  Without memory for that, it must not see zeros either.
 */
static int
on_fork(struct snap_pager *g, size_t parent, int fd)
{
	struct space *sp = process_grow(&g->spaces, &g->nspaces, sizeof(*sp));
	const struct extents *x = &g->spaces[parent].x;
	size_t root = g->spaces[parent].root;
	int err = sp == NULL ? -ENOMEM : guard_add_space(g, root, fd);

	if (err < 0 && sp != NULL)
		g->nspaces--;
	if (err == 0) {
		sp->fd = fd;
		sp->root = root;
		sp->pm.fd = sp->pidfd = -1;
		err = extents_copy(&sp->x, x);
	}
	if (err < 0 || pager_has_failed(g))
		poison(fd, x);
	return err;
}

static int
on_event(struct snap_pager *g, size_t i, const struct uffd_msg *m)
{
	struct space *sp = &g->spaces[i];

	switch (m->event) {
	case UFFD_EVENT_PAGEFAULT:
		on_fault(g, sp, m->arg.pagefault.address);
		return 0;
	case UFFD_EVENT_FORK:
		return on_fork(g, i, (int)m->arg.fork.ufd);
	case UFFD_EVENT_REMAP:
		return extents_move(&sp->x, m->arg.remap.from, m->arg.remap.to,
		    m->arg.remap.len);
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		return extents_drop(
		    &sp->x, m->arg.remove.start, m->arg.remove.end);
	}
	return 0;
}

/*
 * All that one of them has to say.  false: there is a fork, but no descriptor
 * left for it; it can be asked for again.
 */
static bool
read_events(struct snap_pager *g, size_t i)
{
	struct uffd_msg m[BATCH];
	bool full;
	ssize_t n;
	int err = 0;

	pthread_rwlock_wrlock(&g->layout);
	do {
		n = read(g->spaces[i].fd, m, sizeof(m));
		full = n < 0 && (errno == EMFILE || errno == ENFILE);
		for (ssize_t k = 0; k < n / (ssize_t)sizeof(m[0]); k++) {
			int r = on_event(g, i, &m[k]);

			err = err == 0 ? r : err;
		}
	} while (n == sizeof(m));
	pthread_rwlock_unlock(&g->layout);
	if (err < 0)
		pager_fail(g, err, "a process was forked: %s", strerror(-err));
	return !full;
}

/* ---- ends ---- */

static void
forget(struct snap_pager *g, struct space *sp)
{
	guard_drop_space(g, sp->fd);
	close(sp->fd);
	extents_free(&sp->x);
}

static bool
is_whole(const struct extents *x)
{
	for (size_t i = 0; i < x->n; i++)
		if (!x->v[i].done)
			return false;
	return true;
}

/*
 * Those that have ended want nothing any more, and of children the descriptor
 * is given back: a program may make any number.  Nor do those that have all.  Is
 * anybody left?
 */
static bool
look_who_is_left(struct snap_pager *g)
{
	bool any = false;
	size_t n = 0;

	pthread_rwlock_wrlock(&g->layout);
	for (size_t i = 0; i < g->nspaces; i++) {
		struct space *sp = &g->spaces[i];

		if (!sp->gone && uffd_state(sp->fd) == -ESRCH)
			sp->gone = true;
		if (!sp->gone && !sp->whole && is_whole(&sp->x)) {
			sp->whole = true;
			if (i < g->nroots)
				guard_whole(g, sp);
		}
		any = any || !(sp->gone || sp->whole);
		if (i >= g->nroots && sp->gone)
			forget(g, sp);
		else
			g->spaces[n++] = *sp;
	}
	g->nspaces = n;
	pthread_rwlock_unlock(&g->layout);
	return any;
}

/* "processes 1, 2 were" */
static void
name_victims(struct snap_pager *g)
{
	size_t room = sizeof(g->victims), n, many = 0;

	for (size_t i = 0; i < g->nroots; i++)
		many += !g->spaces[i].gone && !g->spaces[i].whole;
	n = (size_t)snprintf(
	    g->victims, room, many == 1 ? "process" : "processes");
	for (size_t i = 0, k = 0; i < g->nroots && k < VICTIMS; i++)
		if (!g->spaces[i].gone && !g->spaces[i].whole)
			n += (size_t)snprintf(g->victims + n, room - n, "%s %d",
			    k++ > 0 ? "," : "", (int)g->spaces[i].pid);
	if (many > VICTIMS)
		n += (size_t)snprintf(
		    g->victims + n, room - n, " and %zu more", many - VICTIMS);
	snprintf(g->victims + n, room - n, many == 1 ? " was" : " were");
}

/* Nothing of it may run on with what it has not. */
static void
end_all(struct snap_pager *g)
{
	(void)look_who_is_left(g);
	pthread_rwlock_wrlock(&g->layout);
	name_victims(g);
	for (size_t i = 0; i < g->nspaces; i++) {
		struct space *sp = &g->spaces[i];

		if (sp->gone || sp->whole)
			continue;
		if (i < g->nroots)
			pidfd_send_signal(sp->pidfd, SIGKILL, NULL, 0);
		else
			poison(sp->fd, &sp->x);
	}
	pthread_rwlock_unlock(&g->layout);
}

/* ---- the thread ---- */

struct listener {
	struct snap_pager *g;
	struct pollfd *v;
	size_t room;
	bool ending;
	uint64_t looked; /* ms */
	size_t many;	 /* spaces, at which it is time to look */
};

#define FIXED 2 /* of the descriptors that are waited for; then roots */

static size_t
first_space(const struct snap_pager *g)
{
	return FIXED + g->nroots;
}

static bool
make_room(struct listener *l)
{
	size_t n = l->g->nspaces + first_space(l->g);
	struct pollfd *v;

	if (n <= l->room)
		return true;
	v = reallocarray(l->v, n + 16, sizeof(*v));
	if (v == NULL)
		return false;
	l->v = v;
	l->room = n + 16;
	return true;
}

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Under the lock: guard_start() moves the first's descriptor meanwhile. */
static void
list_descriptors(struct listener *l, size_t n)
{
	struct snap_pager *g = l->g;

	pthread_rwlock_rdlock(&g->layout);
	l->v[0] = (struct pollfd){ .fd = g->wake, .events = POLLIN };
	l->v[1] = (struct pollfd){ .fd = l->ending ? -1 : g->guard.pidfd,
		.events = POLLIN };
	for (size_t i = 0; i < g->nroots; i++)
		l->v[FIXED + i] = (struct pollfd){
			.fd = g->spaces[i].dead ? -1 : g->spaces[i].pidfd,
			.events = POLLIN
		};
	for (size_t i = 0; i < n; i++)
		l->v[first_space(g) + i] =
		    (struct pollfd){ .fd = g->spaces[i].gone ? -1
							     : g->spaces[i].fd,
			    .events = POLLIN };
	pthread_rwlock_unlock(&g->layout);
}

/*
 * Returns how many of the spaces are listened to: those for which there is room,
 * when all are being ended for want of memory.
 */
static size_t
await(struct listener *l)
{
	size_t fixed = first_space(l->g), n = l->g->nspaces;

	if (l->room < fixed) {
		(void)poll(NULL, 0, DYING_MS);
		return 0;
	}
	if (n > l->room - fixed)
		n = l->room - fixed;
	list_descriptors(l, n);
	if (poll(l->v, n + fixed, l->ending ? DYING_MS : LOOK_MS) < 0)
		return 0;
	return n;
}

/* What the locks protect, as it is now. */
static void
look(struct snap_pager *g, bool *failed, bool *done)
{
	uint64_t count;

	(void)!read(g->wake, &count, sizeof(count));
	pthread_mutex_lock(&g->lock);
	*failed = g->error != 0;
	*done = g->stop || g->nwanted == 0;
	pthread_mutex_unlock(&g->lock);
}

/* Who is left, if it is time to see. */
static bool
look_at_times(struct listener *l, bool now)
{
	struct snap_pager *g = l->g;
	bool left;

	if (!now && !l->ending && g->nspaces < l->many &&
	    now_ms() - l->looked < LOOK_MS)
		return true;
	l->looked = now_ms();
	left = look_who_is_left(g);
	l->many = 2 * g->nspaces + MANY;
	return left;
}

/*
 * No descriptor for one that was forked: if none was given back by those that
 * have ended, it would wait for ever, and then see zeros.
 */
static void
make_way(struct listener *l)
{
	size_t had = l->g->nspaces;

	(void)look_at_times(l, true);
	if (l->g->nspaces == had)
		pager_fail(l->g, -EMFILE,
		    "a process was forked: there are %zu, and no descriptor is "
		    "left for another",
		    had);
}

/* false: that was all. */
static bool
turn(struct listener *l)
{
	struct snap_pager *g = l->g;
	bool failed, done, full = false, left, died = false;
	size_t n;

	if (!make_room(l))
		pager_fail(g, -ENOMEM, "no memory for the pager");
	n = await(l);
	for (size_t i = 0; i < n; i++)
		if (l->v[first_space(g) + i].revents != 0 && !read_events(g, i))
			full = true;
	if (full)
		make_way(l);
	if (n > 0 && l->v[1].revents != 0)
		pager_fail(g, -EIO, "the pager's guard was killed");
	for (size_t i = 0; n > 0 && i < g->nroots; i++)
		if (l->v[FIXED + i].revents != 0)
			g->spaces[i].dead = died = true;
	look(g, &failed, &done);
	if (failed && !l->ending) {
		l->ending = true;
		end_all(g);
	}
	left = look_at_times(l, died);
	return left && (l->ending || !done);
}

void *
pager_events(void *pager)
{
	struct snap_pager *g = pager;
	struct listener l = { .g = g, .looked = now_ms(), .many = MANY };

	while (turn(&l))
		;
	free(l.v);
	/*
	 * All is there, or all are gone: now the kernel may make zeros of what
	 * is missing.  A guard that is just being started is released, too, or
	 * is not started any more.
	 */
	pthread_rwlock_wrlock(&g->layout);
	guard_release(g);
	for (size_t i = 0; i < g->nspaces; i++) {
		close(g->spaces[i].fd);
		g->spaces[i].fd = -1;
		g->spaces[i].gone = true;
	}
	pthread_rwlock_unlock(&g->layout);
	for (size_t i = 0; i < g->nroots && !pager_has_failed(g); i++)
		(void)huge_collapse(
		    g->spaces[i].pidfd, g->spaces[i].huge, g->spaces[i].nhuge);
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	g->ended = true;
	pthread_cond_broadcast(&g->work);
	pthread_cond_broadcast(&g->news);
	pthread_mutex_unlock(&g->lock);
	return NULL;
}
