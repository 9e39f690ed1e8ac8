/*
 * chain.h - an increment and its parents, read together.
 *
 * The parents are looked for by their ids among the directories beside the
 * increment, and in those that are given.  Every link is read as strictly as an
 * image and must fit: another checkpoint of the same process, taken before,
 * that holds each page that is said to be its.
 */
#ifndef CHAIN_H
#define CHAIN_H

#include "process.h"

struct snap_ctx;

#define CHAIN_MAX 1000 /* links */

/*
 * `f` was read from `dir`, and its first process is an increment: afterwards it
 * is whole, its memory resolved.  Those of its parents whose pages it needs are
 * those above it, and still to be verified.
 *
 * Of a tree each process that was there at the parent's checkpoint names what
 * was its own there; one that is new holds all its memory.  What a process has
 * in common with its parent process is said by each link for its own time.
 *
 * ENOENT no parent with that id; EINVAL two of them; EBADMSG a link that does
 * not fit or is damaged; ELOOP a circle; E2BIG too long a chain.
 */
int chain_resolve(struct snap_ctx *cx, int dir, const int *more, size_t nmore,
    struct family *f);

#endif
