/*
 * check_pipes.c - pipes and FIFOs, the way round.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "roundtrip.h"
#include "unit.h"

static void
pipes_prepare(void)
{
	int fd[2];

	OK(pipe2(fd, O_CLOEXEC) == 0);
	at(fd[1], 11);
	at(fd[0], 10);
	OK(fcntl(11, F_SETPIPE_SZ, 256 << 10) == 256 << 10);
	OK(write(11, "unread", 6) == 6);
	fcntl(11, F_SETFL, O_NONBLOCK);
	at(open("/proc/self/fd/10", O_RDONLY), 12);
	/* packets */
	OK(pipe2(fd, O_DIRECT | O_NONBLOCK) == 0);
	at(fd[0], 20);
	at(fd[1], 21);
	OK(write(21, "one", 3) == 3 && write(21, "three", 5) == 5);
	/* nobody at the other end */
	OK(pipe(fd) == 0);
	at(fd[0], 30);
	OK(write(fd[1], "last", 4) == 4);
	close(fd[1]);
	OK(pipe(fd) == 0);
	at(fd[1], 31);
	close(fd[0]);
	/* full to the brim */
	OK(pipe2(fd, O_NONBLOCK) == 0);
	at(fd[1], 41);
	at(fd[0], 40);
	while (write(41, board->text, sizeof(board->text)) > 0)
		;
	ioctl(40, FIONREAD, &fd[0]);
	board->word[0] = fd[0];
}

static void
pipes_verify(void)
{
	char buf[64];
	int n;

	signal(SIGPIPE, SIG_IGN);
	OK(fcntl(10, F_GETPIPE_SZ) == 256 << 10);
	OK(fcntl(10, F_GETFD) == FD_CLOEXEC && fcntl(12, F_GETFD) == 0);
	OK(flags_of(10) == O_RDONLY && flags_of(12) == O_RDONLY);
	OK(flags_of(11) == (O_WRONLY | O_NONBLOCK));
	OK(write(11, "!", 1) == 1);
	OK(read(12, buf, 3) == 3 && read(10, buf + 3, 60) == 4);
	OK(memcmp(buf, "unread!", 7) == 0);
	OK(read(20, buf, 60) == 3 && read(20, buf, 60) == 5);
	OK(read(20, buf, 60) < 0 && errno == EAGAIN);
	OK(read(30, buf, 60) == 4 && read(30, buf, 60) == 0);
	OK(write(31, "x", 1) < 0 && errno == EPIPE);
	OK(ioctl(40, FIONREAD, &n) == 0 && n == board->word[0]);
	OK(write(41, "x", 1) < 0 && errno == EAGAIN);
	close(11);
	OK(read(10, buf, 60) == 0);
}

START_TEST(pipes)
{
	round_trip(pipes_prepare, pipes_verify);
}
END_TEST

static void
fifos_prepare(void)
{
	OK(mkfifo(in_dir("fifo"), 0600) == 0);
	at(open(in_dir("fifo"), O_RDWR), 3);
	at(open(in_dir("fifo"), O_WRONLY), 4);
	at(open(in_dir("fifo"), O_RDONLY | O_NONBLOCK), 5);
	OK(write(4, "fifo", 4) == 4);
	close(3);
}

static void
fifos_verify(void)
{
	char buf[8];

	OK(flags_of(4) == O_WRONLY && flags_of(5) == (O_RDONLY | O_NONBLOCK));
	OK(read(5, buf, 8) == 4 && memcmp(buf, "fifo", 4) == 0);
	OK(read(5, buf, 8) < 0 && errno == EAGAIN);
	close(4);
	OK(read(5, buf, 8) == 0);
}

START_TEST(fifos)
{
	round_trip(fifos_prepare, fifos_verify);
}
END_TEST

static int outside[2];

static void
pipe_outside_prepare(void)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getppid(), outside[0]);
	at(open(path, O_RDONLY), 3);
	at(dup(3), 4);
}

START_TEST(pipe_outside)
{
	struct process *p;

	ck_assert_int_eq(pipe(outside), 0);
	p = collect(pipe_outside_prepare);
	ck_assert_uint_eq(p->nunsupported, 2);
	ck_assert_str_eq(p->unsupported[1].what, "fd 4");
	ck_assert(strstr(p->unsupported[1].why, "ignore=fd 4") != NULL);
	ck_assert_int_eq(restore(p, nothing), -ENOTSUP);
	process_free(p);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pipes");
	TCase *tc = tcase_create("round trip");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, pipes);
	tcase_add_test(tc, fifos);
	tcase_add_test(tc, pipe_outside);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
