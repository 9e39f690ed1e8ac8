/*
 * image_hasher.c - the sums of an image that is being read by others.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "image.h"
#include "image_sums.h"
#include "pagesums.h"
#include "text.h"

#define DIGITS 32
#define CHUNK (1u << 20)
#define CHECKPOINT "checkpoint"
#define AHEAD_MAX 16 /* pieces that came before those in front of them */

/* From `dir` on, in which it is. */
static void
put_path(
    struct text *t, const struct image_tree *tree, uint32_t dir, uint32_t n)
{
	uint32_t parent = tree->v[n].node.parent;

	if (parent != dir) {
		put_path(t, tree, dir, parent);
		text_puts(t, "/");
	}
	text_puts(t, tree->v[n].name);
}

/* A directory's nodes follow it, up to the first that is not in it. */
static uint32_t
end_of(const struct image_tree *t, uint32_t dir)
{
	uint32_t n = dir + 1;

	while (n < t->n && t->v[n].node.parent >= dir)
		n++;
	return n;
}

static bool
is_summed(const struct image_tree *t, size_t i)
{
	return t->v[i].node.type == SNAP_FILE && t->v[i].source != IMAGE_SUMS;
}

uint64_t
image_sums_length(const struct image_tree *t, uint32_t dir)
{
	uint64_t len = 0;

	for (size_t i = dir + 1; i < end_of(t, dir); i++) {
		if (!is_summed(t, i))
			continue;
		len += DIGITS + 3;
		for (uint32_t k = (uint32_t)i; k != dir;
		     k = t->v[k].node.parent)
			len +=
			    strlen(t->v[k].name) + (t->v[k].node.parent != dir);
	}
	return len;
}

/* ---- hashing while others read ---- */

struct piece {
	uint64_t off, end;
};

/* The hash of one file as far as it is known without a gap. */
struct stream {
	pthread_mutex_t lock; /* of all below */
	XXH3_state_t *state;
	uint64_t at;
	struct piece ahead[AHEAD_MAX];
	unsigned nahead;
	/* Of `pages`: the sums of its pieces, and the piece at `at`. */
	struct pagesums *pieces;
	XXH3_state_t *piece;
};

struct image_hasher {
	const struct image_tree *t;
	image_read_fn *read;
	void *arg;
	struct stream **streams; /* by node; NULL where the text is at hand */
};

static void
stream_free(struct stream *s)
{
	if (s == NULL)
		return;
	XXH3_freeState(s->state);
	XXH3_freeState(s->piece);
	pagesums_free(s->pieces);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static struct stream *
stream_new(const struct image_node *n)
{
	struct stream *s = calloc(1, sizeof(*s));
	bool pages = n->source == IMAGE_PAGES;

	if (s == NULL)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
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

		XXH3_128bits_update(s->piece, buf, n);
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
	XXH3_128bits_update(s->state, buf, len);
	if (s->pieces != NULL)
		add_to_pieces(s, buf, len);
	s->at += len;
}

void
image_hasher_free(struct image_hasher *h)
{
	if (h == NULL)
		return;
	for (size_t i = 0; h->streams != NULL && i < h->t->n; i++)
		stream_free(h->streams[i]);
	free(h->streams);
	free(h);
}

static bool
make_streams(struct image_hasher *h)
{
	for (size_t i = 0; i < h->t->n; i++) {
		if (!is_summed(h->t, i) || h->t->v[i].text != NULL)
			continue;
		if (h->t->v[i].source == IMAGE_PAGESUMS)
			continue;
		h->streams[i] = stream_new(&h->t->v[i]);
		if (h->streams[i] == NULL)
			return false;
	}
	return true;
}

struct image_hasher *
image_hasher_new(const struct image_tree *t, image_read_fn *read, void *arg)
{
	struct image_hasher *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->t = t;
	h->read = read;
	h->arg = arg;
	h->streams = calloc(t->n, sizeof(*h->streams));
	if (h->streams == NULL || !make_streams(h)) {
		image_hasher_free(h);
		return NULL;
	}
	return h;
}

/* Read on up to `end` and hash that; the lock is held. */
static int
catch_up(struct image_hasher *h, uint32_t n, struct stream *s, uint64_t end)
{
	char *buf = malloc(CHUNK);
	ssize_t got = 1;

	if (buf == NULL)
		return -ENOMEM;
	while (s->at < end && got > 0) {
		uint64_t want = end - s->at < CHUNK ? end - s->at : CHUNK;

		got = h->read(h->arg, n, buf, want, s->at);
		if (got > 0)
			stream_add(s, buf, (uint64_t)got);
	}
	free(buf);
	return got > 0 ? 0 : got < 0 ? (int)got : -EIO;
}

/*
 * Requests for one file are served by several threads, so that a piece may
 * come before the one in front of it: it is noted, and read again once that
 * has come.  A piece far ahead is of a reader that seeks, and forgotten.
 */
static void
note_ahead(struct stream *s, uint64_t off, uint64_t end)
{
	if (s->nahead < AHEAD_MAX && off - s->at <= AHEAD_MAX * CHUNK)
		s->ahead[s->nahead++] = (struct piece){ off, end };
}

static void
take_ahead(struct image_hasher *h, uint32_t n, struct stream *s)
{
	for (unsigned i = 0; i < s->nahead;) {
		struct piece p = s->ahead[i];

		if (p.off > s->at) {
			i++;
			continue;
		}
		s->ahead[i] = s->ahead[--s->nahead];
		if (p.end > s->at && catch_up(h, n, s, p.end) < 0)
			return;
		i = 0;
	}
}

void
image_hasher_feed(struct image_hasher *h, uint32_t n, const void *buf,
    size_t len, uint64_t off)
{
	struct stream *s = n < h->t->n ? h->streams[n] : NULL;
	uint64_t end = off + len;

	if (s == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	if (off > s->at) {
		note_ahead(s, off, end);
	} else if (end > s->at) {
		stream_add(s, (const char *)buf + (s->at - off), end - s->at);
		take_ahead(h, n, s);
	}
	pthread_mutex_unlock(&s->lock);
}

int
image_hasher_pagesums(
    struct image_hasher *h, uint32_t n, char **text, size_t *len)
{
	struct stream *s = n > 0 && n < h->t->n ? h->streams[n - 1] : NULL;
	struct text t = { 0 };
	XXH128_canonical_t c;
	int err;

	if (s == NULL || s->pieces == NULL)
		return -ENOENT;
	pthread_mutex_lock(&s->lock);
	err = catch_up(h, n - 1, s, s->pieces->size);
	if (err == 0) {
		XXH128_canonicalFromHash(&c, XXH3_128bits_digest(s->state));
		memcpy(s->pieces->whole, c.digest, sizeof(c.digest));
		pagesums_write(&t, s->pieces);
	}
	pthread_mutex_unlock(&s->lock);
	*text = text_take(&t, len);
	if (err == 0 && *text == NULL)
		err = -ENOMEM;
	return err;
}

static int
pagesums_hash(struct image_hasher *h, uint32_t n, XXH128_hash_t *hash)
{
	char *text = NULL;
	size_t len = 0;
	int err = image_hasher_pagesums(h, n, &text, &len);

	if (err == 0)
		*hash = XXH3_128bits(text, len);
	free(text);
	return err;
}

static int
node_hash(struct image_hasher *h, uint32_t n, XXH128_hash_t *hash)
{
	const struct image_node *node = &h->t->v[n];
	struct stream *s = h->streams[n];
	int err = 0;

	if (node->source == IMAGE_PAGESUMS)
		return pagesums_hash(h, n, hash);
	if (s == NULL) {
		*hash = XXH3_128bits(node->text, node->node.size);
		return 0;
	}
	pthread_mutex_lock(&s->lock);
	if (s->at < node->node.size)
		err = catch_up(h, n, s, node->node.size);
	*hash = XXH3_128bits_digest(s->state);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int
put_sum(struct text *t, struct image_hasher *h, uint32_t dir, uint32_t n)
{
	XXH128_canonical_t c;
	XXH128_hash_t hash;
	int err;

	err = node_hash(h, n, &hash);
	if (err < 0)
		return err;
	XXH128_canonicalFromHash(&c, hash);
	text_hex(t, c.digest, sizeof(c.digest));
	text_puts(t, "  ");
	put_path(t, h->t, dir, n);
	text_puts(t, "\n");
	return 0;
}

int
image_hasher_sums(struct image_hasher *h, uint32_t dir, char **text)
{
	const struct image_tree *t = h->t;
	uint32_t checkpoint = 0, end = end_of(t, dir);
	struct text out = { 0 };
	int err = 0;

	for (uint32_t i = dir + 1; err == 0 && i < end; i++) {
		if (!is_summed(t, i))
			continue;
		if (t->v[i].node.parent == dir &&
		    strcmp(t->v[i].name, CHECKPOINT) == 0)
			checkpoint = i;
		else
			err = put_sum(&out, h, dir, i);
	}
	if (err == 0)
		err = put_sum(&out, h, dir, checkpoint);
	if (err < 0) {
		text_fini(&out);
		return err;
	}
	*text = text_take(&out, NULL);
	return *text == NULL ? -ENOMEM : 0;
}
