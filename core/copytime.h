/*
 * copytime.h - how long a tree may be frozen for copying what no twin has: all
 * copies together for freeze_timeout.
 */
#ifndef COPYTIME_H
#define COPYTIME_H

#include "process.h"

struct snap_ctx;

/* A copy that is under way; end 0: it may take as long as it does. */
struct copytime {
	uint64_t begun, end;
};

/* The tree is frozen, it is thawed. */
void copytime_limit(struct family *t, unsigned ms);
void copytime_free(struct family *t);

struct copytime copytime_begin(const struct process *p);
/* now_ns() at which it must be over; never, if that is so. */
uint64_t copytime_end(const struct copytime *c);
void copytime_finish(const struct copytime *c, struct process *p);

/*
 * 0 (always of NULL), or -ETIMEDOUT: it is over, or will be long before what is `left` of these
 * bytes is copied, as fast as the `done` ones were.
 */
int copytime_check(const struct copytime *c, uint64_t done, uint64_t left);

/* The sentence: `size` bytes of `what`.  Returns -ETIMEDOUT. */
int copytime_fail(struct snap_ctx *cx, const struct process *p,
    const char *what, uint64_t size);

#endif
