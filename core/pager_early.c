/*
 * pager_early.c - what a process touches first.
 *
 * Where the image has a list of it, these pieces are brought before the others,
 * from the moment that the memory is laid out: most of them are there before
 * anybody waits for one.  Where such a list is to be made, nothing is brought
 * but what is touched, and that is noted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "img.h"
#include "pager_parts.h"

#define LOOK_NS 10000000
#define REST_NS 30000000

/* Its own `pages` begin at `base`: `prefetch` has nothing of its parents. */
static void
list_early(struct snap_pager *g, const struct process *p, uint64_t base)
{
	struct early *e = &g->early;

	for (size_t i = 0; i < p->nprefetch; i++) {
		uint64_t end = base + p->prefetch[i].end;
		size_t k = (size_t)((base + p->prefetch[i].start) / g->piece);

		for (; k * g->piece < end; k++) {
			if (g->state[k] != PIECE_WANTED)
				continue;
			g->state[k] |= PIECE_NOTED;
			e->list[e->n++] = k;
		}
	}
}

int
early_make(struct snap_pager *g, const struct pager_setup *s)
{
	struct early *e = &g->early;

	e->list = calloc(g->npieces + 1, sizeof(*e->list));
	if (e->list == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < s->nclients; i++)
		list_early(g, s->clients[i].p,
		    g->sources[s->clients[i].sources[0]].base);
	for (size_t i = 0; i < e->n; i++)
		g->state[e->list[i]] = PIECE_WANTED;
	if (s->learn < 0)
		return 0;
	e->seen = calloc(g->npieces + 1, sizeof(*e->seen));
	e->file = fcntl(s->learn, F_DUPFD_CLOEXEC, 3);
	return e->seen == NULL || e->file < 0 ? -ENOMEM : 0;
}

bool
early_next(struct snap_pager *g, size_t *piece)
{
	struct early *e = &g->early;

	while (e->next < e->n) {
		size_t k = e->list[e->next++];

		if ((g->state[k] & (PIECE_WANTED | PIECE_BUSY)) ==
		    PIECE_WANTED) {
			*piece = k;
			return true;
		}
	}
	return false;
}

static struct timespec
in_ns(long ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ns;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

/* So long a program works on what it has, at the least. */
void
early_rest(struct snap_pager *g)
{
	struct timespec *t = &g->early.rest;

	if (g->early.n == 0)
		return;
	*t = in_ns(REST_NS);
}

static bool
is_before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec ||
	       (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

/*
 * In the C library before glibc 2.41 a signal can be lost where several wait
 * (its bug 25847), and then nobody would bring what a process waits for.  So
 * this ends after a while in any case.
 */
void
early_await_work(struct snap_pager *g)
{
	const struct timespec rest = g->early.rest;
	struct timespec until = in_ns(LOOK_NS);
	bool resting = rest.tv_sec != 0, over = false;

	if (resting && !is_before(until, rest)) {
		until = rest;
		over = true;
	}
	if (pthread_cond_clockwait(
		&g->work, &g->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT &&
	    over) {
		g->early.rest.tv_sec = 0;
		pthread_cond_broadcast(&g->work);
	}
}

void
early_note(struct snap_pager *g, size_t piece)
{
	struct early *e = &g->early;

	if (e->seen == NULL || g->state[piece] & PIECE_NOTED)
		return;
	g->state[piece] |= PIECE_NOTED;
	e->seen[e->nseen++] = piece;
}

static int
write_whole(int fd, const char *s, size_t len)
{
	size_t at = 0;
	ssize_t n;

	while (at < len) {
		n = write(fd, s + at, len - at);
		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Neighbours as one part; what belongs to parents is left out. */
static int
write_list(const struct snap_pager *g, const size_t *seen, size_t n)
{
	uint64_t size = g->sources[0].size, start, end;
	struct text t = { 0 };
	size_t len, nparts = 0;
	struct part *v = calloc(n + 1, sizeof(*v));
	char *s;
	int err;

	for (size_t i = 0; v != NULL && i < n; i++) {
		start = seen[i] * g->piece;
		if (start >= size)
			continue;
		end = start + g->piece < size ? start + g->piece : size;
		if (nparts > 0 && v[nparts - 1].end == start)
			v[nparts - 1].end = end;
		else
			v[nparts++] = (struct part){ start, end };
	}
	if (v != NULL)
		img_prefetch_write(&t, v, nparts);
	free(v);
	s = v == NULL ? NULL : text_take(&t, &len);
	err = s == NULL ? -ENOMEM : write_whole(g->early.file, s, len);
	free(s);
	return err;
}

int
early_learned(struct snap_pager *g)
{
	struct early *e = &g->early;
	size_t *seen;
	int err = 0;

	pthread_mutex_lock(&g->lock);
	seen = e->seen;
	e->seen = NULL;
	g->held = false;
	pthread_cond_broadcast(&g->work);
	pthread_mutex_unlock(&g->lock);
	if (seen != NULL)
		err = write_list(g, seen, e->nseen);
	free(seen);
	return err;
}

void
early_fini(struct early *e)
{
	free(e->list);
	free(e->seen);
	if (e->file >= 0)
		close(e->file);
}
