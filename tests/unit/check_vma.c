/*
 * maps and smaps: saved texts of the kernel, and what only looks like them.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ctx.h"
#include "proc.h"
#include "unit.h"
#include "vma.h"

#ifndef TEST_DATA
#define TEST_DATA "data"
#endif

static struct snap_ctx *cx;

static void
set_up(void)
{
	cx = snap_ctx_new(NULL);
}

static void
tear_down(void)
{
	snap_ctx_free(cx);
}

static char *
slurp(const char *path, size_t *len)
{
	FILE *f = fopen(path, "r");
	char *text;

	ck_assert_msg(f != NULL, "%s", path);
	ck_assert_int_eq(proc_read_fd(fileno(f), &text, len), 0);
	fclose(f);
	return text;
}

/* Parses a copy; *copy is the text as it was. */
static struct process *
parse(const char *path, char **copy)
{
	struct process *p = process_new();
	struct lines l;
	char *text;
	size_t len;

	text = slurp(path, &len);
	*copy = strdup(text);
	lines_init(&l, cx, path, text, len);
	ck_assert_msg(vma_parse_maps(&l, p) == 0, "%s", snap_error(cx));
	free(text);
	return p;
}

static const char *const round_trips[] = { TEST_DATA "/maps-odd",
	TEST_DATA "/maps-python", TEST_DATA "/maps-flags", "/proc/self/maps" };

/* What is written is the kernel's text, byte for byte. */
START_TEST(there_and_back)
{
	struct text t = { 0 };
	struct process *p;
	char *copy;

	p = parse(round_trips[_i], &copy);
	for (size_t i = 0; i < p->nvmas; i++)
		vma_write(&t, &p->vmas[i]);
	ck_assert_str_eq(t.s, copy);
	text_fini(&t);
	free(copy);
	process_free(p);
}
END_TEST

START_TEST(kinds)
{
	static const enum vma_kind want[] = { VMA_FILE, VMA_ANON, VMA_ANON,
		VMA_SHARED_ANON, VMA_SHARED_ANON, VMA_SHARED_ANON, VMA_FILE,
		VMA_SHARED_ANON, VMA_ANON, VMA_SHARED_ANON, VMA_OTHER,
		VMA_OTHER, VMA_FILE, VMA_FILE, VMA_ANON, VMA_VVAR,
		VMA_VVAR_VCLOCK, VMA_VDSO, VMA_OTHER, VMA_VSYSCALL };
	struct process *p;
	char *copy;

	p = parse(TEST_DATA "/maps-odd", &copy);
	ck_assert_uint_eq(p->nvmas, sizeof(want) / sizeof(want[0]));
	for (size_t i = 0; i < p->nvmas; i++)
		ck_assert_msg(p->vmas[i].kind == want[i], "line %zu: %s", i + 1,
		    vma_kind_name(p->vmas[i].kind));
	ck_assert_uint_eq(p->vmas[0].prot, PROT_READ | PROT_EXEC);
	ck_assert_str_eq(p->vmas[0].path, "/bin/a b\\012c");
	ck_assert_uint_eq(p->vmas[12].ino, UINT64_MAX);
	ck_assert_uint_eq(p->vmas[12].offset, 0xfffffffff000);
	free(copy);
	process_free(p);
}
END_TEST

static const char *const bad_lines[] = {
	"",
	"1000-2000",
	"1000-2000 rw-p",
	"1000-2000 rw-p 0 0:0",
	"1000-2000 rw-p 0 0:0 0", /* the kernel puts a blank behind it */
	"2000-1000 rw-p 0 0:0 0 ",
	"1000-1000 rw-p 0 0:0 0 ",
	"1001-2000 rw-p 0 0:0 0 ",
	"1000-2000 rw-x 0 0:0 0 ",
	"1000-2000 wr-p 0 0:0 0 ",
	"1000-2000 rw-pp 0 0:0 0 ",
	"1000-2000 rw-p 1 0:0 0 ",
	"1000-2000 rw-p 7ffffffffffff000 0:0 0 ",
	"1000-2000 rw-p fffffffffffff000 0:0 0 ",
	"1000-2000 rw-p 0 0 0 ",
	"1000-2000 rw-p 0 fe: 0 ",
	"1000-2000 rw-p 0 1000:0 0 ",
	"1000-2000 rw-p 0 0:0 -1 ",
	"1000-2000 rw-p 0 0:0 18446744073709551616 ",
	"1000-20000000000000000 rw-p 0 0:0 0 ",
	"1000 -2000 rw-p 0 0:0 0 ",
	" 1000-2000 rw-p 0 0:0 0 ",
};

START_TEST(bad_line)
{
	char line[128];
	struct vma v;

	strcpy(line, bad_lines[_i]);
	ck_assert_msg(vma_parse(line, &v) == -EINVAL, "`%s'", bad_lines[_i]);
	ck_assert_ptr_null(v.path);
}
END_TEST

START_TEST(flags_of_smaps)
{
	struct process *p;
	bool seen[32] = { false };
	uint64_t all = 0;
	struct lines l;
	char *copy, *text;
	size_t len;

	p = parse(TEST_DATA "/maps-flags", &copy);
	text = slurp(TEST_DATA "/smaps-flags", &len);
	lines_init(&l, cx, "smaps", text, len);
	ck_assert_int_eq(
	    vma_apply_smaps(&l, p, UINT64_MAX & ~VMA_F_ACCOUNT, seen), 0);
	for (size_t i = 0; i < p->nvmas; i++) {
		ck_assert(seen[i]);
		all |= p->vmas[i].flags;
	}
	ck_assert_uint_eq(all, VMA_F_GROWSDOWN | VMA_F_SEQ | VMA_F_LOCKED |
				   VMA_F_LOCKONFAULT | VMA_F_DONTCOPY |
				   VMA_F_WIPEONFORK | VMA_F_NOHUGEPAGE |
				   VMA_F_HUGEPAGE | VMA_F_MERGEABLE |
				   VMA_F_NORESERVE | VMA_F_DONTDUMP | VMA_F_IO);
	ck_assert_uint_eq(p->vmas[p->nvmas - 1].flags, VMA_F_GROWSDOWN);
	free(text);
	free(copy);
	process_free(p);
}
END_TEST

/* In the twin a VMA may be part of a larger one, or not be there. */
START_TEST(smaps_of_a_twin)
{
	char maps[] = "1000-2000 rw-p 0 0:0 0 \n"
		      "2000-3000 rw-p 0 0:0 0 \n"
		      "5000-6000 rw-p 0 0:0 0 \n";
	char smaps[] = "1000-4000 rw-p 00000000 00:00 0 \n"
		       "Size:                 12 kB\n"
		       "VmFlags: rd wr dd\n"
		       "ProtectionKey:         3\n"
		       "7000-8000 rw-p 00000000 00:00 0 \n"
		       "VmFlags: rd wr hg \n";
	struct process *p = process_new();
	bool seen[3] = { false };
	struct lines l;

	lines_init(&l, cx, "maps", maps, strlen(maps));
	ck_assert_int_eq(vma_parse_maps(&l, p), 0);
	lines_init(&l, cx, "smaps", smaps, strlen(smaps));
	ck_assert_int_eq(vma_apply_smaps(&l, p, UINT64_MAX, seen), 0);
	ck_assert(seen[0] && seen[1] && !seen[2]);
	ck_assert_uint_eq(p->vmas[1].flags, VMA_F_DONTDUMP);
	ck_assert_uint_eq(p->vmas[1].pkey, 3);
	ck_assert_uint_eq(p->vmas[2].flags, 0);
	process_free(p);
}
END_TEST

START_TEST(flag_names)
{
	struct text t = { 0 };
	uint64_t all, back;
	char *s;

	for (all = 0; all < 1u << 20; all = all * 2 + 1) {
		vma_write_flags(&t, all);
		s = text_take(&t, NULL);
		ck_assert_msg(vma_parse_flags(s, &back), "%s", s);
		ck_assert_uint_eq(back, all);
		free(s);
	}
}
END_TEST

START_TEST(finding)
{
	struct process *p;
	char *copy;

	p = parse(TEST_DATA "/maps-odd", &copy);
	for (size_t i = 0; i < p->nvmas; i++) {
		ck_assert_ptr_eq(vma_find(p, p->vmas[i].start), &p->vmas[i]);
		ck_assert_ptr_eq(vma_find(p, p->vmas[i].end - 1), &p->vmas[i]);
	}
	ck_assert_ptr_null(vma_find(p, 0));
	ck_assert_ptr_null(vma_find(p, 0x401000));
	ck_assert_ptr_null(vma_find(p, UINT64_MAX));
	free(copy);
	process_free(p);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("vma");
	TCase *t = tcase_create("vma");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(
	    t, there_and_back, 0, sizeof(round_trips) / sizeof(round_trips[0]));
	tcase_add_test(t, kinds);
	tcase_add_loop_test(
	    t, bad_line, 0, sizeof(bad_lines) / sizeof(bad_lines[0]));
	tcase_add_test(t, flags_of_smaps);
	tcase_add_test(t, smaps_of_a_twin);
	tcase_add_test(t, flag_names);
	tcase_add_test(t, finding);
	suite_add_tcase(s, t);
	return unit_run(s);
}
