/*
 * seen.h - what a scan of a process's memory saw: ranges of pages that are of
 * one kind, in order.  What is not there is in none.  Pure.
 */
#ifndef SEEN_H
#define SEEN_H

#include <stddef.h>
#include <stdint.h>

#include "spans.h"

struct seen_range {
	uint64_t start, end;
	uint64_t is; /* PAGE_IS_... */
};

struct seen {
	struct seen_range *v;
	size_t n, room;
};

void seen_fini(struct seen *s);

/* Add a range that begins where the last one ends, or above: 0 or -ENOMEM. */
int seen_add(struct seen *s, uint64_t start, uint64_t end, uint64_t is);

/* The index of the first range that ends above `at`. */
size_t seen_first(const struct seen *s, uint64_t at);

/*
 * Add to `now` what is in [start, end): `fresh` where it was looked at again,
 * in `again`, and what was there before, not written since, elsewhere.
 */
int seen_renew(struct seen *now, const struct seen *before, uint64_t start,
    uint64_t end, const struct spans *again, const struct seen *fresh);

#endif
