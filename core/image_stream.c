#include "image_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define CHUNK (1u << 20)

void
stream_free(struct stream *s)
{
	if (s == NULL)
		return;
	XXH3_freeState(s->state);
	XXH3_freeState(s->piece);
	pagesums_free(s->pieces);
	pthread_cond_destroy(&s->moved);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct stream *
stream_new(const struct image_node *n)
{
	struct stream *s = calloc(1, sizeof(*s));
	bool pages = n->source == IMAGE_PAGES;

	if (s == NULL)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->moved, NULL);
	s->state = XXH3_createState();
	if (pages) {
		s->piece = XXH3_createState();
		s->pieces = pagesums_new(n->node.size);
	}
	if (s->state == NULL ||
	    (pages && (s->piece == NULL || s->pieces == NULL))) {
		stream_free(s);
		return NULL;
	}
	XXH3_128bits_reset(s->state);
	if (pages)
		XXH3_128bits_reset(s->piece);
	return s;
}

/* The next `len` bytes, of the pieces that they are of. */
static void
add_to_pieces(struct stream *s, const char *buf, uint64_t len)
{
	uint64_t at = s->at;

	while (len > 0) {
		uint64_t left = s->pieces->piece - at % s->pieces->piece;
		uint64_t n = len < left ? len : left;
		XXH128_canonical_t c;

		hash_update(s->piece, buf, n);
		buf += n;
		len -= n;
		at += n;
		if (n == left || at == s->pieces->size) {
			XXH128_canonicalFromHash(
			    &c, XXH3_128bits_digest(s->piece));
			memcpy(s->pieces->sum[(at - 1) / s->pieces->piece],
			    c.digest, sizeof(c.digest));
			XXH3_128bits_reset(s->piece);
		}
	}
}

static void
stream_add(struct stream *s, const char *buf, uint64_t len)
{
	hash_update(s->state, buf, len);
	if (s->pieces != NULL)
		add_to_pieces(s, buf, len);
	s->at += len;
}

/* ---- who reads where; with the lock ---- */

static bool
is_read(const struct stream *s, uint64_t at)
{
	for (unsigned i = 0; i < s->nreading; i++)
		if (s->reading[i].off <= at && at < s->reading[i].end)
			return true;
	return false;
}

static void
end_reading(struct stream *s, uint64_t off)
{
	for (unsigned i = 0; i < s->nreading; i++)
		if (s->reading[i].off == off) {
			s->reading[i] = s->reading[--s->nreading];
			break;
		}
	pthread_cond_broadcast(&s->moved);
}

/* Whoever reads at `at` waits for nobody, so this comes to an end. */
static void
wait_for_others(struct stream *s, uint64_t end)
{
	while (s->at < end && is_read(s, s->at))
		pthread_cond_wait(&s->moved, &s->lock);
}

int
stream_catch_up(
    struct stream *s, const struct stream_source *from, uint64_t end)
{
	char *buf = NULL;
	ssize_t got = 1;

	wait_for_others(s, end);
	if (s->at < end && (buf = malloc(CHUNK)) == NULL)
		return -ENOMEM;
	while (s->at < end && got > 0) {
		uint64_t want = end - s->at < CHUNK ? end - s->at : CHUNK;

		got = from->read(from->arg, from->node, buf, want, s->at);
		if (got > 0)
			stream_add(s, buf, (uint64_t)got);
	}
	free(buf);
	return got > 0 ? 0 : got < 0 ? (int)got : -EIO;
}

/* A piece far ahead is of a reader that seeks, and forgotten. */
static void
note_ahead(struct stream *s, uint64_t off, uint64_t end)
{
	if (s->nahead < STREAM_AHEAD_MAX &&
	    off - s->at <= STREAM_AHEAD_MAX * CHUNK)
		s->ahead[s->nahead++] = (struct stream_piece){ off, end };
}

static void
take_ahead(struct stream *s, const struct stream_source *from)
{
	for (unsigned i = 0; i < s->nahead;) {
		struct stream_piece p = s->ahead[i];

		if (p.off > s->at) {
			i++;
			continue;
		}
		s->ahead[i] = s->ahead[--s->nahead];
		if (p.end > s->at && stream_catch_up(s, from, p.end) < 0)
			return;
		i = 0;
	}
}

void
stream_begin(struct stream *s, uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&s->lock);
	if (s->nreading < STREAM_READERS_MAX && off + len >= off)
		s->reading[s->nreading++] =
		    (struct stream_piece){ off, off + len };
	pthread_mutex_unlock(&s->lock);
}

void
stream_feed(struct stream *s, const struct stream_source *from, const void *buf,
    size_t len, uint64_t off)
{
	uint64_t end = off + len;

	pthread_mutex_lock(&s->lock);
	/* None at all: they could not be read. */
	if (len > 0)
		wait_for_others(s, off);
	if (len > 0 && off > s->at)
		note_ahead(s, off, end);
	else if (len > 0 && end > s->at)
		stream_add(s, (const char *)buf + (s->at - off), end - s->at);
	end_reading(s, off);
	take_ahead(s, from);
	pthread_mutex_unlock(&s->lock);
}
