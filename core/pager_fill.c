/*
 * pager_fill.c - the workers: a piece of `pages` is put where it is wanted.
 *
 * Pieces that somebody waits for come first; one worker is always free for
 * them.  The others bring what will be touched early, if that is known; then what
 * is left, and go on from where somebody waited last: what is touched next is
 * likely to lie there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pager_parts.h"
#include "uffd.h"

#define PAGE 4096ull
#define RETRY_NS 1000000

void
pager_ask(struct snap_pager *g, size_t piece)
{
	uint8_t *state = &g->state[piece];

	early_note(g, piece);
	if (!(*state & PIECE_WANTED) || (*state & PIECE_QUEUED))
		return;
	g->next = piece + 1;
	/* One that has it already serves all who wait for it. */
	if (*state & PIECE_BUSY)
		return;
	*state |= PIECE_QUEUED;
	g->queue[(g->qhead + g->qlen++) % (g->npieces + 1)] = piece;
	pthread_cond_signal(&g->work);
}

/* ---- choosing ---- */

static bool
next_asked(struct snap_pager *g, size_t *piece)
{
	while (g->qlen > 0) {
		size_t k = g->queue[g->qhead];

		g->qhead = (g->qhead + 1) % (g->npieces + 1);
		g->qlen--;
		g->state[k] &= (uint8_t)~PIECE_QUEUED;
		if ((g->state[k] & (PIECE_WANTED | PIECE_BUSY)) ==
		    PIECE_WANTED) {
			*piece = k;
			return true;
		}
	}
	return false;
}

static bool
next_in_order(struct snap_pager *g, size_t *piece)
{
	const uint8_t *at;

	if (g->next >= g->npieces)
		g->next = 0;
	at = memchr(g->state + g->next, PIECE_WANTED, g->npieces - g->next);
	if (at == NULL)
		at = memchr(g->state, PIECE_WANTED, g->next);
	if (at == NULL)
		return false;
	*piece = (size_t)(at - g->state);
	g->next = *piece + 1;
	return true;
}

/* One worker is left for those who wait. */
static bool
next_unasked(struct snap_pager *g, size_t *piece)
{
	if (g->nback + 1 >= g->nworkers)
		return false;
	return early_next(g, piece) || (!g->held && g->early.rest.tv_sec == 0 &&
					   next_in_order(g, piece));
}

/*
 * `lock` is held.  `back`: has what nobody waits for; before, and after.  Its
 * place there is another's if it takes something else.  false: there is no more
 * to do.
 */
static bool
choose(struct snap_pager *g, size_t *piece, bool *back)
{
	bool had = *back;

	for (;;) {
		if (g->stop || g->nwanted == 0)
			return false;
		*back = false;
		if (next_asked(g, piece))
			break;
		*back = true;
		if (next_unasked(g, piece))
			break;
		early_await_work(g);
	}
	g->state[*piece] |= PIECE_BUSY;
	g->nback += *back;
	if (had && !*back)
		pthread_cond_signal(&g->work);
	return true;
}

/* ---- reading ---- */

/* Nothing may want it any more: what was unmapped need not be read. */
static bool
is_wanted(struct snap_pager *g, uint64_t off, uint64_t end)
{
	bool wanted = false;

	pthread_rwlock_rdlock(&g->layout);
	for (size_t i = 0; i < g->nspaces && !wanted; i++)
		wanted = !g->spaces[i].gone &&
			 extents_next(&g->spaces[i].x, NULL, off, end) != NULL;
	pthread_rwlock_unlock(&g->layout);
	return wanted;
}

/* ---- putting ---- */

/*
 * The address range is not there as a whole: try page by page; a page that is
 * not there while nothing is being changed is not wanted any more.
 */
static int64_t
put_page(int fd, uint64_t dst, const char *src)
{
	int64_t n = uffd_copy(fd, dst, src, PAGE);

	if (n == -ENOENT)
		return uffd_state(fd) < 0 ? -EAGAIN : (int64_t)PAGE;
	return n;
}

/* -EAGAIN: an event must be read first. */
static int
put(int fd, uint64_t dst, const char *src, uint64_t len)
{
	while (len > 0) {
		int64_t n = uffd_copy(fd, dst, src, len);

		if (n == -ENOENT)
			n = put_page(fd, dst, src);
		if (n == -EEXIST) {
			/* Who waits for it came a moment too late. */
			uffd_wake(fd, dst, PAGE);
			n = PAGE;
		}
		if (n < 0)
			return (int)n;
		dst += (uint64_t)n;
		src += n;
		len -= (uint64_t)n;
	}
	return 0;
}

/*
 * To UFFDIO_COPY a guard page, MADV_GUARD_INSTALL, is an empty place: the
 * process has put it there since, and it stays.  (The kernel has no request
 * that would fill only what is really empty, so one that is put there between
 * the look and the copy, some 100 us, is lost.)
 */
static int
put_around(const struct space *sp, uint64_t dst, const char *src, uint64_t len)
{
	uint64_t at = dst, end = dst + len;
	int err = 0;

	while (err == 0 && at < end) {
		uint64_t from = end, to = end;

		if (pagemap_guards(&sp->pm, at, end, &from, &to) <= 0)
			from = to = end;
		if (from > at)
			err = put(sp->fd, at, src + (at - dst), from - at);
		at = to;
	}
	return err;
}

/* Those of one space that lie in [off, off + len) of `pages`. */
static int
fill_space(struct space *sp, const char *buf, uint64_t off, uint64_t len)
{
	struct extent *e = NULL;
	int err;

	while (!sp->gone &&
	       (e = extents_next(&sp->x, e, off, off + len)) != NULL) {
		err = put_around(
		    sp, e->start, buf + (e->off - off), e->end - e->start);
		if (err == -ESRCH)
			return 0; /* the event thread will notice */
		if (err < 0)
			return err;
		e->done = true;
	}
	return 0;
}

static int
fill(struct snap_pager *g, const char *buf, uint64_t off, uint64_t len)
{
	int err = 0;

	pthread_rwlock_rdlock(&g->layout);
	for (size_t i = 0; i < g->nspaces && err == 0; i++)
		err = fill_space(&g->spaces[i], buf, off, len);
	pthread_rwlock_unlock(&g->layout);
	if (err < 0 && err != -EAGAIN)
		pager_fail(g, err, "putting a page into the process: %s",
		    strerror(-err));
	return err;
}

/* ---- a worker ---- */

/* An event must be read first.  false: it is no use to try again. */
static bool
nap(struct snap_pager *g)
{
	struct timespec t = { 0, RETRY_NS };
	bool stop;

	nanosleep(&t, NULL);
	pthread_mutex_lock(&g->lock);
	stop = g->stop;
	pthread_mutex_unlock(&g->lock);
	return !stop;
}

/* Read it, put it: again, while the address space is being changed. */
static bool
bring(struct snap_pager *g, size_t k, char *buf)
{
	uint64_t off = k * g->piece, len = source_bytes(g, k);
	int err;

	if (!is_wanted(g, off, off + len))
		return true;
	if (!source_read(g, k, buf))
		return false;
	while ((err = fill(g, buf, off, len)) == -EAGAIN && nap(g))
		;
	return err == 0;
}

static void
settle(struct snap_pager *g, size_t k, bool brought, bool back)
{
	uint64_t len = source_bytes(g, k);

	pthread_mutex_lock(&g->lock);
	g->nback -= back;
	if (g->state[k] & PIECE_HOT && --g->nhot == 0)
		pthread_cond_broadcast(&g->news);
	g->state[k] &= PIECE_QUEUED | PIECE_NOTED;
	if (brought) {
		g->left -= len < g->left ? len : g->left;
		g->nwanted--;
	}
	if (g->nwanted == 0) {
		g->left = 0;
		pthread_cond_broadcast(&g->work);
		pager_nudge(g);
	}
}

void *
pager_worker(void *pager)
{
	struct snap_pager *g = pager;
	char *buf = aligned_alloc(PAGE, g->piece);
	bool back = false;
	size_t k;

	if (buf == NULL)
		pager_fail(g, -ENOMEM, "no memory for the pager");
	pthread_mutex_lock(&g->lock);
	while (buf != NULL && choose(g, &k, &back)) {
		bool brought;

		pthread_mutex_unlock(&g->lock);
		brought = bring(g, k, buf);
		settle(g, k, brought, back);
	}
	pthread_mutex_unlock(&g->lock);
	free(buf);
	return NULL;
}
