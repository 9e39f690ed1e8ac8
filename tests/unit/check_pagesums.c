/*
 * The sums of the pieces of `pages`, and other small texts of a lazy restore.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "ctx.h"
#include "img.h"
#include "pagers.h"
#include "pagesums.h"
#include "unit.h"
#include "vma.h"

static struct snap_ctx *cx;

static void
setup(void)
{
	cx = snap_ctx_new(NULL);
}

static void
teardown(void)
{
	snap_ctx_free(cx);
}

static int
parse(const char *text, uint64_t size, struct pagesums **out)
{
	char *copy = strdup(text);
	struct lines l;
	int err;

	snap_clear(cx);
	lines_init(&l, cx, "pagesums", copy, strlen(copy));
	err = pagesums_read(&l, size, out);
	free(copy);
	return err;
}

#define H "0123456789abcdef0123456789abcdef\n"
#define W "pages: " H

START_TEST(there_and_back)
{
	const uint64_t sizes[] = { 0, 4096, PAGESUMS_PIECE - 4096,
		PAGESUMS_PIECE, PAGESUMS_PIECE + 4096, 5 * PAGESUMS_PIECE,
		PAGESUMS_LARGE, PAGESUMS_LARGE + 4096 };
	uint64_t size = sizes[_i];
	struct pagesums *s = pagesums_new(size), *t;
	struct text text = { 0 };

	ck_assert_uint_eq(s->n, (size + s->piece - 1) / s->piece);
	ck_assert_uint_eq(
	    s->piece, size < PAGESUMS_LARGE ? PAGESUMS_SMALL : PAGESUMS_PIECE);
	for (size_t i = 0; i < s->n; i++)
		memset(s->sum[i], (int)(i + 1), sizeof(s->sum[i]));
	memset(s->whole, 0xa5, sizeof(s->whole));
	pagesums_write(&text, s);
	ck_assert_uint_eq(text.len, pagesums_length(size));
	ck_assert_int_eq(parse(text.s, size, &t), 0);
	ck_assert_uint_eq(t->n, s->n);
	ck_assert_uint_eq(t->piece, s->piece);
	ck_assert_mem_eq(t->whole, s->whole, sizeof(s->whole));
	if (s->n > 0)
		ck_assert_mem_eq(t->sum, s->sum, s->n * sizeof(*s->sum));
	pagesums_free(s);
	pagesums_free(t);
	text_fini(&text);
}
END_TEST

static const struct {
	const char *text, *sentence;
} bad[] = {
	{ "", "pagesums:" },
	{ "piece: 8192", "pagesums:" },
	{ "piece: 0\n" H, "power of two" },
	{ "piece: 2048\n" H, "power of two" },
	{ "piece: 12288\n" H, "power of two" },
	{ "piece: 2097152\n" H, "power of two" },
	{ "piece: 99999999999999999999999\n" H, "power of two" },
	{ "piece: -4096\n" H, "power of two" },
	{ "piece:8192\n" H H, "power of two" },
	{ H H, "power of two" },
	{ "piece: 8192\n", "pagesums:" },
	{ "piece: 8192\n" H H, "not the sum of `pages'" },
	{ "piece: 8192\npages: 0\n" H H, "not the sum of `pages'" },
	{ "piece: 8192\n" W H, "fewer sums" },
	{ "piece: 4096\n" W H H, "fewer sums" },
	{ "piece: 8192\n" W H H H, "pagesums:5: more sums" },
	{ "piece: 8192\n" W H "0123456789ABCDEF0123456789abcdef\n",
	    "not a sum" },
	{ "piece: 8192\n" W H "0123456789abcdef0123456789abcde\n00000000",
	    "pagesums:" },
	{ "piece: 8192\n" W H "0123456789abcdef0123456789abcdef0\n",
	    "not a sum" },
};

START_TEST(refused)
{
	struct pagesums *s;

	ck_assert_int_eq(parse(bad[_i].text, 12288, &s), -EBADMSG);
	ck_assert_msg(strstr(snap_error(cx), bad[_i].sentence) != NULL,
	    "no `%s' in: %s", bad[_i].sentence, snap_error(cx));
}
END_TEST

START_TEST(verified)
{
	static char bytes[8192];
	struct pagesums *s;
	XXH128_canonical_t c;
	char text[128], hex[33];

	memset(bytes, 7, sizeof(bytes));
	XXH128_canonicalFromHash(&c, XXH3_128bits(bytes, 4096));
	for (int i = 0; i < 16; i++)
		sprintf(hex + 2 * i, "%02x", c.digest[i]);
	snprintf(text, sizeof(text), "piece: 8192\n" W H "%s\n", hex);
	ck_assert_int_eq(parse(text, 12288, &s), 0);
	ck_assert_uint_eq(pagesums_bytes(s, 0), 8192);
	ck_assert_uint_eq(pagesums_bytes(s, 1), 4096);
	ck_assert(pagesums_good(s, 1, bytes));
	ck_assert(!pagesums_good(s, 0, bytes));
	bytes[4095] ^= 1;
	ck_assert(!pagesums_good(s, 1, bytes));
	pagesums_free(s);
}
END_TEST

static const struct {
	const char *smaps;
	bool missing;
} smaps[] = {
	{ "1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\n"
	  "VmFlags: rd wr mr mw me ac \n",
	    false },
	{ "1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\n"
	  "VmFlags: rd wr mr mw me um ac \n",
	    true },
	{ "1000-2000 rw-p 00000000 00:00 0 \nVmFlags: rd um\n", true },
	{ "1000-2000 rw-p 00000000 00:00 0 \nVmFlags: rd umx\n", false },
	{ "1000-2000 rw-p 00000000 00:00 0  /a um b\nVmFlags: rd uw \n"
	  "3000-4000 rw-p 00000000 00:00 0  /VmFlags: um \nVmFlags: rd\n",
	    false },
	{ "1000-2000 rw-p 00000000 00:00 0 \nVmFlags: rd \n"
	  "3000-4000 rw-p 00000000 00:00 0 \nVmFlags: rd wr um \n",
	    true },
	{ "", false },
};

START_TEST(missing)
{
	ck_assert_int_eq(vma_smaps_missing(smaps[_i].smaps), smaps[_i].missing);
}
END_TEST

START_TEST(title)
{
	char t[116];
	uint64_t done, total;
	pid_t pid;

	memset(t, 'x', sizeof(t));
	pagers_title(t, sizeof(t), 1234, 5 << 20, 7 << 20);
	ck_assert_str_eq(t, "snapfs-pager: of 1234, 5120 of 7168 KiB");
	for (size_t i = strlen(t); i < sizeof(t); i++)
		ck_assert_int_eq(t[i], 0);
	ck_assert(pagers_parse(t, &pid, &done, &total));
	ck_assert_int_eq(pid, 1234);
	ck_assert_uint_eq(done, 5120);
	ck_assert_uint_eq(total, 7168);
	pagers_title(t, 10, 1234, 5 << 20, 7 << 20);
	ck_assert_str_eq(t, "snapfs-pa");
	ck_assert(!pagers_parse(t, &pid, &done, &total));
	ck_assert(!pagers_parse(
	    "snapfs-pager: of 1, 2 of 3 KiB and more", &pid, &done, &total));
	ck_assert(!pagers_parse("", &pid, &done, &total));
}
END_TEST

/* ---- prefetch ---- */

static int
parse_prefetch(const char *text, struct process *p)
{
	char *copy = strdup(text);
	struct lines l;
	int err;

	snap_clear(cx);
	lines_init(&l, cx, "prefetch", copy, strlen(copy));
	err = img_prefetch_read(&l, p);
	free(copy);
	return err;
}

START_TEST(prefetch)
{
	const char *text = "3000-5000\n0-1000\n8000-a000\n";
	struct process *p = process_new();
	struct text t = { 0 };

	p->pages_size = 0xa000;
	ck_assert_int_eq(parse_prefetch(text, p), 0);
	ck_assert_uint_eq(p->nprefetch, 3);
	ck_assert_uint_eq(p->prefetch[0].start, 0x3000);
	ck_assert_uint_eq(p->prefetch[2].end, 0xa000);
	img_prefetch_write(&t, p->prefetch, p->nprefetch);
	ck_assert_uint_eq(t.len, strlen(text));
	ck_assert_mem_eq(t.s, text, t.len);
	text_fini(&t);
	process_free(p);
}
END_TEST

static const struct {
	const char *text, *sentence;
} hints[] = {
	{ "0-1000", "prefetch:" },
	{ "1000-1000\n", "prefetch:1: not a range" },
	{ "0-1001\n", "prefetch:1: not a range" },
	{ "0-1000 \n", "prefetch:1: not a range" },
	{ "0-1000\n4000-6000\n", "prefetch:2: beyond the end" },
	{ "ffffffffffff0000-fffffffffffff000\n", "prefetch:1: beyond the end" },
	{ "0-4000\n0-1000\n1000-3000\n", "prefetch:3: more bytes" },
};

START_TEST(bad_prefetch)
{
	struct process *p = process_new();

	p->pages_size = 0x5000;
	ck_assert_int_eq(parse_prefetch(hints[_i].text, p), -EBADMSG);
	ck_assert_msg(strstr(snap_error(cx), hints[_i].sentence) != NULL, "%s",
	    snap_error(cx));
	process_free(p);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pagesums");
	TCase *t = tcase_create("pagesums");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, there_and_back, 0, 8);
	tcase_add_loop_test(t, refused, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(t, verified);
	tcase_add_loop_test(t, missing, 0, sizeof(smaps) / sizeof(smaps[0]));
	tcase_add_test(t, title);
	tcase_add_test(t, prefetch);
	tcase_add_loop_test(
	    t, bad_prefetch, 0, sizeof(hints) / sizeof(hints[0]));
	suite_add_tcase(s, t);
	return unit_run(s);
}
