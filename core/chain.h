/*
 * chain.h - an increment and its parents, read together.
 *
 * The parents are looked for by their ids among the directories beside the
 * increment, and in those that are given.  Every link is read as strictly as an
 * image, verified against its sums, and must fit: another checkpoint of the same
 * process, taken before, that holds each page that is said to be its.
 */
#ifndef CHAIN_H
#define CHAIN_H

#include "process.h"

struct snap_ctx;
struct image_sums;

#define CHAIN_MAX 1000 /* links */

/*
 * `p` was read from `dir` with its sums and is an increment: afterwards it is
 * whole.  Its runs say where their bytes are (src_fd, src_off), for
 * memory_read(); there is no file `pages` of them.  The descriptors are in *fds,
 * to be closed by chain_close() when `p` is read no more.
 *
 * ENOENT no parent with that id; EINVAL two of them; EBADMSG a link that does
 * not fit or is damaged; ELOOP a circle; E2BIG too long a chain.
 */
struct chain_fds {
	int *v;
	size_t n;
};

int chain_resolve(struct snap_ctx *cx, int dir, const int *more, size_t nmore,
    struct process *p, const struct image_sums *sums, struct chain_fds *fds);
void chain_close(struct chain_fds *fds);

/* Put all bytes of a resolved one into a file of its own, p->pages_fd. */
int chain_collect(struct snap_ctx *cx, struct process *p);

#endif
