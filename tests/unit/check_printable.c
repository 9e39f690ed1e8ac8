/*
 * check_printable.c - bytes of elsewhere, on a line.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "snap.h"

/* No sequence is replaced that is whole, none stays that is not. */
static const struct {
	const char *text, *becomes;
} cases[] = {
	{ "", "" },
	{ "plain ~", "plain ~" },
	{ "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7 \xf4\x8f\xbf\xbf",
	    "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7 \xf4\x8f\xbf\xbf" },
	/* controls */
	{ "a\nb\tc\033[2J\x7f", "a?b?c?[2J?" },
	{ "\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "??????\xc2\xa0" },
	/* alone, cut off, too long for what they say */
	{ "\x80 \xff \xfe", "? ? ?" },
	{ "\xc3", "?" },
	{ "\xc3x \xe2\x82x \xf0\x9f\x90", "?x ??x ???" },
	{ "\xc0\x8a \xc1\xbf \xe0\x80\x8a \xf0\x80\x80\x8a", "?? ?? ??? ????" },
	/* surrogates, and beyond the last one */
	{ "\xed\x9f\xbf \xed\xa0\x80 \xed\xbf\xbf", "\xed\x9f\xbf ??? ???" },
	{ "\xf4\x90\x80\x80 \xf5\x80\x80\x80", "???? ????" },
};

START_TEST(each)
{
	char buf[64];

	strcpy(buf, cases[_i].text);
	snap_printable(buf);
	ck_assert_str_eq(buf, cases[_i].becomes);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("printable");
	TCase *tc = tcase_create("printable");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, each, 0, sizeof(cases) / sizeof(*cases));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
