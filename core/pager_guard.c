/*
 * pager_guard.c - a process and its pager die together, whoever is killed.
 *
 * When the last descriptor of a userfaultfd is closed, all that is missing
 * becomes zeros, and who waits goes on with them.  Death closes descriptors; so
 * the process must be dead before the last of them is closed.  None of what the
 * kernel offers does that alone: PR_SET_PDEATHSIG and PTRACE_O_EXITKILL kill
 * after the descriptors are closed (and belong to the image and to debuggers),
 * and a thread that is killed may still copy zeros from its memory to a file
 * before it ends.  So there are two:
 *
 * 1. The guard: another process that shares our table of descriptors
 *    (CLONE_FILES).  Whatever happens to us, they stay open, even one that the
 *    kernel put there a moment ago for a forked child.  It waits for our end;
 *    if not all was there by then, it kills the process, and waits until its
 *    memory is gone.  If the guard is killed, we do the same.
 *
 * 2. The tie, for the case that both are killed: a pipe whose reading end
 *    sends SIGKILL to the process (F_SETSIG) when its writing end is closed.
 *    Who is the last to leave the shared table closes all of it; the kernel
 *    does the last of the closing in the reverse order of the numbers.  The
 *    writing end has the highest number, and the lowest too, should that order
 *    change; the userfaultfds lie between.
 *
 * A forked child's pid is not told by the kernel.  If it comes to that, its
 * missing pages are poisoned (UFFDIO_POISON): touching one is SIGBUS.  Where
 * that is not known, or the child moved its memory since, the guard keeps the
 * descriptor as long as the child lives: it waits for ever, but sees no zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "pager_parts.h"
#include "uffd.h"

#define NAME "snapfs-guard"
#define PAGE 4096ull
#define LOOK_NS 5000000

/* Where the numbers lie: see above. */
#define READ_END 64
#define UFFD_FIRST 65
#define WRITE_END 4095

#define NSPACES (sizeof(((struct guard_word *)0)->spaces) / sizeof(int))

void
guard_init(struct guard *d)
{
	memset(d, 0, sizeof(*d));
	d->pidfd = d->own = d->release = -1;
	for (size_t i = 0; i < 3; i++)
		d->tie[i] = -1;
}

/* ---- the guard: what follows runs in it ---- */

static bool
all_gone(const struct guard_word *w)
{
	for (int i = 0; i < w->nspaces; i++)
		if (w->spaces[i] >= 0 && uffd_state(w->spaces[i]) != -ESRCH)
			return false;
	return true;
}

static void
poison(int fd, const struct extents *x)
{
	for (size_t i = 0; i < x->n; i++) {
		for (uint64_t a = x->v[i].start; a < x->v[i].end;) {
			int64_t n = uffd_poison(fd, a, x->v[i].end - a);

			if (n < 0 && n != -EEXIST)
				break;
			a += n > 0 ? (uint64_t)n : PAGE;
		}
	}
}

/*
 * Its memory is a copy of the pager's from when it was made; what it is told
 * later is in the shared word.  It takes no lock, and closes nothing.
 */
static void __attribute__((noreturn)) guard_main(struct snap_pager *g)
{
	const struct guard *d = &g->guard;
	struct timespec look = { 0, LOOK_NS };
	struct pollfd p[2] = {
		{ .fd = d->own, .events = POLLIN },
		{ .fd = d->release, .events = POLLIN },
	};

	prctl(PR_SET_NAME, NAME, 0, 0, 0);
	while (poll(p, 2, -1) < 0)
		;
	if (d->word->done)
		_exit(0);
	pidfd_send_signal(g->pidfd, SIGKILL, NULL, 0);
	for (int i = 1; i < d->word->nspaces; i++)
		if (d->word->spaces[i] >= 0)
			poison(d->word->spaces[i], &g->spaces[0].x);
	while (!all_gone(d->word))
		nanosleep(&look, NULL);
	_exit(1);
}

/* ---- the pager's side ---- */

static int
move_up(int fd, int to)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, to);

	if (moved < 0)
		return -errno;
	close(fd);
	return moved;
}

/* The new process has its limits by now; ours may rise. */
static int
last_number(void)
{
	struct rlimit r = { .rlim_cur = 1024 };

	getrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur <= WRITE_END && r.rlim_cur < r.rlim_max) {
		r.rlim_cur =
		    r.rlim_max <= WRITE_END ? r.rlim_max : WRITE_END + 1;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	return r.rlim_cur <= WRITE_END ? (int)r.rlim_cur - 1 : WRITE_END;
}

/*
 * A table of descriptors that threads share grows only when the kernel has
 * waited for all CPUs (RCU), some 10 to 30 ms.  One that is not shared yet
 * grows at once.
 */
void
guard_reserve(int any_fd)
{
	int fd = fcntl(any_fd, F_DUPFD_CLOEXEC, last_number());

	if (fd >= 0)
		close(fd);
}

static int
make_tie(struct guard *d, pid_t pid, int *uffd)
{
	struct f_owner_ex owner = { F_OWNER_PID, pid };
	int last = last_number(), p[2], fd;

	if (last <= UFFD_FIRST)
		return -EMFILE;
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	d->tie[0] = p[1];
	d->tie[1] = fd = move_up(p[0], READ_END);
	if (fd < 0) {
		d->tie[1] = p[0];
		return fd;
	}
	d->tie[2] = fcntl(p[1], F_DUPFD_CLOEXEC, last);
	fd = move_up(*uffd, UFFD_FIRST);
	if (d->tie[2] < 0 || fd < 0)
		return -EMFILE;
	*uffd = fd;
	if (fcntl(d->tie[1], F_SETOWN_EX, &owner) < 0 ||
	    fcntl(d->tie[1], F_SETSIG, SIGKILL) < 0 ||
	    fcntl(d->tie[1], F_SETFL, O_ASYNC) < 0)
		return -errno;
	return 0;
}

static int
make_guard(struct snap_pager *g)
{
	struct guard *d = &g->guard;
	pid_t pid;

	d->word = mmap(NULL, sizeof(*d->word), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (d->word == MAP_FAILED) {
		d->word = NULL;
		return -errno;
	}
	d->own = pidfd_open(getpid(), 0);
	d->release = eventfd(0, EFD_CLOEXEC);
	if (d->own < 0 || d->release < 0)
		return -errno;
	d->word->spaces[0] = g->spaces[0].fd;
	d->word->nspaces = 1;
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		guard_main(g);
	if (pid < 0)
		return -errno;
	d->pid = pid;
	d->pidfd = pidfd_open(pid, 0);
	return d->pidfd < 0 ? -errno : 0;
}

int
guard_start(struct snap_ctx *cx, struct snap_pager *g)
{
	int err;

	/* The event thread shall not be about to use what is moved. */
	pthread_rwlock_wrlock(&g->layout);
	err = g->spaces[0].fd < 0
		  ? 0
		  : make_tie(&g->guard, g->pid, &g->spaces[0].fd);
	if (err == 0 && g->spaces[0].fd >= 0)
		err = make_guard(g);
	pthread_rwlock_unlock(&g->layout);
	pager_nudge(g);
	if (err < 0)
		return snap_fail(
		    cx, err, "the pager's guard: %s", strerror(-err));
	return 0;
}

/*
 * The kernel gives it the lowest number, which lies below the tie's highest
 * unless there are very many.
 */
int
guard_add_space(struct snap_pager *g, int fd)
{
	struct guard_word *w = g->guard.word;
	int i = 0;

	if (w == NULL)
		return 0;
	while (i < w->nspaces && w->spaces[i] >= 0)
		i++;
	if (i == NSPACES || fd > g->guard.tie[2])
		return -EMFILE;
	w->spaces[i] = fd;
	if (i == w->nspaces)
		w->nspaces++;
	return 0;
}

/* It has ended, and the descriptor is about to be closed. */
void
guard_drop_space(struct snap_pager *g, int fd)
{
	struct guard_word *w = g->guard.word;

	for (int i = 0; w != NULL && i < w->nspaces; i++)
		if (w->spaces[i] == fd)
			w->spaces[i] = -1;
}

void
guard_release(struct guard *d)
{
	uint64_t one = 1;

	if (d->word != NULL)
		d->word->done = 1;
	if (d->tie[1] >= 0)
		fcntl(d->tie[1], F_SETFL, 0);
	if (d->release >= 0 && write(d->release, &one, sizeof(one)) < 0)
		return; /* it cannot be full */
}

void
guard_fini(struct guard *d)
{
	int *fds[] = { &d->tie[0], &d->tie[1], &d->tie[2], &d->pidfd, &d->own,
		&d->release };

	guard_release(d);
	if (d->pid > 0)
		while (waitpid(d->pid, NULL, 0) < 0 && errno == EINTR)
			;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	if (d->word != NULL)
		munmap(d->word, sizeof(*d->word));
	d->word = NULL;
}
