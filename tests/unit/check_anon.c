/*
 * check_anon.c - descriptors of things without a name, the way round: events,
 * signals, timers, memory, and what waits for others.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "roundtrip.h"
#include "unit.h"

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

/* Of sockets the inode is looked at. */
static void
epoll_sockets_prepare(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd[2];

	at(epoll_create1(0), 3);
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd) == 0);
	at(fd[0], 4);
	at(fd[1], 5);
	for (int i = 4; i < 6; i++) {
		ev.data.u64 = (uint64_t)i;
		OK(epoll_ctl(3, EPOLL_CTL_ADD, i, &ev) == 0);
	}
	/* One by two numbers. */
	at(socket(AF_INET, SOCK_DGRAM, 0), 6);
	at(dup(6), 7);
	for (int i = 6; i < 8; i++) {
		ev.data.u64 = (uint64_t)i;
		OK(epoll_ctl(3, EPOLL_CTL_ADD, i, &ev) == 0);
	}
}

static void
epoll_sockets_verify(void)
{
	struct epoll_event ev[4];

	OK(epoll_wait(3, ev, 4, 0) == 0);
	OK(write(4, "x", 1) == 1);
	OK(epoll_wait(3, ev, 4, 0) == 1 && ev[0].data.u64 == 5);
	for (int i = 4; i < 8; i++)
		OK(epoll_ctl(3, EPOLL_CTL_DEL, i, NULL) == 0);
}

START_TEST(epoll_sockets)
{
	round_trip(epoll_sockets_prepare, epoll_sockets_verify);
}
END_TEST

static void
epoll_socket_gone_prepare(void)
{
	epoll_sockets_prepare();
	at(socket(AF_INET, SOCK_DGRAM, 0), 6);
}

START_TEST(epoll_socket_gone)
{
	refused(epoll_socket_gone_prepare, "fd 3", "descriptor 6");
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

int
main(void)
{
	Suite *s = suite_create("anon");
	TCase *tc = tcase_create("round trip");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, anon);
	tcase_add_test(tc, memfds);
	tcase_add_test(tc, epolls);
	tcase_add_test(tc, epoll_gone);
	tcase_add_test(tc, epoll_sockets);
	tcase_add_test(tc, epoll_socket_gone);
	tcase_add_test(tc, inotify);
	tcase_add_test(tc, inotify_unread);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
