/*
 * buffer.h - memory for replies, used again: a fresh MiB for each read would
 * be mapped, faulted in and unmapped each time.
 */
#ifndef BUFFER_H
#define BUFFER_H

#include <pthread.h>
#include <stddef.h>

#define BUFFER_SIZE (1u << 20) /* the largest read the kernel asks for */
#define BUFFERS_KEPT 8u

struct buffers {
	pthread_mutex_t lock;
	char *kept[BUFFERS_KEPT];
	size_t n;
};

void buffers_init(struct buffers *b);
void buffers_fini(struct buffers *b);

/* NULL: no memory.  buffer_put() wants the same `size`, and accepts NULL. */
char *buffer_get(struct buffers *b, size_t size);
void buffer_put(struct buffers *b, char *buf, size_t size);

#endif
