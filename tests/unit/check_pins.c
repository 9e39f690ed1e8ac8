/*
 * check_pins.c - descriptors whose calls may have pages pinned.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "pins.h"

static const char mounts[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "23 22 0:5 / /proc rw - proc proc rw\n"
    "24 22 0:41 / /net rw master:3 - fuse.sshfs a:/ - rw\n"
    "25 22 0:42 / /p9 rw - 9p - rw\n"
    "26 22 0:43 / /x rw - ext rw\n"
    "27 22 0:44 / /broken";

static const struct {
	const char *target, *flags;
	unsigned mount;
	mode_t mode;
	unsigned major;
	bool harmless;
} cases[] = {
	{ "pipe:[7]", "00", 14, 0, 0, true },
	{ "socket:[7]", "02", 9, 0, 0, true },
	{ "anon_inode:[eventpoll]", "02", 15, 0, 0, true },
	{ "anon_inode:inotify", "02", 15, 0, 0, true },
	{ "anon_inode:[io_uring]", "02", 15, 0, 0, false },
	{ "anon_inode:[perf_event]", "02", 15, 0, 0, false },
	{ "/a", "0100002", 22, S_IFREG, 0, true },
	{ "/a (deleted)", "0100002", 22, S_IFREG, 0, true },
	/* O_DIRECT */
	{ "/a", "0140002", 22, S_IFREG, 0, false },
	{ "/dir", "0300000", 22, S_IFDIR, 0, true },
	{ "/proc/7/stat", "00", 23, S_IFREG, 0, true },
	{ "/net/a", "00", 24, S_IFREG, 0, false },
	{ "/p9/a", "00", 25, S_IFREG, 0, false },
	/* Nobody reads through it. */
	{ "/net/a", "010000000", 24, S_IFREG, 0, true },
	{ "/net/fifo", "00", 24, S_IFIFO, 0, true },
	{ "/x/a", "00", 26, S_IFREG, 0, false },
	{ "/broken/a", "00", 27, S_IFREG, 0, false },
	{ "/elsewhere", "00", 2, S_IFREG, 0, false },
	{ "/memfd:a (deleted)", "02", 2, S_IFREG, 0, true },
	{ "/memfd:a", "02", 24, S_IFREG, 0, false },
	{ "/dev/null", "02", 22, S_IFCHR, 1, true },
	{ "/dev/tty", "02", 22, S_IFCHR, 5, true },
	{ "/dev/pts/3", "02", 22, S_IFCHR, 136, true },
	{ "/dev/sg0", "02", 22, S_IFCHR, 21, false },
	{ "/dev/sda", "02", 22, S_IFBLK, 8, false },
	{ "net:[4026531840]", "00", 4, 0, 0, false },
};

START_TEST(kinds)
{
	char info[128];

	snprintf(info, sizeof(info), "pos:\t0\nflags:\t%s\nmnt_id:\t%u\n",
	    cases[_i].flags, cases[_i].mount);
	ck_assert_int_eq(pins_not(cases[_i].target, info, mounts,
			     cases[_i].mode, makedev(cases[_i].major, 0)),
	    cases[_i].harmless);
	ck_assert(!pins_not("/a", "", mounts, S_IFREG, 0));
	ck_assert(!pins_not("/a", "flags:\t00\n", mounts, S_IFREG, 0));
}
END_TEST

/* Of ourselves, with one more. */
START_TEST(ourselves)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	char name[] = "/tmp/check_pins.XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC), direct;
	bool before;

	ck_assert_int_ge(fd, 0);
	close_range(3, (unsigned)fd - 1, 0);
	close_range((unsigned)fd + 1, ~0u, 0);
	before = pins_none(cx, getpid());
	direct = open(name, O_RDONLY | O_DIRECT);
	unlink(name);
	/* Where that is kept there may be no such way. */
	if (direct >= 0) {
		ck_assert(!pins_none(cx, getpid()));
		close(direct);
	}
	ck_assert_int_eq(pins_none(cx, getpid()), before);
	ck_assert(!pins_none(cx, 0x7ffffff));
	close(fd);
	snap_ctx_free(cx);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pins");
	TCase *t = tcase_create("pins");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, kinds, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(t, ourselves);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
