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
 * is whole.  The parents are those above it: a run's bytes are in `pages` of
 * the one so many above, which is still to be verified.
 *
 * ENOENT no parent with that id; EINVAL two of them; EBADMSG a link that does
 * not fit or is damaged; ELOOP a circle; E2BIG too long a chain.
 */
int chain_resolve(struct snap_ctx *cx, int dir, const int *more, size_t nmore,
    struct family *f);

#endif
