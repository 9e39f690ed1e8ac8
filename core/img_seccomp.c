/*
 * img_seccomp.c - `seccomp`: the filters that threads are under.
 *
 *	filter: NUMBER BEFORE FLAGS
 *			numbers are from 1; BEFORE is the one that was there
 *			before it in its chain, 0: none
 *	op: CODE JT JF K
 *			an instruction of it, see struct sock_filter
 *	thread: TID NUMBER
 *			the newest of its filters; or `strict' mode
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "img.h"
#include "seccomp.h"

#define PID_MAX (1 << 22)
#define FILTERS_MAX 4096

void
img_seccomp_write(struct text *t, const struct process *p)
{
	for (size_t i = 0; i < p->filters.n; i++) {
		const struct filter *f = &p->filters.v[i];

		text_putf(
		    t, "filter: %zu %u 0x%x\n", i + 1, f->before, f->flags);
		for (size_t k = 0; k < f->n; k++)
			text_putf(t, "op: 0x%02x %u %u 0x%08x\n", f->v[k].code,
			    f->v[k].jt, f->v[k].jf, f->v[k].k);
	}
	for (size_t i = 0; i < p->nthreads; i++) {
		const struct thread *th = &p->threads[i];

		if (th->seccomp == SECCOMP_MODE_STRICT)
			text_putf(t, "thread: %d strict\n", (int)th->tid);
		else if (th->seccomp != 0)
			text_putf(
			    t, "thread: %d %u\n", (int)th->tid, th->filter);
	}
}

/* ---- reading ---- */

static bool
take_dec(char **s, uint64_t max, uint64_t *v)
{
	char *w = text_word(s);

	return w != NULL && text_dec(w, max, v);
}

static bool
take_hex(char **s, uint64_t max, uint64_t *v)
{
	char *w = text_word(s);

	return w != NULL && text_xnum(w, max, v);
}

static int
read_filter(struct lines *l, struct filters *f, char *s)
{
	uint64_t number, before, flags;
	struct filter *new;

	if (!take_dec(&s, FILTERS_MAX, &number) || number != f->n + 1)
		return lines_fail(l, "not the next filter's number");
	if (!take_dec(&s, f->n, &before))
		return lines_fail(l, "not the number of one before it");
	if (!take_hex(&s, UINT32_MAX, &flags) || s != NULL)
		return lines_fail(l, "not flags");
	new = process_grow(&f->v, &f->n, sizeof(*new));
	if (new == NULL)
		return -ENOMEM;
	new->before = (uint32_t)before;
	new->flags = (uint32_t)flags;
	return 0;
}

static int
read_op(struct lines *l, struct filters *f, char *s)
{
	struct filter *last = f->n > 0 ? &f->v[f->n - 1] : NULL;
	uint64_t code, jt, jf, k;
	struct sock_filter *op;

	if (last == NULL || last->n >= BPF_MAXINSNS)
		return lines_fail(l,
		    last == NULL ? "of no filter" : "too many of one filter");
	if (!take_hex(&s, UINT16_MAX, &code) || !take_dec(&s, UINT8_MAX, &jt) ||
	    !take_dec(&s, UINT8_MAX, &jf) || !take_hex(&s, UINT32_MAX, &k) ||
	    s != NULL)
		return lines_fail(l, "not CODE JT JF K");
	op = process_grow(&last->v, &last->n, sizeof(*op));
	if (op == NULL)
		return -ENOMEM;
	*op = (struct sock_filter){ (uint16_t)code, (uint8_t)jt, (uint8_t)jf,
		(uint32_t)k };
	return 0;
}

/* No chain may be longer than the kernel lets it be. */
static int
check_chain(struct lines *l, const struct filters *f, uint32_t last)
{
	uint64_t n = 0;

	for (; last != 0; last = filters_get(f, last)->before) {
		if (filters_get(f, last)->n == 0)
			return lines_fail(
			    l, "filter %u has no instruction", last);
		n += filters_get(f, last)->n + SECCOMP_CHAIN_EXTRA;
	}
	return n <= SECCOMP_CHAIN_MAX
		   ? 0
		   : lines_fail(l, "its filters are too long together");
}

static int
read_thread(struct lines *l, struct process *p, char *s)
{
	struct thread *th = NULL;
	uint64_t tid, number;

	if (take_dec(&s, PID_MAX, &tid))
		th = img_thread(p, (pid_t)tid);
	if (th == NULL || th->seccomp != 0)
		return lines_fail(
		    l, th == NULL ? "not a thread" : "a thread's second");
	th->seccomp = SECCOMP_MODE_STRICT;
	if (s != NULL && strcmp(s, "strict") == 0)
		return 0;
	if (s == NULL || !text_dec(s, p->filters.n, &number) || number == 0)
		return lines_fail(l, "not the number of a filter");
	th->seccomp = SECCOMP_MODE_FILTER;
	th->filter = (uint32_t)number;
	return check_chain(l, &p->filters, th->filter);
}

int
img_seccomp_read(struct lines *l, struct process *p)
{
	char *key, *value;
	int r, err;

	while ((r = lines_pair(l, &key, &value)) > 0) {
		if (strcmp(key, "filter") == 0)
			err = read_filter(l, &p->filters, value);
		else if (strcmp(key, "op") == 0)
			err = read_op(l, &p->filters, value);
		else if (strcmp(key, "thread") == 0)
			err = read_thread(l, p, value);
		else
			err = lines_fail(l, "unknown key `%.32s'", key);
		if (err < 0)
			return err;
	}
	return r;
}
