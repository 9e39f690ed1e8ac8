/*
 * check_resource.c - descriptors: what an image may say of them, and the way
 * round.  Sockets are in check_sockets.c.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "fdlock.h"
#include "img.h"
#include "process.h"
#include "resource.h"

#include "roundtrip.h"

/* ---- regular files ---- */

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

/* ---- pipes ---- */

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

/* ---- things without a name ---- */

static void
anon_prepare(void)
{
	struct itimerspec its = { .it_value = { 100, 0 },
		.it_interval = { 7, 0 } };
	struct pollfd pfd = { .fd = 8, .events = POLLIN };
	sigset_t set;

	at(eventfd(7, EFD_SEMAPHORE | EFD_NONBLOCK), 3);
	at(eventfd(0, EFD_CLOEXEC), 4);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMAX);
	at(signalfd(-1, &set, SFD_NONBLOCK), 5);
	at(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 6);
	OK(timerfd_settime(6, 0, &its, NULL) == 0);
	at(timerfd_create(CLOCK_REALTIME, 0), 7);
	its.it_value.tv_sec = 4000000000;
	OK(timerfd_settime(7, TFD_TIMER_ABSTIME, &its, NULL) == 0);
	its.it_value = (struct timespec){ 0, 1 };
	at(timerfd_create(CLOCK_BOOTTIME, 0), 8);
	OK(timerfd_settime(8, 0, &its, NULL) == 0);
	OK(poll(&pfd, 1, 1000) == 1);
	its.it_interval.tv_sec = 0;
	at(timerfd_create(CLOCK_MONOTONIC, 0), 9);
	OK(timerfd_settime(9, 0, &its, NULL) == 0);
	pfd.fd = 9;
	OK(poll(&pfd, 1, 1000) == 1);
	/* It expired once, but has missed more. */
	its = (struct itimerspec){ .it_value = { 0, 1000000 },
		.it_interval = { 0, 1000000 } };
	at(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 11);
	OK(timerfd_settime(11, 0, &its, NULL) == 0);
	usleep(20000);
	at((int)syscall(SYS_pidfd_open, getpid(), 0), 10);
}

static void
anon_verify(void)
{
	struct itimerspec its;
	char line[64];
	sigset_t set;
	uint64_t v;

	OK(flags_of(3) == (O_RDWR | O_NONBLOCK));
	for (int i = 0; i < 7; i++)
		OK(read(3, &v, 8) == 8 && v == 1);
	OK(read(3, &v, 8) < 0 && errno == EAGAIN);
	OK(fcntl(4, F_GETFD) == FD_CLOEXEC && flags_of(4) == O_RDWR);
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR2);
	OK(read(5, board->text, sizeof(board->text)) < 0);
	raise(SIGRTMAX);
	OK(read(5, board->text, sizeof(board->text)) ==
	    sizeof(struct signalfd_siginfo));
	OK(timerfd_gettime(6, &its) == 0);
	OK(its.it_value.tv_sec >= 90 && its.it_value.tv_sec < 100);
	OK(its.it_interval.tv_sec == 7);
	OK(timerfd_gettime(7, &its) == 0 && its.it_value.tv_sec > 1000000000);
	OK(read(8, &v, 8) == 8 && v == 1);
	OK(timerfd_gettime(8, &its) == 0 && its.it_value.tv_sec > 0);
	OK(read(9, &v, 8) == 8 && v == 1);
	OK(timerfd_gettime(9, &its) == 0 && its.it_value.tv_nsec == 0);
	OK(read(11, &v, 8) == 8 && v >= 20);
	int fd = open("/proc/self/fdinfo/10", O_RDONLY);
	char *pid;
	ssize_t n = read(fd, board->text, sizeof(board->text) - 1);
	OK(n > 0);
	board->text[n] = '\0';
	snprintf(line, sizeof(line), "Pid:\t%d\n", (int)getpid());
	pid = strstr(board->text, line);
	OK(pid != NULL);
}

START_TEST(anon)
{
	round_trip(anon_prepare, anon_verify);
}
END_TEST

static void
memfds_prepare(void)
{
	at(memfd_create("first", MFD_ALLOW_SEALING), 3);
	OK(ftruncate(3, 8 << 20) == 0);
	OK(pwrite(3, "end", 3, (8 << 20) - 3) == 3);
	at(open("/proc/self/fd/3", O_RDONLY), 4);
	OK(lseek(4, 17, SEEK_SET) == 17);
	OK(fcntl(3, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) == 0);
	at(memfd_create("second (deleted)", MFD_CLOEXEC), 5);
	at(memfd_create("ro", MFD_ALLOW_SEALING), 6);
	OK(write(6, "ro", 2) == 2);
	OK(fcntl(6, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) == 0);
	at(open("/proc/self/fd/6", O_RDONLY), 7);
	close(6);
}

static void
memfds_verify(void)
{
	struct stat a, b;
	char target[64] = "";

	OK(fstat(3, &a) == 0 && fstat(4, &b) == 0 && a.st_ino == b.st_ino);
	OK(a.st_size == 8 << 20 && a.st_blocks <= 16);
	OK(same_text(3, "end", (8 << 20) - 3));
	OK(flags_of(4) == O_RDONLY && lseek(4, 0, SEEK_CUR) == 17);
	OK(fcntl(3, F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_SHRINK));
	OK(fcntl(5, F_GET_SEALS) == F_SEAL_SEAL);
	OK(readlink("/proc/self/fd/5", target, sizeof(target) - 1) > 0);
	OK(strcmp(target, "/memfd:second (deleted) (deleted)") == 0);
	OK(fcntl(7, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SEAL));
	OK(flags_of(7) == O_RDONLY && same_text(7, "ro", 0));
}

START_TEST(memfds)
{
	round_trip(memfds_prepare, memfds_verify);
}
END_TEST

static void
epolls_prepare(void)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int fd[2];

	at(epoll_create1(0), 3);
	OK(pipe(fd) == 0);
	at(fd[0], 14);
	at(fd[1], 15);
	ev.data.u64 = 0xdeadbeefcafef00d;
	OK(epoll_ctl(3, EPOLL_CTL_ADD, 14, &ev) == 0);
	at(eventfd(1, 0), 16);
	ev.events = EPOLLOUT | EPOLLIN | EPOLLONESHOT;
	ev.data.u64 = 16;
	OK(epoll_ctl(3, EPOLL_CTL_ADD, 16, &ev) == 0);
	at(dup(16), 17);
	ev.events = EPOLLIN;
	ev.data.u64 = 17;
	OK(epoll_ctl(3, EPOLL_CTL_ADD, 17, &ev) == 0);
	at(epoll_create1(EPOLL_CLOEXEC), 4);
	ev.data.u64 = 3;
	OK(epoll_ctl(4, EPOLL_CTL_ADD, 3, &ev) == 0);
}

static void
epolls_verify(void)
{
	struct epoll_event ev[4];
	bool seen16 = false, seen17 = false;

	OK(epoll_wait(4, ev, 4, 0) == 1 && ev[0].data.u64 == 3);
	OK(epoll_wait(3, ev, 4, 0) == 2);
	for (int i = 0; i < 2; i++) {
		seen16 |= ev[i].data.u64 == 16 &&
			  ev[i].events == (EPOLLIN | EPOLLOUT);
		seen17 |= ev[i].data.u64 == 17 && ev[i].events == EPOLLIN;
	}
	OK(seen16 && seen17);
	OK(write(15, "x", 1) == 1);
	OK(epoll_wait(3, ev, 4, 0) == 2);
	OK(epoll_wait(3, ev, 4, 0) == 1 && ev[0].data.u64 == 17);
	OK(epoll_ctl(3, EPOLL_CTL_DEL, 14, NULL) == 0);
}

START_TEST(epolls)
{
	round_trip(epolls_prepare, epolls_verify);
}
END_TEST

static void
epoll_gone_prepare(void)
{
	struct epoll_event ev = { .events = EPOLLIN };

	at(epoll_create1(0), 3);
	at(eventfd(1, 0), 4);
	OK(epoll_ctl(3, EPOLL_CTL_ADD, 4, &ev) == 0);
	at(dup(4), 5);
	close(4);
}

START_TEST(epoll_gone)
{
	refused(epoll_gone_prepare, "fd 3", "descriptor 4");
}
END_TEST

static void
inotify_prepare(void)
{
	at(inotify_init1(IN_NONBLOCK), 3);
	for (int i = 0; i < 6; i++)
		inotify_rm_watch(3, inotify_add_watch(3, "/", IN_MOVE));
	OK(inotify_add_watch(3, dir, IN_CREATE | IN_DELETE) == 7);
	OK(inotify_add_watch(3, "/etc/passwd", IN_MODIFY) == 8);
	while (read(3, board->text, sizeof(board->text)) > 0)
		;
	at(dup(3), 4);
}

static void
inotify_verify(void)
{
	struct inotify_event *e = (void *)board->text;

	OK(read(3, board->text, sizeof(board->text)) < 0 && errno == EAGAIN);
	close(open(in_dir("made"), O_WRONLY | O_CREAT, 0600));
	OK(read(3, board->text, sizeof(board->text)) > 0);
	OK(e->wd == 7 && e->mask == IN_CREATE && strcmp(e->name, "made") == 0);
	OK(inotify_rm_watch(3, 8) == 0);
}

/* Finding a path by its inode is the superuser's. */
START_TEST(inotify)
{
	if (geteuid() != 0)
		return;
	round_trip(inotify_prepare, inotify_verify);
}
END_TEST

static void
inotify_unread_prepare(void)
{
	at(inotify_init1(IN_NONBLOCK), 3);
	OK(inotify_add_watch(3, dir, IN_CREATE | IN_DELETE) == 1);
	close(open(in_dir("made"), O_WRONLY | O_CREAT, 0600));
}

START_TEST(inotify_unread)
{
	refused(inotify_unread_prepare, "fd 3", "unread events");
}
END_TEST

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

/* ---- terminals ---- */

static char slave_name[64];

static void
tty_prepare(void)
{
	struct termios t;

	at(open(slave_name, O_RDWR | O_NOCTTY), 0);
	OK(tcgetattr(0, &t) == 0);
	t.c_lflag &= ~(tcflag_t)ECHO;
	t.c_cc[VINTR] = 7;
	OK(tcsetattr(0, TCSANOW, &t) == 0);
	at(dup(0), 1);
	at(open(slave_name, O_WRONLY | O_NOCTTY | O_NONBLOCK), 2);
}

static void
tty_verify(void)
{
	struct termios t;

	OK(tcgetattr(0, &t) == 0);
	OK((t.c_lflag & ECHO) == 0 && t.c_cc[VINTR] == 7);
	OK(flags_of(1) == O_RDWR);
	OK(flags_of(2) == (O_WRONLY | O_NONBLOCK));
	OK(strcmp(ttyname(2), slave_name) == 0);
}

static void
hung_up_verify(void)
{
	char c;

	OK(read(0, &c, 1) == 0);
	OK(write(2, "x", 1) < 0 && errno == EIO);
	OK(flags_of(2) == (O_WRONLY | O_NONBLOCK));
}

START_TEST(ttys)
{
	struct process *p;
	int master, one, two;

	ck_assert_int_eq(openpty(&master, &one, slave_name, NULL, NULL), 0);
	p = collect(tty_prepare);
	ck_assert_int_eq(restore(p, hung_up_verify), 0);
	ck_assert_int_eq(openpty(&master, &two, slave_name, NULL, NULL), 0);
	tty = two;
	ck_assert_int_eq(restore(p, tty_verify), 0);
	ck_assert_uint_eq(p->nunsupported, 0);
	process_free(p);
}
END_TEST

static void
ptmx_prepare(void)
{
	at(posix_openpt(O_RDWR | O_NOCTTY), 3);
}

START_TEST(ptmx)
{
	refused(ptmx_prepare, "fd 3", "the master side");
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
	{ "pidfd", "x", 2, { "pid", "1" }, "pid" },
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

static Suite *
suite(void)
{
	Suite *s = suite_create("resource");
	TCase *tc = tcase_create("round trip");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, files);
	tcase_add_test(tc, identity);
	tcase_add_test(tc, deleted);
	tcase_add_test(tc, dirs);
	tcase_add_test(tc, pipes);
	tcase_add_test(tc, fifos);
	tcase_add_test(tc, pipe_outside);
	tcase_add_test(tc, anon);
	tcase_add_test(tc, memfds);
	tcase_add_test(tc, epolls);
	tcase_add_test(tc, epoll_gone);
	tcase_add_test(tc, inotify);
	tcase_add_test(tc, inotify_unread);
	tcase_add_test(tc, sockets);
	tcase_add_test(tc, replaced);
	tcase_add_test(tc, ttys);
	tcase_add_test(tc, ptmx);
	tcase_add_test(tc, locks);
	tcase_add_test(tc, owners);
	tcase_add_test(tc, many);
	suite_add_tcase(s, tc);
	tc = tcase_create("check");
	tcase_add_loop_test(
	    tc, checks, 0, (int)(sizeof(bads) / sizeof(bads[0])));
	tcase_add_test(tc, numbers);
	suite_add_tcase(s, tc);
	return s;
}

int
main(void)
{
	SRunner *sr = srunner_create(suite());
	int failed;

	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
