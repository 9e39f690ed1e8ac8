#include "spans.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

void
spans_fini(struct spans *s)
{
	free(s->v);
	*s = (struct spans){ 0 };
}

int
spans_add(struct spans *s, uint64_t start, uint64_t end)
{
	struct span *v;
	size_t room;

	if (s->n > 0 && start <= s->v[s->n - 1].end) {
		if (s->v[s->n - 1].end < end)
			s->v[s->n - 1].end = end;
		return 0;
	}
	if (s->n == s->room) {
		room = s->room == 0 ? 64 : s->room * 2;
		v = reallocarray(s->v, room, sizeof(*v));
		if (v == NULL)
			return -ENOMEM;
		s->v = v;
		s->room = room;
	}
	s->v[s->n++] = (struct span){ start, end };
	return 0;
}

int
spans_unite(struct spans *s, const struct spans *other)
{
	struct spans sum = { 0 };
	size_t i = 0, k = 0;
	int err = 0;

	while (err == 0 && (i < s->n || k < other->n)) {
		const struct span *next =
		    k == other->n ||
			    (i < s->n && s->v[i].start <= other->v[k].start)
			? &s->v[i++]
			: &other->v[k++];

		err = spans_add(&sum, next->start, next->end);
	}
	if (err < 0) {
		spans_fini(&sum);
		return err;
	}
	spans_fini(s);
	*s = sum;
	return 0;
}

int
spans_subtract(struct spans *s, const struct spans *other)
{
	struct spans rest = { 0 };
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->n; i++) {
		uint64_t at = s->v[i].start, end = s->v[i].end;

		while (k < other->n && other->v[k].end <= at)
			k++;
		/* The last one may reach into the next range. */
		for (size_t n = k; err == 0 && at < end; n++) {
			bool is = n < other->n && other->v[n].start < end;
			uint64_t to = is ? other->v[n].start : end;

			if (to > at)
				err = spans_add(&rest, at, to);
			at = is ? other->v[n].end : end;
			k = is ? n : k;
		}
	}
	if (err < 0) {
		spans_fini(&rest);
		return err;
	}
	spans_fini(s);
	*s = rest;
	return 0;
}

uint64_t
spans_bytes(const struct spans *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += s->v[i].end - s->v[i].start;
	return sum;
}

int
spans_contain(const struct spans *s, uint64_t at, uint64_t limit, uint64_t *end)
{
	size_t lo = 0, hi = s->n;

	/* The first that ends above `at`. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->v[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	*end = limit;
	if (lo == s->n)
		return 0;
	if (s->v[lo].start <= at) {
		if (s->v[lo].end < limit)
			*end = s->v[lo].end;
		return 1;
	}
	if (s->v[lo].start < limit)
		*end = s->v[lo].start;
	return 0;
}
