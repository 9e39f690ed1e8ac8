/*
 * Which memory is still to come, and where it is.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "extents.h"
#include "late.h"
#include "pager.h"
#include "unit.h"

#define P 0x1000ull
#define PIECE (4 * P)

static struct process *p;
static struct extents x;

static void
vma(uint64_t start, uint64_t end, enum vma_kind kind)
{
	struct vma *v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));

	v->start = start;
	v->end = end;
	v->kind = kind;
	v->file = -1;
}

static void
run(uint64_t start, uint64_t end, enum run_kind kind)
{
	struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

	r->start = start;
	r->end = end;
	r->kind = kind;
	r->offset = p->pages_size;
	if (kind == RUN_HELD)
		p->pages_size += end - start;
}

static void
mark(void)
{
	const struct inheritance none = { 0 };
	struct process *v[] = { p };
	struct family t = { .v = v, .n = 1 };
	uint64_t soon;

	ck_assert_int_eq(late_find(&t, &none, &soon), 0);
	ck_assert_uint_eq(soon, 0);
}

/* 3 pages of a file, 2 + 5 of memory with a guard between, 8 at once. */
static void
setup(void)
{
	const uint64_t base = 0;

	p = process_new();
	vma(0x10000, 0x20000, VMA_FILE);
	vma(0x100000, 0x110000, VMA_ANON);
	vma(0x200000, 0x208000, VMA_ANON);
	run(0x10000, 0x13000, RUN_HELD);
	run(0x100000, 0x102000, RUN_HELD);
	run(0x102000, 0x103000, RUN_GUARD);
	run(0x108000, 0x10d000, RUN_HELD);
	run(0x200000, 0x208000, RUN_HELD);
	mark();
	ck_assert_int_eq(extents_make(&x, p, PIECE, &base), 0);
}

static void
teardown(void)
{
	extents_free(&x);
	process_free(p);
}

/* Where the bytes of an address are; -1: they are not to come. */
static int64_t
where(const struct extents *e, uint64_t addr)
{
	const struct extent *f = extents_find(e, addr);

	return f == NULL || f->done ? -1
				    : (int64_t)(f->off + (addr - f->start));
}

static void
expect_order(const struct extents *e)
{
	for (size_t i = 0; i < e->n; i++) {
		ck_assert_uint_lt(e->v[i].start, e->v[i].end);
		if (i > 0)
			ck_assert_uint_le(e->v[i - 1].end, e->v[i].start);
	}
}

START_TEST(made)
{
	expect_order(&x);
	for (size_t i = 0; i < x.n; i++)
		ck_assert_uint_eq(x.v[i].off / PIECE,
		    (x.v[i].off + (x.v[i].end - x.v[i].start) - 1) / PIECE);
	ck_assert_int_eq(where(&x, 0x10000), -1);
	ck_assert_int_eq(where(&x, 0x100000), 3 * P);
	ck_assert_int_eq(where(&x, 0x101fff), 5 * P - 1);
	ck_assert_int_eq(where(&x, 0x102000), -1);
	ck_assert_int_eq(where(&x, 0x107fff), -1);
	ck_assert_int_eq(where(&x, 0x108000), 5 * P);
	ck_assert_int_eq(where(&x, 0x10cfff), 10 * P - 1);
	ck_assert_int_eq(where(&x, 0x10d000), -1);
	ck_assert_int_eq(where(&x, 0x207000), 17 * P);
	ck_assert_int_eq(where(&x, 0x208000), -1);
}
END_TEST

/* Each piece's extents, and no others; in any order after a move. */
static uint64_t
bytes_of(uint64_t piece)
{
	struct extent *e = NULL;
	uint64_t n = 0;

	while ((e = extents_next(&x, e, piece * PIECE, (piece + 1) * PIECE)) !=
	       NULL) {
		ck_assert_uint_eq(e->off / PIECE, piece);
		n += e->end - e->start;
	}
	return n;
}

/* Of a chain: each second page is in another file, numbered behind the first. */
START_TEST(of_two_files)
{
	const uint64_t bases[] = { 0, 64 * P };
	struct extent *e = NULL;
	struct extents y;
	uint64_t off = 0;
	unsigned n = 0;

	p->nruns = 0;
	for (uint64_t i = 0; i < 8; i++) {
		run(0x200000 + i * P, 0x200000 + (i + 1) * P, RUN_HELD);
		p->runs[i].src = i % 2;
		p->runs[i].offset = i / 2 * P;
	}
	mark();
	ck_assert_int_eq(extents_make(&y, p, PIECE, bases), 0);
	ck_assert_int_eq(where(&y, 0x200000 + 6 * P), 3 * P);
	ck_assert_int_eq(where(&y, 0x200000 + 7 * P), 67 * P);
	while ((e = extents_next(&y, e, 0, 128 * P)) != NULL) {
		ck_assert(n == 0 || e->off > off);
		off = e->off;
		n++;
	}
	ck_assert_uint_eq(n, 8);
	e = extents_next(&y, NULL, 64 * P, 68 * P);
	ck_assert_uint_eq(e->start, 0x200000 + P);
	ck_assert_ptr_null(extents_next(&y, NULL, 68 * P, 128 * P));
	/* When it is cut they are found all the same. */
	ck_assert_int_eq(extents_move(&y, 0x201000, 0x300000, P), 0);
	e = extents_next(&y, NULL, 64 * P, 65 * P);
	ck_assert_uint_eq(e->start, 0x300000);
	extents_free(&y);
}
END_TEST

START_TEST(by_piece)
{
	const uint64_t want[] = { 1, 4, 4, 4, 2 };

	for (uint64_t k = 0; k < 5; k++)
		ck_assert_uint_eq(bytes_of(k), want[k] * P);
	ck_assert_int_eq(extents_move(&x, 0x200000, 0x50000, 0x8000), 0);
	for (uint64_t k = 0; k < 5; k++)
		ck_assert_uint_eq(bytes_of(k), want[k] * P);
	ck_assert_int_eq(extents_drop(&x, 0x108000, 0x10d000), 0);
	ck_assert_uint_eq(bytes_of(1), P);
	ck_assert_uint_eq(bytes_of(0), P);
}
END_TEST

START_TEST(dropped)
{
	ck_assert_int_eq(extents_drop(&x, 0x201000, 0x203000), 0);
	expect_order(&x);
	ck_assert_int_eq(where(&x, 0x200000), 10 * P);
	ck_assert_int_eq(where(&x, 0x201000), -1);
	ck_assert_int_eq(where(&x, 0x202000), -1);
	ck_assert_int_eq(where(&x, 0x203000), 13 * P);
	/* across several, and nothing at all */
	ck_assert_int_eq(extents_drop(&x, 0x101000, 0x109000), 0);
	ck_assert_int_eq(where(&x, 0x100000), 3 * P);
	ck_assert_int_eq(where(&x, 0x101000), -1);
	ck_assert_int_eq(where(&x, 0x108000), -1);
	ck_assert_int_eq(where(&x, 0x109000), 6 * P);
	ck_assert_int_eq(extents_drop(&x, 0x900000, 0x910000), 0);
	expect_order(&x);
}
END_TEST

START_TEST(moved)
{
	ck_assert_int_eq(extents_move(&x, 0x109000, 0x205000, 0x2000), 0);
	expect_order(&x);
	ck_assert_int_eq(where(&x, 0x108000), 5 * P);
	ck_assert_int_eq(where(&x, 0x109000), -1);
	ck_assert_int_eq(where(&x, 0x10a000), -1);
	ck_assert_int_eq(where(&x, 0x10b000), 8 * P);
	ck_assert_int_eq(where(&x, 0x204000), 14 * P);
	ck_assert_int_eq(where(&x, 0x205000), 6 * P);
	ck_assert_int_eq(where(&x, 0x206000), 7 * P);
	ck_assert_int_eq(where(&x, 0x207000), 17 * P);
	/* what was done does not come along */
	ck_assert_int_eq(extents_drop(&x, 0x205000, 0x206000), 0);
	ck_assert_int_eq(extents_move(&x, 0x205000, 0x8000000, 0x2000), 0);
	ck_assert_int_eq(where(&x, 0x8000000), -1);
	ck_assert_int_eq(where(&x, 0x8001000), 7 * P);
}
END_TEST

START_TEST(copied)
{
	struct extents y;

	ck_assert_int_eq(extents_drop(&x, 0x200000, 0x204000), 0);
	ck_assert_int_eq(extents_copy(&y, &x), 0);
	ck_assert_int_eq(where(&y, 0x200000), -1);
	ck_assert_int_eq(where(&y, 0x204000), 14 * P);
	ck_assert_int_eq(extents_drop(&y, 0x100000, 0x110000), 0);
	ck_assert_int_eq(where(&x, 0x100000), 3 * P);
	extents_free(&y);
}
END_TEST

/* Against a page table of bytes, with any requests in any order. */
#define NPAGES 64

static int64_t model[NPAGES], copy[NPAGES];

START_TEST(any_order)
{
	srand((unsigned)_i);
	for (int i = 0; i < NPAGES; i++)
		model[i] = where(&x, 0x100000 + (uint64_t)i * P);
	for (int round = 0; round < 200; round++) {
		int n = 1 + rand() % 8, a = rand() % (NPAGES - n);
		int b = rand() % (NPAGES - n);
		uint64_t from = 0x100000 + (uint64_t)a * P;
		uint64_t to = 0x100000 + (uint64_t)b * P;

		if (rand() % 4 == 0) {
			ck_assert_int_eq(
			    extents_drop(&x, from, from + (uint64_t)n * P), 0);
			for (int i = 0; i < n; i++)
				model[a + i] = -1;
		} else if (abs(a - b) >= n) {
			ck_assert_int_eq(
			    extents_move(&x, from, to, (uint64_t)n * P), 0);
			memcpy(copy, model, sizeof(copy));
			for (int i = 0; i < n; i++)
				model[a + i] = -1;
			for (int i = 0; i < n; i++)
				model[b + i] = copy[a + i];
		}
		expect_order(&x);
		for (int i = 0; i < NPAGES; i++)
			ck_assert_int_eq(
			    where(&x, 0x100000 + (uint64_t)i * P), model[i]);
	}
}
END_TEST

/* A child sees zeros in some of it, of which the kernel does not tell. */
START_TEST(wanted)
{
	struct vma v = { .kind = VMA_ANON };

	ck_assert(pager_wants(&v));
	v.flags = VMA_F_WIPEONFORK;
	ck_assert(!pager_wants(&v));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("extents");
	TCase *t = tcase_create("extents");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, made);
	tcase_add_test(t, of_two_files);
	tcase_add_test(t, by_piece);
	tcase_add_test(t, dropped);
	tcase_add_test(t, moved);
	tcase_add_test(t, copied);
	tcase_add_test(t, wanted);
	tcase_add_loop_test(t, any_order, 0, 50);
	suite_add_tcase(s, t);
	return unit_run(s);
}
