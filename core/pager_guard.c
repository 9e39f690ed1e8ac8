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
 *    memory is gone.  If the guard is killed, we do the same.  Of several
 *    processes it kills those of whom something is still to come.
 *
 * 2. The tie, for the case that both are killed: a pipe, one for each process,
 *    whose reading end sends it SIGKILL (F_SETSIG) when its writing end is closed.
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
	for (size_t i = 0; i < g->nroots; i++)
		if (d->word->spaces[i] >= 0)
			pidfd_send_signal(g->spaces[i].pidfd, SIGKILL, NULL, 0);
	for (int i = (int)g->nroots; i < d->word->nspaces; i++)
		if (d->word->spaces[i] >= 0)
			poison(d->word->spaces[i],
			    &g->spaces[d->word->roots[i]].x);
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
make_tie(struct space *sp, int last)
{
	struct f_owner_ex owner = { F_OWNER_PID, sp->pid };
	int *tie = sp->tie, p[2], fd;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	tie[0] = p[1];
	tie[1] = fd = move_up(p[0], READ_END);
	if (fd < 0) {
		tie[1] = p[0];
		return fd;
	}
	tie[2] = fcntl(p[1], F_DUPFD_CLOEXEC, last);
	fd = move_up(sp->fd, UFFD_FIRST);
	if (tie[2] < 0 || fd < 0)
		return -EMFILE;
	sp->fd = fd;
	if (fcntl(tie[1], F_SETOWN_EX, &owner) < 0 ||
	    fcntl(tie[1], F_SETSIG, SIGKILL) < 0 ||
	    fcntl(tie[1], F_SETFL, O_ASYNC) < 0)
		return -errno;
	return 0;
}

/* The writing ends of all are above all else. */
static int
make_ties(struct snap_pager *g)
{
	int last = last_number() - (int)g->nroots + 1, err = 0;

	if (last <= UFFD_FIRST)
		return -EMFILE;
	for (size_t i = 0; err == 0 && i < g->nroots; i++)
		if (g->spaces[i].fd >= 0)
			err = make_tie(&g->spaces[i], last);
	g->guard.last = last;
	return err;
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
	for (size_t i = 0; i < g->nroots; i++)
		d->word->spaces[i] = g->spaces[i].whole ? -1 : g->spaces[i].fd;
	d->word->nspaces = (int)g->nroots;
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
	bool ended;
	int err = 0;

	/* The event thread shall not be about to use what is moved. */
	pthread_rwlock_wrlock(&g->layout);
	ended = g->spaces[0].fd < 0;
	if (!ended)
		err = make_ties(g);
	if (err == 0 && !ended)
		err = make_guard(g);
	for (size_t i = 0; err == 0 && i < g->nroots; i++)
		if (g->spaces[i].whole)
			guard_whole(g, &g->spaces[i]);
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
guard_add_space(struct snap_pager *g, size_t root, int fd)
{
	struct guard_word *w = g->guard.word;
	int i = (int)g->nroots;

	if (w == NULL)
		return 0;
	while (i < w->nspaces && w->spaces[i] >= 0)
		i++;
	if (i == NSPACES || fd >= g->guard.last)
		return -EMFILE;
	w->roots[i] = (int)root;
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
guard_whole(struct snap_pager *g, struct space *root)
{
	if (g->guard.word != NULL)
		g->guard.word->spaces[root->root] = -1;
	if (root->tie[1] >= 0)
		fcntl(root->tie[1], F_SETFL, 0);
}

void
guard_release(struct snap_pager *g)
{
	struct guard *d = &g->guard;
	uint64_t one = 1;

	if (d->word != NULL)
		d->word->done = 1;
	for (size_t i = 0; i < g->nroots; i++)
		if (g->spaces[i].tie[1] >= 0)
			fcntl(g->spaces[i].tie[1], F_SETFL, 0);
	if (d->release >= 0 && write(d->release, &one, sizeof(one)) < 0)
		return; /* it cannot be full */
}

static void
close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

void
guard_fini(struct snap_pager *g)
{
	struct guard *d = &g->guard;
	int fds[] = { d->pidfd, d->own, d->release };

	guard_release(g);
	if (d->pid > 0)
		while (waitpid(d->pid, NULL, 0) < 0 && errno == EINTR)
			;
	for (size_t i = 0; i < g->nroots; i++)
		close_all(g->spaces[i].tie, 3);
	close_all(fds, sizeof(fds) / sizeof(fds[0]));
	d->pidfd = d->own = d->release = -1;
	if (d->word != NULL)
		munmap(d->word, sizeof(*d->word));
	d->word = NULL;
}
