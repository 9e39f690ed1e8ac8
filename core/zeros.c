#include "zeros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "vma.h"

#define PAGE 4096ull
#define STRIDE (ZEROS_MIN * PAGE)

struct search {
	struct run *v; /* the new runs */
	size_t n;
	uint8_t buf[STRIDE];
};

static bool
is_zero(const uint8_t *b, size_t n)
{
	return b[0] == 0 && memcmp(b, b + 1, n - 1) == 0;
}

/* How many of the `n` pages at `at`, from the first on, have nothing in them. */
static size_t
zeros_at(struct search *s, const struct run *r, uint64_t at, size_t n)
{
	size_t k = 0;
	ssize_t got;

	if (n > ZEROS_MIN)
		n = ZEROS_MIN;
	got = pread(
	    r->src_fd, s->buf, n * PAGE, (off_t)(r->src_off + (at - r->start)));
	while (got > 0 && k < (size_t)got / PAGE &&
	       is_zero(s->buf + k * PAGE, PAGE))
		k++;
	return k;
}

static bool
page_is_zero(struct search *s, const struct run *r, uint64_t at)
{
	return zeros_at(s, r, at, 1) == 1;
}

static uint64_t
end_of_row(struct search *s, const struct run *r, uint64_t at)
{
	size_t k = ZEROS_MIN;

	while (k == ZEROS_MIN && at < r->end) {
		k = zeros_at(s, r, at, (r->end - at) / PAGE);
		at += k * PAGE;
	}
	return at;
}

/*
 * A row that is long enough has a page whose address is a multiple of its
 * length, so only these are looked at.
 */
static int
split(struct search *s, const struct run *r)
{
	uint64_t held = r->start;
	uint64_t at = (r->start + STRIDE - 1) & ~(STRIDE - 1);
	int err = 0;

	while (err == 0 && at < r->end) {
		uint64_t from = at, to = at;

		if (page_is_zero(s, r, at))
			to = end_of_row(s, r, at);
		while (
		    to > at && from > held && page_is_zero(s, r, from - PAGE))
			from -= PAGE;
		if (to - from >= STRIDE) {
			err = process_add_part(
			    &s->v, &s->n, r, held, from, RUN_HELD);
			if (err == 0)
				err = process_add_part(
				    &s->v, &s->n, r, from, to, RUN_ZERO);
			held = to;
		}
		at = (to / STRIDE + 1) * STRIDE;
	}
	return err == 0
		   ? process_add_part(&s->v, &s->n, r, held, r->end, RUN_HELD)
		   : err;
}

int
zeros_find(struct snap_ctx *cx, struct process *p)
{
	struct search *s = calloc(1, sizeof(*s));
	int err = s == NULL ? -ENOMEM : 0;

	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];
		const struct vma *v = vma_find(p, r->start);

		if (r->kind == RUN_HELD && v != NULL && v->kind == VMA_ANON)
			err = split(s, r);
		else
			err = process_add_part(
			    &s->v, &s->n, r, r->start, r->end, r->kind);
	}
	if (err == 0) {
		free(p->runs);
		p->runs = s->v;
		p->nruns = s->n;
	} else if (s != NULL) {
		free(s->v);
	}
	free(s);
	return err < 0 ? snap_fail(cx, err, "no memory") : 0;
}
