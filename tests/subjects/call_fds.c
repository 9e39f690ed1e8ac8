/*
 * call_fds - asleep in read(2) on an eventfd, a timerfd, a signalfd and an
 * inotify descriptor, in open(2) of a FIFO, and waiting for a lock.
 *
 * clones: refused
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "call.h"

static int ev, tm, sg, in, lock[2];
static const char *fifo;

static long
reads(void *arg)
{
	char buf[4096];

	return call_errno(read(*(int *)arg, buf, sizeof(buf))) > 0;
}

static long
opens(void *arg)
{
	(void)arg;
	return call_errno(open(fifo, O_RDONLY | O_CLOEXEC)) >= 0;
}

static long
locks(void *arg)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	(void)arg;
	return call_errno(fcntl(lock[1], F_OFD_SETLKW, &fl));
}

int
main(int argc, char **argv)
{
	struct call c[] = {
		{ .make = reads, .nr = SYS_read, .arg = &ev },
		{ .make = reads, .nr = SYS_read, .arg = &tm },
		{ .make = reads, .nr = SYS_read, .arg = &sg },
		{ .make = reads, .nr = SYS_read, .arg = &in },
		{ .make = opens, .nr = SYS_openat },
		{ .make = locks, .nr = SYS_fcntl },
	};
	static const char *const names[] = { "eventfd", "timerfd", "signalfd",
		"inotify", "open of a FIFO", "F_OFD_SETLKW" };
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct itimerspec soon = { { 0, 0 }, { 0, 1000000 } };
	const char *path;
	sigset_t set;
	int i, fd;

	subject_init(argc, argv);
	/* Two ends of a FIFO are new at the end. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	path = subject_file("lock", 10, 1);
	fifo = strdup(subject_path("fifo"));
	must(mkfifo(fifo, 0600) == 0);
	must((ev = eventfd(0, 0)) >= 0);
	must((tm = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0);
	must((sg = signalfd(-1, &set, 0)) >= 0);
	must((in = inotify_init1(0)) >= 0);
	must(inotify_add_watch(in, path, IN_ATTRIB) >= 0);
	must((lock[0] = open(path, O_RDWR)) >= 0);
	must((lock[1] = open(path, O_RDWR)) >= 0);
	must(fcntl(lock[0], F_OFD_SETLK, &fl) == 0);
	for (i = 0; i < 6; i++)
		call_begin(&c[i]);

	subject_wait();

	for (i = 0; i < 6; i++)
		expect(!call_finished(&c[i]), "%s returned %ld too early",
		    names[i], c[i].result);
	must(eventfd_write(ev, 1) == 0);
	must(timerfd_settime(tm, 0, &soon, NULL) == 0);
	must(kill(getpid(), SIGUSR1) == 0);
	must(chmod(path, 0640) == 0);
	fl.l_type = F_UNLCK;
	must(fcntl(lock[0], F_OFD_SETLK, &fl) == 0);
	for (i = 0; i < 6; i++) {
		if (i == 4 && (fd = open(fifo, O_WRONLY | O_NONBLOCK)) < 0)
			subject_fail(
			    "nobody opens the FIFO: %s", strerror(errno));
		call_end(names[i], &c[i], i == 5 ? 0 : 1);
	}
	subject_forget();
	return subject_done();
}
