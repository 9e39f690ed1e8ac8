/*
 * check_huge.c - how much more memory huge pages need than `pages` has.
 */
#include <check.h>
#include <stdlib.h>

#include "huge.h"
#include "unit.h"

#define MIB (1ull << 20)
#define PAGE 4096ull

static struct process *p;

static void
setup(void)
{
	p = process_new();
}

static void
teardown(void)
{
	process_free(p);
}

static void
huge(uint64_t start, uint64_t end)
{
	struct part *v = process_grow(&p->huge, &p->nhuge, sizeof(*v));

	*v = (struct part){ start * MIB, end * MIB };
}

static void
run(uint64_t start, uint64_t end, enum run_kind kind)
{
	struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

	*r = (struct run){ .start = start, .end = end, .kind = kind };
}

START_TEST(nothing)
{
	ck_assert_uint_eq(huge_beyond_pages(p), 0);
	run(0, 4 * MIB, RUN_HELD);
	ck_assert_uint_eq(huge_beyond_pages(p), 0);
}
END_TEST

/* One run over several, several in one, across a border, and outside. */
START_TEST(counted)
{
	huge(2, 4);
	huge(6, 12);
	huge(20, 22);
	ck_assert_uint_eq(huge_beyond_pages(p), 10 * MIB);
	run(0, PAGE, RUN_HELD);
	run(3 * MIB, 7 * MIB, RUN_HELD);
	ck_assert_uint_eq(huge_beyond_pages(p), 8 * MIB);
	run(7 * MIB, 7 * MIB + PAGE, RUN_HELD);
	run(8 * MIB, 9 * MIB, RUN_ZERO);
	run(11 * MIB, 11 * MIB + 2 * PAGE, RUN_HELD);
	ck_assert_uint_eq(huge_beyond_pages(p), 8 * MIB - 3 * PAGE);
	run(15 * MIB, 40 * MIB, RUN_HELD);
	ck_assert_uint_eq(huge_beyond_pages(p), 6 * MIB - 3 * PAGE);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("huge");
	TCase *t = tcase_create("huge");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, nothing);
	tcase_add_test(t, counted);
	suite_add_tcase(s, t);
	return unit_run(s);
}
