/*
 * The text of an image: numbers are what they should be and nothing else,
 * values may hold anything, and a line that is cut short is noticed.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "text.h"
#include "unit.h"

enum { DEC, OCT, XNUM, ADDR };

static const struct {
	int base;
	const char *s;
	uint64_t max;
	bool ok;
	uint64_t v;
} numbers[] = {
	{ DEC, "0", UINT64_MAX, true, 0 },
	{ DEC, "18446744073709551615", UINT64_MAX, true, UINT64_MAX },
	{ DEC, "18446744073709551616", UINT64_MAX, false, 0 },
	{ DEC, "99999999999999999999", UINT64_MAX, false, 0 },
	{ DEC, "10", 9, false, 0 },
	{ DEC, "010", UINT64_MAX, false, 0 },
	{ DEC, "", UINT64_MAX, false, 0 },
	{ DEC, "-1", UINT64_MAX, false, 0 },
	{ DEC, "+1", UINT64_MAX, false, 0 },
	{ DEC, " 1", UINT64_MAX, false, 0 },
	{ DEC, "1 ", UINT64_MAX, false, 0 },
	{ DEC, "1a", UINT64_MAX, false, 0 },
	{ OCT, "0", 7, true, 0 },
	{ OCT, "0100002", UINT64_MAX, true, 0100002 },
	{ OCT, "100", UINT64_MAX, false, 0 },
	{ OCT, "08", UINT64_MAX, false, 0 },
	{ XNUM, "0xff", 255, true, 255 },
	{ XNUM, "0xff", 254, false, 0 },
	{ XNUM, "0xFF", 255, false, 0 },
	{ XNUM, "0x", 255, false, 0 },
	{ XNUM, "ff", 255, false, 0 },
	{ XNUM, "0xffffffffffffffff", UINT64_MAX, true, UINT64_MAX },
	{ XNUM, "0x10000000000000000", UINT64_MAX, false, 0 },
	{ ADDR, "7ffd00000000", 0, true, 0x7ffd00000000 },
	{ ADDR, "0x7f", 0, false, 0 },
	{ ADDR, "g", 0, false, 0 },
};

START_TEST(number)
{
	uint64_t v = 0;
	bool ok;

	switch (numbers[_i].base) {
	case DEC:
		ok = text_dec(numbers[_i].s, numbers[_i].max, &v);
		break;
	case OCT:
		ok = text_oct(numbers[_i].s, numbers[_i].max, &v);
		break;
	case XNUM:
		ok = text_xnum(numbers[_i].s, numbers[_i].max, &v);
		break;
	default:
		ok = text_addr(numbers[_i].s, &v);
	}
	ck_assert_msg(ok == numbers[_i].ok, "`%s'", numbers[_i].s);
	if (ok)
		ck_assert_uint_eq(v, numbers[_i].v);
}
END_TEST

START_TEST(signed_number)
{
	int64_t v;

	ck_assert(text_sdec("-20", -20, 19, &v) && v == -20);
	ck_assert(text_sdec("0", -20, 19, &v) && v == 0);
	ck_assert(!text_sdec("-21", -20, 19, &v));
	ck_assert(!text_sdec("20", -20, 19, &v));
	ck_assert(!text_sdec("-0", -20, 19, &v));
	ck_assert(!text_sdec("--1", -20, 19, &v));
	ck_assert(!text_sdec("-", -20, 19, &v));
	ck_assert(text_sdec("-9223372036854775807", INT64_MIN, INT64_MAX, &v));
	ck_assert(!text_sdec("9223372036854775808", INT64_MIN, INT64_MAX, &v));
}
END_TEST

/* Every byte, at the start and later. */
START_TEST(escapes)
{
	char s[8], back[64];
	struct text t = { 0 };

	for (int c = 1; c < 256; c++) {
		for (int at = 0; at < 3; at++) {
			strcpy(s, "abc");
			s[at] = (char)c;
			text_escape(&t, s);
			ck_assert_ptr_null(strchr(t.s, '\n'));
			ck_assert_int_ne(t.s[0], ' ');
			strcpy(back, t.s);
			ck_assert(text_unescape(back));
			ck_assert_str_eq(back, s);
			text_fini(&t);
		}
	}
}
END_TEST

/* Only what the writer could have written: one spelling for each value. */
START_TEST(bad_escapes)
{
	static const char *const bad[] = { "\\", "\\1", "\\12", "\\08a",
		"\\000", "\\101", "\\777", "a\\040", "a\n", "\x7f", " a",
		"\\\\" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char s[16];

		strcpy(s, bad[i]);
		ck_assert_msg(!text_unescape(s), "`%s'", bad[i]);
	}
}
END_TEST

START_TEST(hex)
{
	uint8_t b[3] = { 0, 0x7f, 0xff }, c[3];
	struct text t = { 0 };

	text_hex(&t, b, 3);
	ck_assert_str_eq(t.s, "007fff");
	ck_assert(text_unhex(t.s, c, 3));
	ck_assert_mem_eq(b, c, 3);
	ck_assert(!text_unhex("007ff", c, 3));
	ck_assert(!text_unhex("007fff0", c, 3));
	ck_assert(!text_unhex("007fFf", c, 3));
	ck_assert(!text_unhex("007f f", c, 3));
	ck_assert(text_unhex("", c, 0));
	text_fini(&t);
}
END_TEST

START_TEST(words)
{
	char s[] = "a bc  d", *at = s;

	ck_assert_str_eq(text_word(&at), "a");
	ck_assert_str_eq(text_word(&at), "bc");
	/* two spaces are not a separator: nothing is guessed */
	ck_assert_ptr_null(text_word(&at));
}
END_TEST

START_TEST(ranges)
{
	uint64_t a, b;
	char good[] = "1000-3000", same[] = "1000-1000", odd[] = "1000-3001";
	char open[] = "1000-", none[] = "1000", back[] = "3000-1000";

	ck_assert(text_range(good, &a, &b) && a == 0x1000 && b == 0x3000);
	ck_assert(!text_range(same, &a, &b));
	ck_assert(!text_range(odd, &a, &b));
	ck_assert(!text_range(open, &a, &b));
	ck_assert(!text_range(none, &a, &b));
	ck_assert(!text_range(back, &a, &b));
}
END_TEST

static int
read_all(struct snap_ctx *cx, const char *text, size_t len, int *pairs)
{
	char *buf = malloc(len + 1), *key, *value;
	struct lines l;
	int r;

	memcpy(buf, text, len);
	buf[len] = '\0';
	lines_init(&l, cx, "f", buf, len);
	*pairs = 0;
	while ((r = lines_pair(&l, &key, &value)) > 0)
		++*pairs;
	free(buf);
	return r;
}

START_TEST(lines)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	int n;

	ck_assert_int_eq(read_all(cx, "", 0, &n), 0);
	ck_assert_int_eq(read_all(cx, "a: b\n\nc:\td\ne:\n", 14, &n), 0);
	ck_assert_int_eq(n, 3);
	ck_assert_int_eq(read_all(cx, "a: b\nc: d", 9, &n), -EBADMSG);
	ck_assert_str_eq(snap_error(cx), "f:2: the last line is cut short");
	snap_clear(cx);
	ck_assert_int_eq(read_all(cx, "a: b\nc\0d\n", 9, &n), -EBADMSG);
	ck_assert_str_eq(snap_error(cx), "f:2: a NUL byte");
	snap_clear(cx);
	ck_assert_int_eq(read_all(cx, "a: b\n: c\n", 9, &n), -EBADMSG);
	snap_clear(cx);
	ck_assert_int_eq(read_all(cx, "a: b\nabc\n", 9, &n), -EBADMSG);
	ck_assert_str_eq(snap_error(cx), "f:2: not `key: value`");
	snap_ctx_free(cx);
}
END_TEST

/* Longer than any first guess at the room it needs. */
START_TEST(growth)
{
	struct text t = { 0 };
	size_t len;
	char *s, *big = calloc(1, 100001);

	memset(big, 'x', 100000);
	for (int i = 0; i < 100; i++)
		text_putf(&t, "%d%s\n", i, big);
	s = text_take(&t, &len);
	ck_assert_uint_eq(len, 100 * 100001 + 190);
	ck_assert_uint_eq(strlen(s), len);
	free(s);
	free(big);
}
END_TEST

/* A name in a sentence does not speak to a terminal; it may be no ASCII. */
START_TEST(sentences)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);

	snap_fail(
	    cx, -EINVAL, "%s: no", "a\033[2Jb\nc\x7f \xc2\x9b 2J \xc3\xa9");
	ck_assert_str_eq(snap_error(cx), "a?[2Jb?c? ?? 2J \xc3\xa9: no");
	snap_ctx_free(cx);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("text");
	TCase *t = tcase_create("text");

	tcase_add_loop_test(t, number, 0, sizeof(numbers) / sizeof(numbers[0]));
	tcase_add_test(t, signed_number);
	tcase_add_test(t, escapes);
	tcase_add_test(t, bad_escapes);
	tcase_add_test(t, hex);
	tcase_add_test(t, words);
	tcase_add_test(t, ranges);
	tcase_add_test(t, lines);
	tcase_add_test(t, growth);
	tcase_add_test(t, sentences);
	suite_add_tcase(s, t);
	return unit_run(s);
}
