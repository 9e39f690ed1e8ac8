/*
 * pager_source.c - where the pieces come from: one file `pages`, or those of a
 * chain of increments.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pager_parts.h"

static struct pagesums *
copy_sums(const struct pagesums *sums)
{
	struct pagesums *s = pagesums_new(sums->size);
	uint8_t(*sum)[16];

	if (s == NULL)
		return NULL;
	free(s->sum);
	*s = *sums;
	sum = reallocarray(NULL, sums->n + 1, sizeof(*sum));
	if (sum != NULL)
		memcpy(sum, sums->sum, sums->n * sizeof(*sum));
	s->sum = sum;
	if (sum != NULL)
		return s;
	pagesums_free(s);
	return NULL;
}

static uint64_t
round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

int
source_add(struct snap_pager *g, const struct pager_source *from)
{
	struct source *s = process_grow(&g->sources, &g->nsources, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->fd = -1;
	s->base = round_up(g->pages_size, g->piece);
	s->size = from->size;
	if (s->size > (uint64_t)INT64_MAX - s->base)
		return -E2BIG;
	g->pages_size = s->base + s->size;
	if (from->sums != NULL)
		s->sums = copy_sums(from->sums);
	s->name = strdup(from->name == NULL ? "" : from->name);
	if ((from->sums != NULL && s->sums == NULL) || s->name == NULL)
		return -ENOMEM;
	s->fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 3);
	return s->fd < 0 ? -errno : 0;
}

/* Where their sums have pieces of several sizes, the largest holds whole ones. */
void
sources_piece(struct snap_pager *g, const struct pager_setup *s)
{
	for (size_t i = 0; i < s->nsources; i++) {
		const struct pager_source *from = &s->sources[i];
		uint64_t piece = from->sums == NULL ? pagesums_piece(from->size)
						    : from->sums->piece;

		if (piece > g->piece)
			g->piece = piece;
	}
}

void
sources_free(struct snap_pager *g)
{
	for (size_t i = 0; i < g->nsources; i++) {
		struct source *s = &g->sources[i];

		if (s->fd >= 0)
			close(s->fd);
		pagesums_free(s->sums);
		free(s->name);
	}
	free(g->sources);
}

/* The last that begins at or below `off`. */
static const struct source *
source_of(const struct snap_pager *g, uint64_t off)
{
	size_t lo = 0, hi = g->nsources;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (g->sources[mid].base <= off)
			lo = mid;
		else
			hi = mid;
	}
	return &g->sources[lo];
}

uint64_t
source_bytes(const struct snap_pager *g, size_t k)
{
	uint64_t off = k * g->piece;
	const struct source *s = source_of(g, off);
	uint64_t left = s->base + s->size - off;

	return left < g->piece ? left : g->piece;
}

/* The bytes at `off` of the file. */
static bool
verify(struct snap_pager *g, const struct source *s, const char *buf,
    uint64_t off, uint64_t len)
{
	for (uint64_t at = 0; s->sums != NULL && at < len;
	     at += s->sums->piece) {
		size_t i = (size_t)((off + at) / s->sums->piece);

		if (pagesums_good(s->sums, i, buf + at))
			continue;
		pager_fail(g, -EBADMSG, "%s" PAGESUMS_BAD, s->name, off + at);
		return false;
	}
	return true;
}

bool
source_read(struct snap_pager *g, size_t k, char *buf)
{
	const struct source *s = source_of(g, k * g->piece);
	uint64_t at = 0, off = k * g->piece - s->base;
	uint64_t len = source_bytes(g, k);
	ssize_t n;

	while (at < len) {
		n = pread(s->fd, buf + at, len - at, (off_t)(off + at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			pager_fail(g, n < 0 ? -errno : -EBADMSG,
			    "%spages: at %" PRIu64 ": %s", s->name, off + at,
			    n < 0 ? strerror(errno)
				  : "the file has become shorter");
			return false;
		}
		at += (uint64_t)n;
	}
	return verify(g, s, buf, off, len);
}
