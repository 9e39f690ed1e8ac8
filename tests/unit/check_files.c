/*
 * check_files.c - descriptors of files and directories, the way round; locks,
 * and who is told that one is ready.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fdlock.h"
#include "roundtrip.h"
#include "unit.h"

static void
files_prepare(void)
{
	at(open(in_dir("a"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600), 5);
	OK(write(5, "0123456789", 10) == 10);
	at(open(in_dir("a"), O_RDONLY), 6);
	OK(lseek(6, 4, SEEK_SET) == 4);
	at(dup(6), 7);
	at(open(in_dir("a"), O_RDONLY), 8);
	OK(lseek(8, 4, SEEK_SET) == 4);
	at(open("/proc/self/maps", O_RDONLY), 9);
	at(open("/dev/zero", O_RDWR | O_NONBLOCK), 10);
}

static void
files_verify(void)
{
	OK(flags_of(5) == (O_RDWR | O_APPEND));
	OK(fcntl(5, F_GETFD) == FD_CLOEXEC);
	OK(lseek(5, 0, SEEK_CUR) == 10);
	OK(fcntl(6, F_GETFD) == 0);
	OK(lseek(6, 1, SEEK_CUR) == 5);
	OK(lseek(7, 0, SEEK_CUR) == 5);
	OK(lseek(8, 0, SEEK_CUR) == 4);
	OK(flags_of(10) == (O_RDWR | O_NONBLOCK));
	OK(fcntl(0, F_GETFD) < 0 && fcntl(11, F_GETFD) < 0);
}

START_TEST(files)
{
	round_trip(files_prepare, files_verify);
}
END_TEST

static void
identity_prepare(void)
{
	at(open(in_dir("r"), O_RDONLY), 3);
	at(open(in_dir("w"), O_WRONLY), 4);
}

static void
make(const char *name, const char *text)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void
expect_stale(const struct process *p, const char *word)
{
	ck_assert_int_eq(restore(p, nothing), -ESTALE);
	ck_assert_msg(strstr(board->text, word) != NULL, "%s", board->text);
}

START_TEST(identity)
{
	struct process *p;

	make("r", "read");
	make("w", "write");
	p = collect(identity_prepare);
	ck_assert_int_eq(restore(p, nothing), 0);
	make("w", "written on");
	ck_assert_int_eq(restore(p, nothing), 0);
	make("w", "wri");
	expect_stale(p, "fd 4");
	make("w", "write");
	make("r", "longer");
	expect_stale(p, "fd 3");
	make("r", "same");
	expect_stale(p, "changed");
	unlink(in_dir("r"));
	ck_assert_int_eq(restore(p, nothing), -ENOENT);
	ck_assert_msg(
	    strstr(board->text, in_dir("r")) != NULL, "%s", board->text);
	process_free(p);
}
END_TEST

static void
deleted_prepare(void)
{
	at(open(in_dir("d"), O_WRONLY | O_CREAT, 0640), 3);
	OK(write(3, "gone", 4) == 4);
	at(open(in_dir("d"), O_RDONLY), 4);
	OK(ftruncate(3, 1 << 20) == 0);
	unlink(in_dir("d"));
	/* Another file took the name. */
	at(open(in_dir("e"), O_RDWR | O_CREAT, 0600), 5);
	OK(write(5, "old", 3) == 3);
	OK(link(in_dir("e"), "/proc/self/nowhere") < 0);
	unlink(in_dir("e"));
	at(open(in_dir("e"), O_RDWR | O_CREAT, 0600), 6);
	OK(write(6, "new", 3) == 3);
	at(open(dir, O_RDWR | O_TMPFILE, 0600), 7);
	OK(write(7, "tmpfile", 7) == 7);
}

static void
deleted_verify(void)
{
	struct stat st, st4;

	OK(fstat(3, &st) == 0 && st.st_nlink == 0);
	OK(st.st_size == 1 << 20 && st.st_blocks < 64);
	OK((st.st_mode & 0777) == 0640);
	OK(fstat(4, &st4) == 0 && st.st_ino == st4.st_ino);
	OK(flags_of(3) == O_WRONLY && flags_of(4) == O_RDONLY);
	OK(lseek(3, 0, SEEK_CUR) == 4 && lseek(4, 0, SEEK_CUR) == 0);
	OK(write(3, "!", 1) == 1);
	char buf[8];
	OK(read(4, buf, 5) == 5 && memcmp(buf, "gone!", 5) == 0);
	OK(same_text(5, "old", 0) && same_text(6, "new", 0));
	OK(same_text(7, "tmpfile", 0));
	OK(fstat(6, &st) == 0 && st.st_nlink == 1);
}

START_TEST(deleted)
{
	round_trip(deleted_prepare, deleted_verify);
}
END_TEST

static void
dirs_prepare(void)
{
	DIR *d;
	int fd;

	for (int i = 0; i < 20; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%d", i);
		close(open(in_dir(name), O_WRONLY | O_CREAT, 0600));
	}
	d = opendir(dir);
	OK(d != NULL);
	fd = dirfd(d);
	OK(lseek(fd, 0, SEEK_CUR) == 0);
	for (int i = 0; i < 5; i++)
		OK(readdir(d) != NULL);
	OK(lseek(fd, telldir(d), SEEK_SET) >= 0);
	OK(symlink("nowhere", in_dir("link")) == 0);
	at(open(in_dir("link"), O_PATH | O_NOFOLLOW), 21);
	at(open(dir, O_PATH), 22);
	at(open(in_dir("f1"), O_PATH | O_CLOEXEC), 23);
	at(dup(fd), 20);
	OK(fd == 0);
	close(fd);
	board->word[0] = lseek(20, 0, SEEK_CUR);
}

static void
dirs_verify(void)
{
	struct stat st;

	OK(lseek(20, 0, SEEK_CUR) == board->word[0] && board->word[0] != 0);
	OK(fstat(21, &st) == 0 && S_ISLNK(st.st_mode));
	OK(fcntl(22, F_GETFL) & O_PATH);
	OK(faccessat(22, "f3", F_OK, 0) == 0);
	OK(fcntl(23, F_GETFD) == FD_CLOEXEC);
}

START_TEST(dirs)
{
	round_trip(dirs_prepare, dirs_verify);
}
END_TEST

/* ---- locks and owners ---- */

static void
locks_prepare(void)
{
	struct flock fl = { .l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = 10,
		.l_len = 20 };

	at(open(in_dir("x"), O_RDWR | O_CREAT, 0600), 3);
	OK(flock(3, LOCK_EX) == 0);
	at(open(in_dir("y"), O_RDWR | O_CREAT, 0600), 4);
	/* First: closing any descriptor of the file drops such locks. */
	at(open(in_dir("y"), O_RDWR), 5);
	OK(fcntl(4, F_SETLK, &fl) == 0);
	fl.l_start = 100;
	fl.l_len = 0;
	fl.l_type = F_RDLCK;
	OK(fcntl(4, F_SETLK, &fl) == 0);
	at(open(in_dir("z"), O_RDWR | O_CREAT, 0600), 6);
	fl.l_pid = 0;
	OK(fcntl(6, F_OFD_SETLK, &fl) == 0);
	at(open(in_dir("l"), O_RDWR | O_CREAT, 0600), 7);
	OK(fcntl(7, F_SETLEASE, F_WRLCK) == 0);
}

static void
locks_verify(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(in_dir("x"), O_RDONLY);

	OK(flock(fd, LOCK_SH | LOCK_NB) < 0);
	OK(fcntl(7, F_GETLEASE) == F_WRLCK);
	fd = open(in_dir("z"), O_RDWR);
	OK(fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type == F_RDLCK);
	OK(fl.l_start == 100 && fl.l_len == 0);
	board->word[0] = getpid();
	if (fork() == 0) {
		fl = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
		OK(fcntl(5, F_GETLK, &fl) == 0 && fl.l_type == F_WRLCK);
		OK(fl.l_start == 10 && fl.l_len == 20);
		OK(fl.l_pid == board->word[0]);
		fl = (struct flock){ .l_type = F_WRLCK, .l_start = 50 };
		OK(fcntl(5, F_GETLK, &fl) == 0 && fl.l_type == F_RDLCK);
		OK(fl.l_start == 100 && fl.l_len == 0);
		_exit(0);
	}
	int status;
	if (wait(&status) < 0 || status != 0)
		_exit(1);
}

START_TEST(locks)
{
	struct process *p;
	struct fdlock *v;
	int fd;

	round_trip(locks_prepare, locks_verify);
	p = collect(locks_prepare);
	ck_assert_int_eq(fdlock_posix(p, &v), 2);
	ck_assert_int_eq(v[0].fd, 4);
	ck_assert_int_eq(v[0].lock.l_len, 20);
	free(v);
	fd = open(in_dir("x"), O_RDONLY);
	ck_assert_int_eq(flock(fd, LOCK_SH), 0);
	ck_assert_int_eq(restore(p, nothing), -EAGAIN);
	ck_assert(strstr(board->text, "fd 3") != NULL);
	close(fd);
	process_free(p);
}
END_TEST

static void
owners_prepare(void)
{
	int fd[2];

	OK(pipe(fd) == 0);
	at(fd[0], 3);
	at(fd[1], 4);
	OK(fcntl(3, F_SETOWN, getpid()) == 0);
	OK(fcntl(3, F_SETSIG, SIGRTMIN) == 0);
	OK(fcntl(3, F_SETFL, O_ASYNC) == 0);
}

static volatile sig_atomic_t signal_fd;

static void
on_signal(int signo, siginfo_t *si, void *uc)
{
	(void)signo;
	(void)uc;
	signal_fd = si->si_fd;
}

static void
owners_verify(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO };

	OK(sigaction(SIGRTMIN, &sa, NULL) == 0);
	OK(flags_of(3) == (O_RDONLY | O_ASYNC));
	OK(fcntl(3, F_GETOWN) == getpid());
	OK(write(4, "x", 1) == 1);
	OK(signal_fd == 3);
}

START_TEST(owners)
{
	round_trip(owners_prepare, owners_verify);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("files");
	TCase *tc = tcase_create("round trip");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, files);
	tcase_add_test(tc, identity);
	tcase_add_test(tc, deleted);
	tcase_add_test(tc, dirs);
	tcase_add_test(tc, locks);
	tcase_add_test(tc, owners);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
