/*
 * check_cow.c - memory that is held once, in the image of a parent.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cow.h"
#include "ctx.h"
#include "unit.h"

#define PAGE 0x1000ull
#define RUNS 4096

static void
run(struct process *p, uint64_t from, uint64_t to, enum run_kind kind)
{
	struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

	r->start = from * PAGE;
	r->end = to * PAGE;
	r->kind = kind;
	r->offset = from * PAGE;
}

/* Whose pages are all held, a page a run. */
static struct process *
parent(void)
{
	struct process *q = process_new();

	for (uint64_t i = 0; i < RUNS; i++)
		run(q, i, i + 1, RUN_HELD);
	return q;
}

START_TEST(resolved)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *q = parent(), *p = process_new();
	size_t pieces = 0;

	run(p, 1, 2, RUN_HELD);
	run(p, 2, 5, RUN_INHERITED);
	ck_assert_int_eq(cow_resolve(cx, p, q, &pieces), 0);
	ck_assert_uint_eq(p->nruns, 4);
	ck_assert_uint_eq(pieces, 3);
	ck_assert(p->runs[0].up == 0 && p->runs[1].up == 1);
	ck_assert_uint_eq(p->runs[3].offset, 4 * PAGE);
	run(p, RUNS, RUNS + 1, RUN_INHERITED);
	ck_assert_int_eq(cow_resolve(cx, p, q, &pieces), -EBADMSG);
	process_free(p);
	process_free(q);
	snap_ctx_free(cx);
}
END_TEST

/* A line each, and all of the parent's behind it. */
START_TEST(amplified)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *q = parent();
	size_t pieces = 0;
	int err = 0;

	for (int i = 0; err == 0 && i < FAMILY_MAX; i++) {
		struct process *p = process_new();

		run(p, 0, RUNS, RUN_INHERITED);
		err = cow_resolve(cx, p, q, &pieces);
		process_free(p);
	}
	ck_assert_int_eq(err, -E2BIG);
	process_free(q);
	snap_ctx_free(cx);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("cow");
	TCase *tc = tcase_create("cow");

	tcase_add_test(tc, resolved);
	tcase_add_test(tc, amplified);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
