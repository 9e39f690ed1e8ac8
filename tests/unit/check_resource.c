/*
 * check_resource.c - descriptors of any kind: what an image may say of them,
 * what is not supported or was replaced, and very many.  The kinds are in
 * files of their own: check_files.c, check_pipes.c, check_anon.c,
 * check_ttys.c, check_sockets.c.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "roundtrip.h"
#include "unit.h"

static void
datagram_prepare(void)
{
	at(socket(AF_PACKET, SOCK_RAW, 0), 9);
}

START_TEST(sockets)
{
	refused(datagram_prepare, "fd 9", "a kind that is not restored");
}
END_TEST

static void
replaced_verify(void)
{
	char c;

	OK(read(9, &c, 1) == 0 && flags_of(9) == O_RDWR);
	OK(write(9, "x", 1) == 1);
}

START_TEST(replaced)
{
	struct process *p = collect(datagram_prepare);
	struct openfile *f = file_of(p, 9);
	struct snap_ctx *cx = snap_ctx_new(NULL);

	free(f->target);
	f->target = strdup("/dev/null");
	ck_assert_int_eq(fds_check(cx, p), 0);
	ck_assert_int_eq(restore(p, replaced_verify), 0);
	strcpy(f->target, "dev/null");
	ck_assert_int_eq(fds_check(cx, p), -EBADMSG);
	snap_ctx_free(cx);
	process_free(p);
}
END_TEST

/* ---- many ---- */

static void
many_prepare(void)
{
	at(open("/dev/null", O_RDONLY), 0);
	for (int i = 1; i < 1000; i++)
		switch (i % 5) {
		case 0:
			at(eventfd((unsigned)i, 0), i);
			break;
		case 1:
			at(dup(i - 1), i);
			break;
		case 2:
			at(open("/etc/passwd", O_RDONLY), i);
			break;
		default: {
			int fd[2];

			OK(pipe(fd) == 0);
			at(fd[0], i);
			at(fd[1], i + 1);
			i++;
		}
		}
}

static void
many_verify(void)
{
	uint64_t v;

	for (int i = 5; i < 1000; i += 5)
		OK(read(i, &v, 8) == 8 && v == (uint64_t)i);
	OK(write(999, "x", 1) == 1 || errno == EBADF);
	OK(syscall(SYS_kcmp, getpid(), getpid(), 0, 5, 6) == 0);
}

START_TEST(many)
{
	round_trip(many_prepare, many_verify);
}
END_TEST

/* ---- what an image may say ---- */

static const struct bad bads[] = {
	{ "file", "/a", 0, { "size", "1", "mtime", "1.000000000" }, NULL },
	{ "file", "/a", 3, { 0 }, "flags" },
	{ "file", "/a", 1u << 31, { 0 }, "flags" },
	{ "file", "/a", O_CREAT, { 0 }, "flags" },
	{ "file", "/a", O_CLOEXEC, { 0 }, "flags" },
	{ "file", "a", 0, { 0 }, "absolute" },
	{ "file", "", 0, { 0 }, "link to nothing" },
	{ "file", "/a", 0, { "size", "-1" }, "size" },
	{ "file", "/a", 0, { "size", "9223372036854775808" }, "size" },
	{ "file", "/a", 0, { "size", "1 " }, "size" },
	{ "file", "/a", 0, { "mtime", "1.5" }, "mtime" },
	{ "file", "/a", 0, { "content", "1" }, "files/1" },
	{ "file", "/a", 0, { "content", "x" }, "content" },
	{ "file", "/a", 0, { "object", "1:2" }, "object" },
	{ "file", "/a", 0, { "lock", "flock write 0 EOF" }, NULL },
	{ "file", "/a", 0, { "lock", "posix read 5 4" }, "lock" },
	{ "file", "/a", 0, { "lock", "posix eat 5 6" }, "lock" },
	{ "file", "/a", 0, { "owner", "pid 1" }, "owner" },
	{ "file", "/a", 0, { "owner", "pid self", "signal", "65" }, "signal" },
	{ "toaster", "/a", 0, { 0 }, "toaster" },
	{ "eventfd", "x", 2,
	    { "eventfd-count", "ff", "eventfd-semaphore", "1" }, NULL },
	{ "eventfd", "x", 2, { "eventfd-semaphore", "1" }, "eventfd-count" },
	{ "eventfd", "x", 2,
	    { "eventfd-count", "ffffffffffffffff", "eventfd-semaphore", "0" },
	    "eventfd-count" },
	{ "eventfd", "x", 2,
	    { "eventfd-count", "10000000000000000", "eventfd-semaphore", "0" },
	    "eventfd-count" },
	{ "signalfd", "x", 2, { "sigmask", "xyz" }, "sigmask" },
	{ "timerfd", "x", 2,
	    { "clockid", "99", "ticks", "0", "settime-flags", "00" },
	    "clockid" },
	{ "epoll", "x", 2, { "tfd", "0 events 1 data ff" }, NULL },
	{ "epoll", "x", 2, { "tfd", "1 events 1 data ff" }, "tfd" },
	{ "epoll", "x", 2, { "tfd", "0 events 1 data ff " }, "tfd" },
	{ "inotify", "x", 0, { "watch", "1 mask fff /etc" }, NULL },
	{ "inotify", "x", 0, { "watch", "0 mask fff /etc" }, "watch" },
	{ "inotify", "x", 0, { "watch", "1 mask fff etc" }, "watch" },
	{ "pipe", "x", 0, { "object", "0:f:1", "pipe-size", "4096" }, NULL },
	{ "pipe", "x", 0, { "pipe-size", "4096" }, "object" },
	{ "pipe", "x", 0,
	    { "object", "0:f:1", "pipe-size", "4096", "packet", "4" },
	    "packets" },
	{ "fifo", "x", 0, { "object", "0:f:1", "pipe-size", "4096" },
	    "absolute" },
	{ "memfd", "/memfd:x (deleted)", 2, { "seals", "0", "mode", "0777" },
	    "content" },
	{ "memfd", "/etc/passwd", 2, { "seals", "0" }, "memfd" },
	{ "tty", "/dev/pts/0", 2, { "rdev", "88:0" }, NULL },
	{ "tty", "/dev/pts/0", 2, { "rdev", "88:0", "termios", "1 2 3" },
	    "termios" },
	{ "tty", "/dev/pts/0", 2, { "rdev", "88:0", "winsize", "1 2 3 65536" },
	    "winsize" },
	{ "tty", "/dev/pts/0", 2, { "rdev", "88:0", "winsize", "24 80 0 0" },
	    NULL },
	{ "ptmx", "/dev/ptmx", 2, { "pty", "3" }, NULL },
	{ "ptmx", "/dev/ptmx", 2, { "pty", "-3" }, "pty" },
	{ "ptmx", "/dev/ptmx", 2, { 0 }, "pty" },
	{ "ptmx", "/dev/ptmx", 2, { "pty", "3", "winsize", "1" }, "winsize" },
	{ "device", "/dev/null", 2, { "rdev", "1:3" }, NULL },
	{ "device", "/dev/mem", 2, { "rdev", "1:1" }, "rdev" },
	{ "pidfd", "x", 2, { "pid", "self" }, NULL },
	{ "pidfd", "x", 2, { "pid", "1" }, NULL },
	{ "pidfd", "x", 2, { "pid", "ended" }, NULL },
	{ "pidfd", "x", 2, { "pid", "0" }, "pid" },
	{ "pidfd", "x", 2, { "pid", "-1" }, "pid" },
	{ "path", "/a", O_PATH, { "type", "0100000" }, NULL },
	{ "path", "/a", O_PATH, { 0 }, "type" },
	{ "unsupported", "socket:[1]", 2, { 0 }, NULL },
};

START_TEST(checks)
{
	check_bad(&bads[_i]);
}
END_TEST

START_TEST(numbers)
{
	static const struct bad good = { "unsupported", "x", 0, { 0 }, NULL };
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = one_file(&good);
	struct fdent *e;

	p->fds[0].fd = -1;
	ck_assert_int_eq(fds_check(cx, p), -EBADMSG);
	p->fds[0].fd = 1 << 20;
	ck_assert_int_eq(fds_check(cx, p), -EBADMSG);
	p->fds[0].fd = 0;
	p->fds[0].file = 1;
	ck_assert_int_eq(fds_check(cx, p), -EBADMSG);
	p->fds[0].file = 0;
	p->files[0].id = 3;
	ck_assert_int_eq(fds_check(cx, p), -EBADMSG);
	p->files[0].id = 0;
	ck_assert_int_eq(fds_check(cx, p), 0);
	e = process_grow(&p->fds, &p->nfds, sizeof(*e));
	ck_assert_int_eq(fds_check(cx, p), -EBADMSG);
	e->fd = 1;
	ck_assert_int_eq(fds_check(cx, p), 0);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("resource");
	TCase *tc = tcase_create("round trip");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, sockets);
	tcase_add_test(tc, replaced);
	tcase_add_test(tc, many);
	suite_add_tcase(s, tc);
	tc = tcase_create("check");
	tcase_add_loop_test(
	    tc, checks, 0, (int)(sizeof(bads) / sizeof(bads[0])));
	tcase_add_test(tc, numbers);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
