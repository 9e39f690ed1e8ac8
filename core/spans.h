/*
 * spans.h - sets of addresses: ranges in order that do not touch.  Pure.
 */
#ifndef SPANS_H
#define SPANS_H

#include <stddef.h>
#include <stdint.h>

struct span {
	uint64_t start, end;
};

struct spans {
	struct span *v;
	size_t n, room;
};

void spans_fini(struct spans *s);

/* Add a range that does not begin below the last one: 0 or -ENOMEM. */
int spans_add(struct spans *s, uint64_t start, uint64_t end);

/* `s` becomes the union of both: 0, or -ENOMEM and it is as it was. */
int spans_unite(struct spans *s, const struct spans *other);

/* What is in `other` is taken out of `s`: as spans_unite(). */
int spans_subtract(struct spans *s, const struct spans *other);

uint64_t spans_bytes(const struct spans *s);

/*
 * Is `at` in one of them?  *end becomes where the answer changes, at most
 * `limit`, which is above `at`.
 */
int spans_contain(
    const struct spans *s, uint64_t at, uint64_t limit, uint64_t *end);

#endif
