#include "handle.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#define HANDLE_MAGIC 0x736e6170u

struct handle *
handle_new(const struct node *node)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->magic = HANDLE_MAGIC;
	h->node = *node;
	h->terminal = -1;
	return h;
}

void
handle_free(struct handle *h)
{
	size_t i;

	if (h == NULL)
		return;
	h->magic = 0;
	free(h->procs);
	for (i = 0; i < h->nnamed; i++)
		free(h->named[i].name);
	free(h->named);
	free(h->text);
	free(h->pending);
	if (h->terminal >= 0)
		close(h->terminal);
	free(h);
}

size_t
handle_text(struct handle *h, size_t size, off_t off, const char **text)
{
	/*
	 * After a write the offset stands behind what was written, and a read
	 * goes on there; whoever seeks back counts from 0.
	 */
	if (off < h->base)
		h->base = 0;
	off -= h->base;
	if (off >= (off_t)h->len)
		return 0;
	*text = h->text + off;
	return size < h->len - (size_t)off ? size : h->len - (size_t)off;
}

uint64_t
handle_fh(struct handle *h)
{
	return (uint64_t)(uintptr_t)h;
}

struct handle *
handle_of(const struct fuse_file_info *fi)
{
	struct handle *h = (struct handle *)(uintptr_t)fi->fh;

	assert(h != NULL && h->magic == HANDLE_MAGIC);
	return h;
}
