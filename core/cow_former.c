/*
 * cow_former.c - pages that children of one process share, and it has no
 * longer: they are what it had when it forked them.  They are held once, by it.
 *
 * Where the children's twins have the same frames, they are one page.  Where
 * frames are not told (to those without a right to know, or of what is swapped
 * out), the bytes are compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "cow.h"
#include "cow_frame.h"
#include "ctx.h"
#include "memory.h"
#include "proc.h"
#include "twin.h"

#define PIECE 512u /* pages looked at in one go */
#define HASHED (1ull << 63)

enum relation { OWN, FORMER, CURRENT };

struct kid {
	struct process *p;
	int pagemap;
	size_t at, from; /* of its runs: what was not looked at, not passed */
	uint64_t key[PIECE]; /* what its page is; 0: it holds none */
	bool holds;	     /* any of them */
	uint8_t is[PIECE];   /* its relation to its parent's page */
	uint8_t meant;	     /* what it is to the last of the parent's runs */
	struct run *v;	     /* its new runs */
	size_t n;
};

struct vote {
	uint64_t key;
	size_t kid;
};

struct search {
	struct snap_ctx *cx;
	struct process *parent;
	struct kid *v;
	size_t n;
	struct vote *votes;
	uint64_t start, end; /* of the piece */
	bool found;
};

/* What was copied while it was frozen is not in the twin. */
static bool
can_be_former(const struct kid *k, const struct run *r)
{
	return r->kind == RUN_HELD && r->src_fd == k->p->pages_fd;
}

/* ---- what they have ---- */

static bool
next_piece(struct search *s)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < s->n; i++) {
		struct kid *k = &s->v[i];
		const struct run *r;
		uint64_t at;

		while (k->at < k->p->nruns &&
		       (k->p->runs[k->at].end <= s->end ||
			   !can_be_former(k, &k->p->runs[k->at])))
			k->at++;
		if (k->at == k->p->nruns)
			continue;
		r = &k->p->runs[k->at];
		at = r->start > s->end ? r->start : s->end;
		first = at < first ? at : first;
	}
	s->start = first;
	s->end = first + PIECE * COW_PAGE;
	return first != UINT64_MAX;
}

static uint64_t
hash_of(const struct kid *k, uint64_t at)
{
	uint8_t page[COW_PAGE];

	if (pread(k->p->pages_fd, page, sizeof(page), (off_t)at) !=
	    (ssize_t)sizeof(page))
		return 0;
	return XXH3_64bits(page, sizeof(page)) | HASHED;
}

static bool
entries(const struct search *s, const struct kid *k, uint64_t *v)
{
	const size_t len = PIECE * sizeof(*v);

	return pread(k->pagemap, v, len,
		   (off_t)(s->start / COW_PAGE * sizeof(*v))) == (ssize_t)len;
}

/* Which of its pages are held (1 in key), and which are its parent's. */
static bool
relate(const struct search *s, struct kid *k)
{
	bool holds = false;

	memset(k->key, 0, sizeof(k->key));
	memset(k->is, OWN, sizeof(k->is));
	while (k->from < k->p->nruns && k->p->runs[k->from].end <= s->start)
		k->from++;
	for (size_t i = k->from; i < k->p->nruns; i++) {
		const struct run *r = &k->p->runs[i];
		uint64_t at = r->start > s->start ? r->start : s->start;

		if (r->start >= s->end)
			break;
		for (; at < r->end && at < s->end; at += COW_PAGE) {
			size_t n = (at - s->start) / COW_PAGE;

			k->key[n] = can_be_former(k, r);
			if (r->kind == RUN_INHERITED)
				k->is[n] = CURRENT;
		}
		holds |= can_be_former(k, r);
	}
	return holds;
}

static void
look(const struct search *s, struct kid *k)
{
	uint64_t v[PIECE];

	if (!entries(s, k, v))
		memset(v, 0, sizeof(v));
	for (size_t i = 0; i < PIECE; i++) {
		if (k->key[i] == 0)
			continue;
		k->key[i] = cow_frame(v[i]);
		if (k->key[i] == 0)
			k->key[i] = hash_of(k, s->start + i * COW_PAGE);
	}
}

static void
look_again(const struct search *s, struct kid *k)
{
	uint64_t v[PIECE];

	if (!entries(s, k, v))
		memset(v, 0, sizeof(v));
	for (size_t i = 0; i < PIECE; i++)
		if ((k->key[i] & HASHED) == 0 && k->key[i] != cow_frame(v[i]))
			k->key[i] = 0;
}

/* ---- which of them are one ---- */

static int
by_key(const void *a, const void *b)
{
	const struct vote *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->kid < y->kid ? -1 : x->kid > y->kid;
}

/* Most of those that have page `i`: their number, at votes[*first]. */
static size_t
most(struct search *s, size_t i, size_t *first)
{
	size_t n = 0, best = 0, from = 0;

	for (size_t k = 0; k < s->n; k++)
		if (s->v[k].key[i] != 0)
			s->votes[n++] = (struct vote){ s->v[k].key[i], k };
	qsort(s->votes, n, sizeof(*s->votes), by_key);
	for (size_t k = 1; k <= n; k++) {
		if (k < n && s->votes[k].key == s->votes[from].key)
			continue;
		if (k - from > best) {
			best = k - from;
			*first = from;
		}
		from = k;
	}
	return best;
}

static bool
same_bytes(const struct kid *a, const struct kid *b, uint64_t at)
{
	uint8_t x[COW_PAGE], y[COW_PAGE];

	return pread(a->p->pages_fd, x, sizeof(x), (off_t)at) ==
		   (ssize_t)sizeof(x) &&
	       pread(b->p->pages_fd, y, sizeof(y), (off_t)at) ==
		   (ssize_t)sizeof(y) &&
	       memcmp(x, y, sizeof(x)) == 0;
}

/* Of the last run of the parent: do all mean the same by this page? */
static bool
goes_on(const struct search *s, const struct kid *rep, size_t i, uint64_t at)
{
	const struct process *q = s->parent;
	const struct run *r =
	    q->nformer > 0 ? &q->former[q->nformer - 1] : NULL;

	if (r == NULL || r->end != at || r->src_fd != rep->p->pages_fd)
		return false;
	for (size_t k = 0; k < s->n; k++)
		if (s->v[k].is[i] != OWN && s->v[k].meant != OWN &&
		    s->v[k].is[i] != s->v[k].meant)
			return false;
	return true;
}

static int
put_former(struct search *s, const struct kid *rep, size_t i)
{
	const uint64_t at = s->start + i * COW_PAGE;
	struct process *q = s->parent;
	bool same = goes_on(s, rep, i, at);
	struct run *r;

	if (same) {
		r = &q->former[q->nformer - 1];
		r->end += COW_PAGE;
	} else {
		r = process_grow(&q->former, &q->nformer, sizeof(*r));
		if (r == NULL)
			return -ENOMEM;
		*r = (struct run){ .start = at,
			.end = at + COW_PAGE,
			.kind = RUN_HELD,
			.src_fd = rep->p->pages_fd,
			.src_off = at };
	}
	for (size_t k = 0; k < s->n; k++)
		if (!same || s->v[k].is[i] != OWN)
			s->v[k].meant = s->v[k].is[i];
	return 0;
}

static int
vote(struct search *s, size_t i)
{
	size_t first = 0, n = most(s, i, &first), found = 0;
	const uint64_t at = s->start + i * COW_PAGE;
	struct kid *rep;

	if (n < 2)
		return 0;
	rep = &s->v[s->votes[first].kid];
	for (size_t k = first + 1; k < first + n; k++) {
		struct kid *kid = &s->v[s->votes[k].kid];

		if ((rep->key[i] & HASHED) != 0 && !same_bytes(rep, kid, at))
			continue;
		kid->is[i] = FORMER;
		found++;
	}
	if (found == 0)
		return 0;
	rep->is[i] = FORMER;
	s->found = true;
	return put_former(s, rep, i);
}

/* ---- what they hold then ---- */

/* From where its new runs end to where the piece does. */
static int
divide(const struct search *s, struct kid *k, size_t *done, uint64_t *from)
{
	int err = 0;

	for (; err == 0 && *done < k->p->nruns; (*done)++) {
		const struct run *r = &k->p->runs[*done];
		uint64_t at = r->start > *from ? r->start : *from;

		if (at < s->start && at < r->end) {
			uint64_t to = r->end < s->start ? r->end : s->start;

			err =
			    process_add_part(&k->v, &k->n, r, at, to, r->kind);
			at = to;
		}
		for (; err == 0 && at < r->end && at < s->end; at += COW_PAGE)
			err =
			    process_add_part(&k->v, &k->n, r, at, at + COW_PAGE,
				k->is[(at - s->start) / COW_PAGE] == FORMER
				    ? RUN_FORMER
				    : r->kind);
		*from = at;
		if (at < r->end)
			break;
	}
	return err;
}

/*
 * Each is looked at twice, the others in between: the kernel may move a page,
 * and give its frame to another.
 */
static int
look_at_piece(struct search *s)
{
	size_t holders = 0;
	int err = 0;

	for (size_t k = 0; k < s->n; k++) {
		s->v[k].holds = relate(s, &s->v[k]);
		holders += s->v[k].holds;
	}
	if (holders < 2)
		return 0;
	for (size_t k = 0; k < s->n; k++)
		if (s->v[k].holds)
			look(s, &s->v[k]);
	for (size_t k = 0; k < s->n; k++)
		if (s->v[k].holds)
			look_again(s, &s->v[k]);
	for (size_t i = 0; err == 0 && i < PIECE; i++)
		err = vote(s, i);
	return err;
}

static void
take_runs(struct kid *k)
{
	free(k->p->runs);
	k->p->runs = k->v;
	k->p->nruns = k->n;
	k->v = NULL;
	memory_settle_runs(k->p);
}

static int
search(struct search *s)
{
	size_t *done = calloc(s->n, sizeof(*done));
	uint64_t *from = calloc(s->n, sizeof(*from));
	int err = done == NULL || from == NULL ? -ENOMEM : 0;

	while (err == 0 && next_piece(s)) {
		err = look_at_piece(s);
		for (size_t k = 0; err == 0 && k < s->n; k++)
			err = divide(s, &s->v[k], &done[k], &from[k]);
	}
	s->start = s->end = UINT64_MAX;
	for (size_t k = 0; err == 0 && s->found && k < s->n; k++)
		err = divide(s, &s->v[k], &done[k], &from[k]);
	free(done);
	free(from);
	if (err < 0)
		return snap_fail(s->cx, err, "no memory");
	if (!s->found)
		return 0;
	for (size_t k = 0; k < s->n; k++)
		take_runs(&s->v[k]);
	memory_settle_runs(s->parent);
	return 0;
}

/* ---- whose children ---- */

static int
add_kid(struct search *s, struct process *p, pid_t twin)
{
	struct kid *k = &s->v[s->n++];

	k->p = p;
	k->pagemap = proc_open(s->cx, twin, "pagemap", O_RDONLY);
	return k->pagemap < 0 ? k->pagemap : 0;
}

static int
find_of(struct snap_ctx *cx, struct family *t, struct twin *const *twins,
    size_t parent, size_t n)
{
	struct search s = { .cx = cx, .parent = t->v[parent] };
	int err = 0;

	s.v = calloc(n, sizeof(*s.v));
	s.votes = calloc(n, sizeof(*s.votes));
	if (s.v == NULL || s.votes == NULL)
		err = snap_fail(cx, -ENOMEM, "no memory");
	for (size_t i = parent + 1; err == 0 && i < t->n; i++)
		if (t->v[i]->parent == parent && twin_pid(twins[i]) != 0)
			err = add_kid(&s, t->v[i], twin_pid(twins[i]));
	if (err == 0)
		err = search(&s);
	for (size_t i = 0; i < s.n; i++) {
		if (s.v[i].pagemap >= 0)
			close(s.v[i].pagemap);
		free(s.v[i].v);
	}
	free(s.v);
	free(s.votes);
	return err;
}

int
cow_find_former(struct snap_ctx *cx, struct family *t,
    struct twin *const *twins, const bool *but)
{
	size_t *n = calloc(t->n, sizeof(*n));
	int err = 0;

	if (n == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	for (size_t i = 1; i < t->n; i++)
		n[t->v[i]->parent] += twin_pid(twins[i]) != 0;
	for (size_t i = 0; err == 0 && i < t->n; i++)
		if (n[i] > 1 && !but[i])
			err = find_of(cx, t, twins, i, n[i]);
	free(n);
	return err;
}
