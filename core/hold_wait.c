/*
 * hold_wait.c - is a call that is handed over the point?
 *
 * A call that polls is the point only if it waits for the outside.  While it
 * has no answer it does what it would do anyway, nothing: so there is time to
 * look whether one of the files it asks for is ready, on copies of them, and
 * whether another thread of the program is busy, since that one may be about
 * to wake it.  What the program has done by then is the program's start.
 *
 * Whatever is read from the program here is its own, and may be anything.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "hold.h"
#include "proc.h"
#include "proc_task.h"

#define MAX_FDS 1024
#define MAX_TASKS 4096 /* of a program that is looked at */
#define CALM 4	       /* looks in a row that find it asleep */
#define LOOK_NS 1500000ull
#define NS 1000000000ull
/* How long others may take to come to rest: of their own time, and of ours. */
#define SETTLE_CPU_NS NS
#define SETTLE_NS (20 * NS)

/* ---- its memory, its descriptors ---- */

static bool
read_memory(pid_t tid, uint64_t addr, void *buf, size_t len)
{
	struct iovec to = { buf, len }, from = { (void *)addr, len };

	return process_vm_readv(tid, &to, 1, &from, 1, 0) == (ssize_t)len;
}

/* Or -errno; -ESRCH: it is gone. */
static pid_t
tgid_of(pid_t tid)
{
	struct proc_status st;
	int err = proc_task_status(tid, 0, &st);

	return err == 0 ? st.tgid : err;
}

/* Is descriptor `fd` of it the standard input that the program was given? */
static bool
is_input(const struct hold *h, pid_t tgid, int fd)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)tgid, fd);
	return stat(path, &st) == 0 && st.st_dev == h->in_dev &&
	       st.st_ino == h->in_ino;
}

/* A copy of one more descriptor that it polls; what cannot be had is left. */
static int
add_fd(struct hold_wait *w, int pidfd, int fd, short events)
{
	struct pollfd *v = realloc(w->fds, (w->nfds + 1) * sizeof(*v));
	int copy;

	if (v == NULL)
		return -ENOMEM;
	w->fds = v;
	copy = pidfd_getfd(pidfd, fd, 0);
	if (copy < 0)
		return 0;
	w->fds[w->nfds++] = (struct pollfd){ .fd = copy, .events = events };
	return 0;
}

static int
take_poll(struct hold_wait *w, int pidfd)
{
	const __u64 *a = w->n.data.args;
	struct pollfd v[MAX_FDS];
	int err = 0;

	if (a[1] > MAX_FDS ||
	    !read_memory((pid_t)w->n.pid, a[0], v, a[1] * sizeof(v[0])))
		return -E2BIG;
	for (size_t i = 0; i < a[1] && err == 0; i++)
		if (v[i].fd >= 0)
			err = add_fd(w, pidfd, v[i].fd, v[i].events);
	return err;
}

static int
take_select(struct hold_wait *w, int pidfd)
{
	static const short events[] = { POLLIN, POLLOUT, POLLPRI };
	const __u64 *a = w->n.data.args;
	size_t n = (uint32_t)a[0];
	fd_set set;
	int err = 0;

	if (n > FD_SETSIZE)
		return -E2BIG;
	for (int k = 0; k < 3; k++) {
		if (a[1 + k] == 0)
			continue;
		FD_ZERO(&set);
		if (!read_memory(
			(pid_t)w->n.pid, a[1 + k], &set, (n + 63) / 64 * 8))
			return -EFAULT;
		for (size_t fd = 0; fd < n && err == 0; fd++)
			if (FD_ISSET(fd, &set))
				err = add_fd(w, pidfd, (int)fd, events[k]);
	}
	return err;
}

/* The process that waits for an answer, not one that has its number by now. */
static int
open_process(const struct hold *h, const struct hold_wait *w)
{
	int pidfd = pidfd_open(w->tgid, 0), err;

	if (pidfd < 0)
		return -errno;
	if (ioctl(h->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &w->n.id) == 0)
		return pidfd;
	err = -errno;
	close(pidfd);
	return err;
}

static int
take_fds(const struct hold *h, struct hold_wait *w)
{
	int pidfd = open_process(h, w), err = 0;

	if (pidfd < 0)
		return pidfd;
	switch (w->n.data.nr) {
	case SYS_poll:
	case SYS_ppoll:
		err = take_poll(w, pidfd);
		break;
	case SYS_select:
	case SYS_pselect6:
		err = take_select(w, pidfd);
		break;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		err = add_fd(w, pidfd, (int)w->n.data.args[0], POLLIN);
	}
	close(pidfd);
	return err;
}

/* ---- how long ---- */

static uint64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

static uint64_t
end_of_ms(int32_t ms)
{
	return ms < 0 ? 0 : now() + (uint64_t)ms * 1000000;
}

/* Of a timespec, or a timeval whose units are 1000 ns. */
static uint64_t
end_at(pid_t tid, uint64_t addr, uint64_t unit)
{
	struct timespec ts;

	if (addr == 0 || !read_memory(tid, addr, &ts, sizeof(ts)) ||
	    ts.tv_sec < 0 || ts.tv_sec > 1 << 30)
		return 0;
	return now() + (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec * unit;
}

static uint64_t
end_of(const struct hold_wait *w)
{
	const __u64 *a = w->n.data.args;
	pid_t tid = (pid_t)w->n.pid;

	switch (w->n.data.nr) {
	case SYS_poll:
		return end_of_ms((int32_t)a[2]);
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return end_of_ms((int32_t)a[3]);
	case SYS_ppoll:
	case SYS_rt_sigtimedwait:
		return end_at(tid, a[2], 1);
	case SYS_epoll_pwait2:
		return end_at(tid, a[3], 1);
	case SYS_pselect6:
		return end_at(tid, a[4], 1);
	case SYS_select:
		return end_at(tid, a[4], 1000);
	default:
		return 0;
	}
}

/* ---- what it is ---- */

static bool
is_read(long nr)
{
	return nr == SYS_read || nr == SYS_readv || nr == SYS_pread64 ||
	       nr == SYS_preadv || nr == SYS_preadv2 || nr == SYS_recvfrom ||
	       nr == SYS_recvmsg || nr == SYS_recvmmsg;
}

/*
 * A server is one that listens, from here on: the call itself is made again
 * when it goes on, which does no harm.
 */
static void
listen_for(const struct hold *h, const struct hold_wait *w)
{
	int pidfd = open_process(h, w), fd;

	if (pidfd < 0)
		return;
	fd = pidfd_getfd(pidfd, (int)w->n.data.args[0], 0);
	if (fd >= 0) {
		(void)listen(fd, (int)w->n.data.args[1]);
		close(fd);
	}
	close(pidfd);
}

/* To let it pass would be to let it go past the point. */
static enum hold_what
failed(struct hold *h, int err)
{
	h->err = err;
	return HOLD_FAILED;
}

enum hold_what
hold_look(struct hold *h, struct hold_wait *w)
{
	const enum snap_point_kind kind = h->opt->point.kind;
	const long nr = w->n.data.nr;
	int err;

	if (h->held || !h->executed)
		return HOLD_PASS;
	w->tgid = tgid_of((pid_t)w->n.pid);
	if (w->tgid == -ESRCH)
		return HOLD_PASS;
	if (w->tgid < 0)
		return failed(h, w->tgid);
	if (kind != SNAP_POINT_WAIT) {
		if (w->tgid != h->pid)
			return HOLD_PASS;
		if (kind == SNAP_POINT_LISTEN)
			listen_for(h, w);
		return HOLD_POINT;
	}
	if (is_read(nr))
		return is_input(h, w->tgid, 0) ? HOLD_POINT : HOLD_PASS;
	if (nr == SYS_accept || nr == SYS_accept4)
		return HOLD_POINT;
	w->end = end_of(w);
	err = take_fds(h, w);
	if (err == -ENOMEM)
		return failed(h, err);
	return err < 0 || hold_wait_over(h, w) ? HOLD_PASS : HOLD_MAYBE;
}

/* ---- does it wait? ---- */

/* A signal would end it, whichever are blocked meanwhile. */
static bool
is_signalled(pid_t tid)
{
	struct proc_status st;

	return proc_task_status(tid, 0, &st) != 0 ||
	       (st.sigpnd | st.shdpnd) != 0;
}

static bool
may_be_signalled(const struct hold_wait *w)
{
	switch (w->n.data.nr) {
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_rt_sigtimedwait:
		return true;
	case SYS_ppoll:
		return w->n.data.args[3] != 0;
	case SYS_pselect6:
	case SYS_epoll_pwait2:
		return w->n.data.args[5] != 0 || w->n.data.args[4] != 0;
	case SYS_epoll_pwait:
		return w->n.data.args[4] != 0;
	default:
		return false;
	}
}

bool
hold_wait_over(struct hold *h, struct hold_wait *w)
{
	(void)h;
	return poll(w->fds, w->nfds, 0) > 0 ||
	       (w->end != 0 && now() >= w->end) ||
	       (may_be_signalled(w) && is_signalled((pid_t)w->n.pid));
}

/* ---- is all of it asleep? ---- */

static bool
asleep(pid_t pid, pid_t tid)
{
	struct proc_stat st;
	int err = proc_task_stat(pid, tid, &st);

	if (err != 0)
		return err == -ESRCH; /* it has ended */
	return strchr("STtZXI", st.state) != NULL;
}

/* Numbers in the text, from *s on; 0 at the end. */
static pid_t
next_pid(char **s)
{
	return (pid_t)strtol(*s, s, 10);
}

static bool all_asleep(pid_t pid, unsigned *room);

static bool
children_asleep(pid_t pid, pid_t tid, unsigned *room)
{
	char name[64], *text, *s;
	bool yes = true;
	pid_t child;

	snprintf(name, sizeof(name), "task/%d/children", (int)tid);
	if (proc_try(pid, name, &text, NULL) < 0)
		return true;
	s = text;
	while (yes && (child = next_pid(&s)) > 0)
		yes = all_asleep(child, room);
	free(text);
	return yes;
}

static bool
all_asleep(pid_t pid, unsigned *room)
{
	char path[64];
	struct dirent *de;
	bool yes = true;
	pid_t tid;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir != NULL && yes && (de = readdir(dir)) != NULL) {
		tid = (pid_t)strtol(de->d_name, NULL, 10);
		if (tid <= 0)
			continue;
		yes = (*room)-- > 0 && asleep(pid, tid) &&
		      children_asleep(pid, tid, room);
		if (*room == 0)
			break;
	}
	if (dir != NULL)
		closedir(dir);
	return yes;
}

bool
hold_all_asleep(struct hold *h)
{
	unsigned room = MAX_TASKS;
	uint64_t t = now();

	if (t - h->looked < LOOK_NS)
		return false;
	h->looked = t;
	h->calm = all_asleep(h->pid, &room) ? h->calm + 1 : 0;
	return h->calm >= CALM;
}

/* Of the program's process, all threads; its own clock, ns. */
static uint64_t
cpu_time(const struct hold *h)
{
	struct timespec ts = { 0 };
	clockid_t clock;

	if (clock_getcpuclockid(h->pid, &clock) == 0)
		clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

void
hold_settle_begin(struct hold *h)
{
	h->calm = 0;
	h->settle_cpu = cpu_time(h);
	h->settle_wall = now();
}

bool
hold_has_settled(struct hold *h, bool asleep)
{
	return asleep || cpu_time(h) - h->settle_cpu > SETTLE_CPU_NS ||
	       now() - h->settle_wall > SETTLE_NS;
}

void
hold_wait_fini(struct hold_wait *w)
{
	for (size_t i = 0; i < w->nfds; i++)
		close(w->fds[i].fd);
	free(w->fds);
	w->fds = NULL;
	w->nfds = 0;
}
