#include "seen.h"

#include <errno.h>
#include <stdlib.h>

#include "uapi.h"

void
seen_fini(struct seen *s)
{
	free(s->v);
	*s = (struct seen){ 0 };
}

int
seen_add(struct seen *s, uint64_t start, uint64_t end, uint64_t is)
{
	struct seen_range *last = s->n > 0 ? &s->v[s->n - 1] : NULL, *v;
	size_t room;

	if (last != NULL && last->end == start && last->is == is) {
		last->end = end;
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
	s->v[s->n++] = (struct seen_range){ start, end, is };
	return 0;
}

size_t
seen_first(const struct seen *s, uint64_t at)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->v[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* What `from` has in [start, end); from range *i on, which moves. */
static int
add_part(struct seen *now, const struct seen *from, size_t *i, uint64_t start,
    uint64_t end, uint64_t but)
{
	const struct seen_range *r;
	int err = 0;

	if (start >= end)
		return 0;
	for (; err == 0 && *i < from->n && from->v[*i].start < end; ++*i) {
		r = &from->v[*i];
		if (r->end > start)
			err = seen_add(now, r->start > start ? r->start : start,
			    r->end < end ? r->end : end, r->is & ~but);
		/* The rest of it is for the next part. */
		if (r->end > end)
			break;
	}
	return err;
}

int
seen_renew(struct seen *now, const struct seen *before, uint64_t start,
    uint64_t end, const struct spans *again, const struct seen *fresh)
{
	size_t i = seen_first(before, start), k = 0;
	uint64_t at = start;
	int err = 0;

	for (size_t n = 0; err == 0 && n < again->n; n++) {
		const struct span *s = &again->v[n];

		err = add_part(
		    now, before, &i, at, s->start, UAPI_PAGE_IS_WRITTEN);
		if (err == 0)
			err = add_part(now, fresh, &k, s->start, s->end, 0);
		at = s->end;
	}
	return err == 0
		   ? add_part(now, before, &i, at, end, UAPI_PAGE_IS_WRITTEN)
		   : err;
}
