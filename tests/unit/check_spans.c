/*
 * check_spans.c - sets of addresses, beside a map of bits.
 */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "spans.h"

#define N 200u

static void
fill(struct spans *s, bool bits[N], unsigned *seed)
{
	unsigned at = 0;

	memset(bits, 0, N);
	while (at < N) {
		unsigned start = at + (unsigned)rand_r(seed) % 20;
		unsigned end = start + 1 + (unsigned)rand_r(seed) % 15;

		if (end > N)
			break;
		ck_assert_int_eq(spans_add(s, start, end), 0);
		memset(bits + start, 1, end - start);
		at = rand_r(seed) % 4 == 0 ? start : end;
	}
}

/* In order, not touching, and the same set. */
static void
same(const struct spans *s, const bool bits[N])
{
	uint64_t end, sum = 0;

	for (size_t i = 0; i < s->n; i++) {
		ck_assert_uint_lt(s->v[i].start, s->v[i].end);
		ck_assert(i == 0 || s->v[i - 1].end < s->v[i].start);
	}
	for (unsigned at = 0; at < N; at = (unsigned)end) {
		ck_assert_int_eq(spans_contain(s, at, N, &end), bits[at]);
		ck_assert(end > at && end <= N);
		for (unsigned i = at; i < end; i++)
			ck_assert_int_eq(bits[i], bits[at]);
		ck_assert(end == N || bits[end] != bits[at]);
		sum += bits[at] ? end - at : 0;
	}
	ck_assert_uint_eq(spans_bytes(s), sum);
}

START_TEST(as_bits)
{
	unsigned seed = 1;
	bool a[N], b[N];

	for (int round = 0; round < 300; round++) {
		struct spans s = { 0 }, t = { 0 };

		fill(&s, a, &seed);
		fill(&t, b, &seed);
		same(&s, a);
		same(&t, b);
		ck_assert_int_eq(spans_unite(&s, &t), 0);
		for (unsigned i = 0; i < N; i++)
			a[i] |= b[i];
		same(&s, a);
		same(&t, b);
		spans_fini(&t);
		fill(&t, b, &seed);
		ck_assert_int_eq(spans_subtract(&s, &t), 0);
		for (unsigned i = 0; i < N; i++)
			a[i] = a[i] && !b[i];
		same(&s, a);
		same(&t, b);
		ck_assert_int_eq(spans_subtract(&s, &s), 0);
		ck_assert_uint_eq(s.n, 0);
		spans_fini(&s);
		spans_fini(&t);
	}
}
END_TEST

START_TEST(of_nothing)
{
	struct spans s = { 0 }, t = { 0 };
	uint64_t end;

	ck_assert_int_eq(spans_unite(&s, &t), 0);
	ck_assert_int_eq(spans_contain(&s, 5, 9, &end), 0);
	ck_assert_uint_eq(end, 9);
	ck_assert_int_eq(spans_add(&t, 5, 7), 0);
	ck_assert_int_eq(spans_unite(&s, &t), 0);
	ck_assert_int_eq(spans_contain(&s, 5, 6, &end), 1);
	ck_assert_uint_eq(end, 6);
	spans_fini(&s);
	spans_fini(&t);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("spans");
	TCase *tc = tcase_create("spans");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, as_bits);
	tcase_add_test(tc, of_nothing);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
