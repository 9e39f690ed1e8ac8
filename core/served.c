#include "served.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "memory.h"

static ssize_t
read_bytes(const char *text, uint64_t size, void *buf, size_t len, uint64_t off)
{
	if (off >= size)
		return 0;
	if (len > size - off)
		len = size - off;
	memcpy(buf, text + off, len);
	return (ssize_t)len;
}

static ssize_t
read_content(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	do
		n = pread(fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Of all but the sums. */
static ssize_t
read_node(void *arg, uint32_t n, void *buf, size_t len, uint64_t off)
{
	struct served *s = arg;
	const struct image_node *node = &s->tree.v[n];

	switch (node->source) {
	case IMAGE_CONTENT:
		return read_content(node->content_fd, buf, len, off);
	case IMAGE_PAGES:
		return memory_read(node->p, buf, len, off);
	default:
		return read_bytes(node->text, node->node.size, buf, len, off);
	}
}

int
served_init(struct snap_ctx *cx, struct served *s, const struct process *p,
    bool only_root)
{
	int err;

	*s = (struct served){ 0 };
	pthread_mutex_init(&s->lock, NULL);
	err = only_root ? image_write_root(cx, p, &s->tree)
			: image_write(cx, p, &s->tree);
	if (err < 0)
		return err;
	s->sums = calloc(s->tree.n, sizeof(*s->sums));
	s->hasher = image_hasher_new(&s->tree, read_node, s);
	return s->sums == NULL || s->hasher == NULL
		   ? snap_fail(cx, -ENOMEM, "no memory")
		   : 0;
}

void
served_fini(struct served *s)
{
	image_hasher_free(s->hasher);
	for (size_t i = 0; s->sums != NULL && i < s->tree.n; i++)
		free(s->sums[i]);
	free(s->sums);
	image_tree_free(&s->tree);
	pthread_mutex_destroy(&s->lock);
}

/* Computed when they are first read, which is after all else in one `cp -r`. */
static int
make_sums(struct served *s, uint32_t n)
{
	const struct image_node *node = &s->tree.v[n];
	size_t size;

	if (node->source == IMAGE_PAGESUMS)
		return image_hasher_pagesums(s->hasher, n, &s->sums[n], &size);
	return image_hasher_sums(s->hasher, node->node.parent, &s->sums[n]);
}

static ssize_t
read_sums(struct served *s, uint32_t n, void *buf, size_t len, uint64_t off)
{
	int err;

	pthread_mutex_lock(&s->lock);
	if (s->sums[n] == NULL && s->error == 0)
		s->error = make_sums(s, n);
	err = s->error;
	pthread_mutex_unlock(&s->lock);
	/* From here on the text does not change any more. */
	return err != 0 ? err
			: read_bytes(s->sums[n], s->tree.v[n].node.size, buf,
			      len, off);
}

ssize_t
served_read(struct served *s, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct image_node *node = &s->tree.v[n];

	if (node->source == IMAGE_SUMS || node->source == IMAGE_PAGESUMS)
		return read_sums(s, n, buf, len, off);
	return read_node(s, n, buf, len, off);
}

void
served_begin(struct served *s, uint32_t n, size_t len, uint64_t off)
{
	image_hasher_begin(s->hasher, n, len, off);
}

void
served_feed(
    struct served *s, uint32_t n, const void *buf, size_t len, uint64_t off)
{
	image_hasher_feed(s->hasher, n, buf, len, off);
}
