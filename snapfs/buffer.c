#include "buffer.h"

#include <stdlib.h>

void
buffers_init(struct buffers *b)
{
	pthread_mutex_init(&b->lock, NULL);
	b->n = 0;
}

void
buffers_fini(struct buffers *b)
{
	while (b->n > 0)
		free(b->kept[--b->n]);
	pthread_mutex_destroy(&b->lock);
}

char *
buffer_get(struct buffers *b, size_t size)
{
	char *buf = NULL;

	if (size > BUFFER_SIZE)
		return malloc(size);
	pthread_mutex_lock(&b->lock);
	if (b->n > 0)
		buf = b->kept[--b->n];
	pthread_mutex_unlock(&b->lock);
	return buf != NULL ? buf : malloc(BUFFER_SIZE);
}

void
buffer_put(struct buffers *b, char *buf, size_t size)
{
	if (buf != NULL && size <= BUFFER_SIZE) {
		pthread_mutex_lock(&b->lock);
		if (b->n < BUFFERS_KEPT) {
			b->kept[b->n++] = buf;
			buf = NULL;
		}
		pthread_mutex_unlock(&b->lock);
	}
	free(buf);
}
