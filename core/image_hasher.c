/*
 * image_hasher.c - the sums of an image that is being read by others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "image_stream.h"
#include "image_sums.h"
#include "text.h"

#define DIGITS 32
#define CHECKPOINT "checkpoint"

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
	const size_t end = end_of(t, dir);
	uint64_t len = 0;

	for (size_t i = dir + 1; i < end; i++) {
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

struct image_hasher {
	const struct image_tree *t;
	image_read_fn *read;
	void *arg;
	struct stream **streams; /* by node; NULL where the text is at hand */
};

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

static struct stream *
stream_of(struct image_hasher *h, uint32_t n)
{
	return n < h->t->n ? h->streams[n] : NULL;
}

static struct stream_source
source(struct image_hasher *h, uint32_t n)
{
	return (struct stream_source){ h->read, h->arg, n };
}

void
image_hasher_begin(struct image_hasher *h, uint32_t n, size_t len, uint64_t off)
{
	struct stream *s = stream_of(h, n);

	if (s != NULL)
		stream_begin(s, off, len);
}

void
image_hasher_feed(struct image_hasher *h, uint32_t n, const void *buf,
    size_t len, uint64_t off)
{
	struct stream *s = stream_of(h, n);
	struct stream_source from = source(h, n);

	if (s != NULL)
		stream_feed(s, &from, buf, len, off);
}

int
image_hasher_pagesums(
    struct image_hasher *h, uint32_t n, char **text, size_t *len)
{
	struct stream *s = n > 0 && n < h->t->n ? h->streams[n - 1] : NULL;
	const struct stream_source from = source(h, n - 1);
	struct text t = { 0 };
	XXH128_canonical_t c;
	int err;

	if (s == NULL || s->pieces == NULL)
		return -ENOENT;
	pthread_mutex_lock(&s->lock);
	err = stream_catch_up(s, &from, s->pieces->size);
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
	const struct stream_source from = source(h, n);
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
		err = stream_catch_up(s, &from, node->node.size);
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
