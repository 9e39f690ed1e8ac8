/*
 * increment.h - the files of a checkpoint's `delta`: those of the checkpoint,
 * but that `pages` has only what its parent has not.
 *
 * Its nodes are numbered behind those of the checkpoint, `base` and up; the
 * first is the directory itself.
 */
#ifndef INCREMENT_H
#define INCREMENT_H

#include "process.h"
#include "snap.h"
#include "spans.h"

struct snap_ctx;
struct increment;

/* Of each process. */
struct increment_part {
	char parent[33];    /* "": there is none, all of it is held */
	struct spans dirty; /* what was written since that was taken */
	bool settled;	    /* its runs are an increment's already */
};

/*
 * Of the tree, which is borrowed with its sources of bytes; and of as many parts
 * as there are processes.  Where a process shares memory with its parent process,
 * it does so in the increment.
 */
int increment_new(struct snap_ctx *cx, const struct family *tree,
    const struct increment_part *parts, uint32_t base, struct increment **out);
void increment_free(struct increment *inc);

/* As the functions of snap.h, for numbers from `base` up. */
uint32_t increment_nodes(const struct increment *inc); /* how many */
const struct snap_node *increment_node(const struct increment *inc, uint32_t n);
uint32_t increment_lookup(
    const struct increment *inc, uint32_t dir, const char *name);
ssize_t increment_read(
    struct increment *inc, uint32_t n, void *buf, size_t len, uint64_t off);
void increment_reading(
    struct increment *inc, uint32_t n, size_t len, uint64_t off);
void increment_served(struct increment *inc, uint32_t n, const void *buf,
    size_t len, uint64_t off);

#endif
