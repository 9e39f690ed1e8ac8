/*
 * served.h - an image that was written to memory, and is read by others: its
 * texts, its pages, and the sums of what they were given.
 */
#ifndef SERVED_H
#define SERVED_H

#include <pthread.h>

#include "image.h"

struct served {
	struct image_tree tree;
	struct image_hasher *hasher;
	pthread_mutex_t lock; /* of all below */
	char **sums;	      /* by node: the texts that are sums, once known */
	int error;	      /* why there are none */
};

/*
 * Write the image of p and all below it, which are borrowed: 0 or -errno.  To be
 * released in any case; what is all zero may be released, too.  `only_root`:
 * nothing but the directory itself.
 */
int served_init(struct snap_ctx *cx, struct served *s, const struct process *p,
    bool only_root);
void served_fini(struct served *s);

/* As snap_checkpoint_reading(), snap_checkpoint_read(), snap_checkpoint_served(). */
void served_begin(struct served *s, uint32_t n, size_t len, uint64_t off);
ssize_t served_read(
    struct served *s, uint32_t n, void *buf, size_t len, uint64_t off);
void served_feed(
    struct served *s, uint32_t n, const void *buf, size_t len, uint64_t off);

#endif
