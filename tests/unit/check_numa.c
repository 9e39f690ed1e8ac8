/*
 * check_numa.c - NUMA policies as an image and as the kernel write them.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "numa.h"
#include "numa_areas.h"
#include "process.h"

static const struct {
	const char *text;
	uint32_t mode;
	uint64_t nodes0, nodes15;
} good[] = {
	{ "bind 0", 2, 1, 0 },
	{ "bind,static 0-3,8", 2 | 1 << 15, 0x10f, 0 },
	{ "prefer,relative 1,3,5-6", 1 | 1 << 14, 0x6a, 0 },
	{ "interleave,balancing 63,1023", 3 | 1 << 13, 1ull << 63, 1ull << 63 },
	{ "local -", 4, 0, 0 },
	{ "prefer-many 2", 5, 4, 0 },
	{ "weighted-interleave 0-1", 6, 3, 0 },
};

START_TEST(there_and_back)
{
	struct text t = { 0 };
	struct numa n;
	char *s = strdup(good[_i].text);

	ck_assert(numa_parse(s, &n));
	ck_assert_uint_eq(n.mode, good[_i].mode);
	ck_assert_uint_eq(n.nodes[0], good[_i].nodes0);
	ck_assert_uint_eq(n.nodes[15], good[_i].nodes15);
	ck_assert(numa_known(&n));
	numa_write(&t, &n);
	text_put(&t, "", 1);
	ck_assert_str_eq(t.s, good[_i].text);
	text_fini(&t);
	free(s);
}
END_TEST

static const char *const bad[] = { "", "bind", "bind ", "default -", "bund 0",
	"bind,odd 0", "bind 0,", "bind ,0", "bind 3-1", "bind 1024",
	"bind 99999999999999999999", "bind 0 1", "bind -1", "bind,static" };

START_TEST(refused)
{
	struct numa n;
	char *s = strdup(bad[_i]);

	ck_assert_msg(!numa_parse(s, &n), "`%s'", bad[_i]);
	free(s);
}
END_TEST

static const struct {
	const char *text;
	uint32_t mode;
	uint64_t nodes;
} kernels[] = {
	{ "default", 0, 0 },
	{ "bind:0", 2, 1 },
	{ "bind=static:0-1", 2 | 1 << 15, 3 },
	{ "bind=static|balancing:1", 2 | 1 << 15 | 1 << 13, 2 },
	{ "interleave=relative:0,2", 3 | 1 << 14, 5 },
	{ "prefer (many):0", 5, 1 },
	{ "weighted interleave:0", 6, 1 },
	{ "local", 4, 0 },
};

START_TEST(as_the_kernel_has_it)
{
	const char *s = kernels[_i].text;
	struct numa n;

	ck_assert(numa_parse_maps(s, strlen(s), &n));
	ck_assert_uint_eq(n.mode, kernels[_i].mode);
	ck_assert_uint_eq(n.nodes[0], kernels[_i].nodes);
	ck_assert(!numa_parse_maps(s, strlen(s) - 1, &n) ||
		  n.nodes[0] != kernels[_i].nodes ||
		  n.mode != kernels[_i].mode);
}
END_TEST

START_TEST(whole_file)
{
	static const char text[] =
	    "1000 default anon=1 dirty=1 N0=1 kernelpagesize_kB=4\n"
	    "3000 prefer (many):0 heap anon=2\n"
	    "5000 bind=static:1 file=/a\\040b mapped=1\n"
	    "7000 never:0\n"
	    "9000 bind:0\n";
	struct process *p = process_new();

	for (uint64_t at = 0x1000; at < 0x9000; at += 0x2000) {
		struct vma *v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));

		v->start = at;
		v->end = at + 0x1000;
		v->kind = VMA_ANON;
	}
	ck_assert_int_eq(numa_areas_parse(text, p), 0);
	ck_assert_ptr_null(p->vmas[0].numa);
	ck_assert_uint_eq(p->vmas[1].numa->mode, 5);
	ck_assert_uint_eq(p->vmas[2].numa->nodes[0], 2);
	ck_assert_ptr_null(p->vmas[3].numa);
	ck_assert_uint_eq(p->nunsupported, 1);
	ck_assert_str_eq(p->unsupported[0].what, "vma 7000-8000");
	ck_assert_int_lt(numa_areas_parse("x bind:0\n", p), 0);
	process_free(p);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("numa");
	TCase *tc = tcase_create("text");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(
	    tc, there_and_back, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, refused, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(
	    tc, as_the_kernel_has_it, 0, sizeof(kernels) / sizeof(kernels[0]));
	tcase_add_test(tc, whole_file);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
