#include "handle.h"

#include <assert.h>
#include <stdlib.h>

#define HANDLE_MAGIC 0x736e6170u

struct handle *
handle_new(const struct node *node)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->magic = HANDLE_MAGIC;
	h->node = *node;
	return h;
}

void
handle_free(struct handle *h)
{
	if (h == NULL)
		return;
	h->magic = 0;
	free(h->procs);
	free(h->text);
	free(h->pending);
	free(h);
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
