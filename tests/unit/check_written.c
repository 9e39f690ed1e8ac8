/*
 * check_written.c - increments without a twin: what is there, what of it is
 * copied, whether that is shorter, and flags that changed.
 */
#include <check.h>
#include <stdlib.h>

#include "uapi.h"
#include "written.h"

#define P 4096ull
#define W UAPI_PAGE_IS_WRITTEN
#define HERE UAPI_PAGE_IS_PRESENT

static struct process *
process(void)
{
	struct process *p = process_new();

	ck_assert_ptr_nonnull(p);
	return p;
}

static void
check_run(const struct run *r, uint64_t start, uint64_t end, enum run_kind kind)
{
	ck_assert_uint_eq(r->start, start * P);
	ck_assert_uint_eq(r->end, end * P);
	ck_assert_int_eq(r->kind, kind);
}

static void
add(struct written *w, size_t first, uint64_t start, uint64_t end,
    uint64_t categories)
{
	ck_assert_int_eq(
	    written_add(w, first, start * P, end * P, categories), 0);
}

START_TEST(runs)
{
	struct process *p = process();
	struct written w = { .p = p };

	add(&w, 0, 1, 3, HERE);
	add(&w, 0, 3, 4, HERE | W);
	add(&w, 0, 4, 5, UAPI_PAGE_IS_SWAPPED);
	add(&w, 0, 5, 6, HERE | UAPI_PAGE_IS_PFNZERO);
	add(&w, 0, 6, 8, UAPI_PAGE_IS_SWAPPED | UAPI_PAGE_IS_GUARD | W);
	add(&w, 0, 8, 9, HERE | W);
	/* The next VMA begins where this one ends. */
	add(&w, 3, 9, 12, HERE | W);
	add(&w, 3, 12, 13, HERE | W | UAPI_PAGE_IS_FILE);
	add(&w, 3, 13, 525, HERE | W | UAPI_PAGE_IS_HUGE);
	ck_assert_uint_eq(p->nruns, 5);
	check_run(&p->runs[0], 1, 5, RUN_HELD);
	check_run(&p->runs[1], 6, 8, RUN_GUARD);
	check_run(&p->runs[2], 8, 9, RUN_HELD);
	check_run(&p->runs[3], 9, 12, RUN_HELD);
	check_run(&p->runs[4], 13, 525, RUN_HELD);
	ck_assert_uint_eq(w.written_bytes, (1 + 1 + 3 + 512) * P);
	ck_assert_uint_eq(w.resident, 12);
	process_free(p);
}
END_TEST

START_TEST(bytes)
{
	struct process *p = process();
	struct written w = { .p = p };
	struct spans dirty = { 0 };

	add(&w, 0, 10, 20, HERE);
	add(&w, 0, 20, 22, HERE | UAPI_PAGE_IS_GUARD);
	add(&w, 0, 30, 40, HERE);
	ck_assert_uint_eq(written_bytes(p, &dirty), 0);
	spans_add(&dirty, 0, 5 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), 0);
	spans_add(&dirty, 8 * P, 12 * P);
	spans_add(&dirty, 14 * P, 15 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), 3 * P);
	/* Across what is between, and beyond the end. */
	spans_add(&dirty, 19 * P, 31 * P);
	spans_add(&dirty, 39 * P, 1000 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), (3 + 1 + 1 + 1) * P);
	spans_fini(&dirty);
	spans_add(&dirty, 0, 1000 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), 20 * P);
	spans_fini(&dirty);
	process_free(p);
}
END_TEST

START_TEST(shorter)
{
	struct written w = { .resident = 262144 };

	ck_assert(written_is_shorter(&w, 0));
	ck_assert(written_is_shorter(&w, 2621 * P));
	ck_assert(!written_is_shorter(&w, 131072 * P));
	w.odd = true;
	ck_assert(!written_is_shorter(&w, 0));
	/* Nothing for a fork to look at. */
	w = (struct written){ 0 };
	ck_assert(!written_is_shorter(&w, P));
}
END_TEST

START_TEST(flags)
{
	struct process *p = process();
	static const struct vma_flags before[] = {
		{ 1 * P, 4 * P, VMA_F_DONTDUMP | VMA_F_NORESERVE },
		{ 4 * P, 6 * P, 0 },
		{ 9 * P, 20 * P, VMA_F_HUGEPAGE },
	};
	static const struct vma vmas[] = {
		{ .start = 1 * P, .end = 2 * P, .flags = VMA_F_DONTDUMP },
		{ .start = 2 * P, .end = 4 * P, .flags = VMA_F_DONTDUMP },
		{ .start = 5 * P, .end = 6 * P, .flags = VMA_F_ACCOUNT },
		{ .start = 6 * P, .end = 8 * P, .flags = 0 },
		{ .start = 10 * P, .end = 30 * P, .flags = VMA_F_HUGEPAGE },
	};
	struct vma *v;

	for (size_t i = 0; i < sizeof(vmas) / sizeof(vmas[0]); i++) {
		v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));
		ck_assert_ptr_nonnull(v);
		*v = vmas[i];
	}
	ck_assert_ptr_null(written_differs(p, before, 3));
	p->vmas[1].flags = 0;
	ck_assert_ptr_eq(written_differs(p, before, 3), &p->vmas[1]);
	p->vmas[1].flags = VMA_F_DONTDUMP | VMA_F_DONTCOPY;
	ck_assert_ptr_eq(written_differs(p, before, 3), &p->vmas[1]);
	p->vmas[1].flags = VMA_F_DONTDUMP;
	/* What is new has to be without. */
	p->vmas[3].flags = VMA_F_WIPEONFORK;
	ck_assert_ptr_eq(written_differs(p, before, 3), &p->vmas[3]);
	p->vmas[3].flags = 0;
	ck_assert_ptr_eq(written_differs(p, before, 2), &p->vmas[4]);
	process_free(p);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("written");
	TCase *t = tcase_create("written");
	SRunner *r;
	int failed;

	tcase_add_test(t, runs);
	tcase_add_test(t, bytes);
	tcase_add_test(t, shorter);
	tcase_add_test(t, flags);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
