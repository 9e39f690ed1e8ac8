/*
 * tracker_uffd.c - what the tracker asks of the kernel.
 */
#include "tracker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "heal.h"
#include "proc.h"
#include "twin.h"
#include "uapi.h"

#define NREGIONS 1024

/* What undoing takes, when there is no time left. */
#define UNDO_NS 500000000ull
#define FEATURES (UAPI_UFFD_FEATURE_WP_ASYNC | UAPI_UFFD_FEATURE_WP_UNPOPULATED)

/* ---- is it possible ---- */

static int
enable(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

bool
tracker_kernel_can(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	bool can = fd >= 0 && enable(fd) == 0;

	if (fd >= 0)
		close(fd);
	return can;
}

/* Does a descriptor of it lead to a userfaultfd? */
static int
has_own(struct snap_ctx *cx, pid_t pid)
{
	int fd = proc_open(cx, pid, "fd", O_RDONLY | O_DIRECTORY), found = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	char target[64];
	ssize_t n;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	while (!found && (e = readdir(dir)) != NULL) {
		n = readlinkat(fd, e->d_name, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		found = strcmp(target, "anon_inode:[userfaultfd]") == 0;
	}
	closedir(dir);
	return found;
}

int
snap_tracker_possible(struct snap_ctx *cx, pid_t pid)
{
	int own;

	if (!tracker_kernel_can())
		return snap_fail(cx, -ENOTSUP,
		    "this kernel has no write-protection by userfaultfd in "
		    "async mode (Linux 6.7): all checkpoints are full");
	own = has_own(cx, pid);
	if (own > 0)
		return snap_fail(cx, -ENOTSUP,
		    "process %d uses userfaultfd itself: it cannot be tracked",
		    (int)pid);
	return own;
}

/* ---- the descriptor ---- */

/* Descriptor 0 of a process that is stopped: ours, or -errno. */
static int
take_first(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), fd;

	if (pidfd < 0)
		return -errno;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, 0, 0);
	if (fd < 0)
		fd = -errno;
	close(pidfd);
	return fd;
}

/*
 * The child opens it as the first descriptor of a table of its own, and stops
 * once more on its way out, with all that it has.  It ends here whatever
 * happens.
 */
static int
fetch(struct frozen *z, pid_t child, int *uffd)
{
	struct tracee t = { .tid = child };
	int err;

	err = tracee_wait(&t, z->deadline);
	if (err == 0)
		err = tracee_options(&t,
		    PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT | heal_options(z));
	while (err == 0 && t.state == TRACEE_STOPPED) {
		if (t.stop == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			*uffd = take_first(child);
		err = tracee_resume(&t, PTRACE_CONT, 0);
		if (err == 0)
			err = tracee_wait(&t, z->deadline);
	}
	if (t.state == TRACEE_GONE)
		return 0;
	twin_end_child(&t);
	return err;
}

/*
 * The child is one as the intermediate of a twin is: see twin.c.  If anything
 * fails, it may not be left: the caller waits for it.
 */
static int
make(struct snap_ctx *cx, struct frozen *z, struct heal_slot *slot, int *uffd)
{
	struct tracee *caller = &z->v[heal_caller(z)];
	pid_t child;
	int err, err1;

	err = heal_enter(cx, z, heal_code_uffd, slot);
	if (err != 0)
		return err;
	err = heal_event(cx, z, PTRACE_EVENT_CLONE, &child);
	if (err == 1)
		err = fetch(z, child, uffd);
	if (err < 0) {
		twin_end_children(z, z->pid, caller->tid);
		if (z->deadline < now_ns() + UNDO_NS)
			z->deadline = now_ns() + UNDO_NS;
	}
	if (caller->state == TRACEE_STOPPED) {
		err1 = tracee_resume(caller, PTRACE_CONT, 0);
		err = err == 0 ? err1 : err;
	}
	err1 = heal_leave(cx, z, slot);
	if (err < 0)
		twin_end_children(z, z->pid, caller->tid);
	return err == 0 ? err1 : err;
}

int
tracker_uffd(struct snap_ctx *cx, struct frozen *z)
{
	struct heal_slot slot = { 0 };
	int uffd = -EIO, err;

	if (twin_would_be_found(z))
		return -EDEADLK;
	err = make(cx, z, &slot, &uffd);
	/* That it cannot is no failure; that the process cannot go on is. */
	if (err < 0 && err != -EAGAIN)
		err = snap_fail(cx, err, "process %d: its watcher: %s",
		    (int)z->pid, strerror(-err));
	if (err == 0 && (slot.ret < 0 || slot.ret2 < 0))
		err = (int)(slot.ret < 0 ? slot.ret : slot.ret2);
	if (err == 0)
		err = uffd < 0 ? uffd : enable(uffd);
	if (err == 0)
		return uffd;
	if (uffd >= 0)
		close(uffd);
	return err;
}

/* ---- scanning ---- */

/* What is asked for of anonymous memory, of which nothing is a file's. */
#define CATEGORIES \
	(UAPI_PAGE_IS_WRITTEN | UAPI_PAGE_IS_PRESENT | UAPI_PAGE_IS_SWAPPED | \
	    UAPI_PAGE_IS_PFNZERO | UAPI_PAGE_IS_HUGE)

/* To tell a file's pages the kernel looks at each; that of more takes long. */
#define FILE_MAX (256ull << 20)

struct scan {
	int pagemap;
	const struct vma *v;
	struct spans *dirty; /* NULL: only protect */
	struct written *w;   /* NULL: only what was written */
	size_t first;	     /* of its runs, that of this VMA */
	uint64_t guard;	     /* PAGE_IS_GUARD where the kernel knows it */
};

/*
 * A page of a file that is neither there nor written may be but a mark of the
 * kernel's, where a protected page was: its parent does not hold that.  To count
 * it as written is right for both.
 */
static uint64_t
real_categories(const struct scan *s, const struct uapi_page_region *r)
{
	if (s->w != NULL && s->v->kind == VMA_FILE &&
	    (r->categories & UAPI_PAGE_IS_PRESENT) == 0)
		return r->categories | UAPI_PAGE_IS_WRITTEN;
	return r->categories;
}

static int
take_region(struct scan *s, const struct uapi_page_region *r)
{
	uint64_t categories = real_categories(s, r);
	int err = 0;

	if (s->dirty == NULL)
		categories |= UAPI_PAGE_IS_WRITTEN;
	else if ((categories & UAPI_PAGE_IS_WRITTEN) != 0)
		err = spans_add(s->dirty, r->start, r->end);
	if (err == 0 && s->w != NULL)
		err = written_add(s->w, s->first, r->start, r->end, categories);
	return err;
}

/*
 * Only pages that are there are asked for: else the kernel puts a mark where
 * none is, which then looks like a page that is swapped out.  (That would be
 * half the time: it has a shorter way for those who ask only what was written.)
 * With WP_MATCHING, what was not written is told of and left alone.
 */
static int
scan(struct scan *s)
{
	struct uapi_page_region v[NREGIONS];
	struct uapi_pm_scan_arg a = {
		.size = sizeof(a),
		.flags = UAPI_PM_SCAN_WP_MATCHING | UAPI_PM_SCAN_CHECK_WPASYNC,
		.end = s->v->end,
		.vec = (uintptr_t)v,
		.vec_len = NREGIONS,
		.category_mask = s->w == NULL ? UAPI_PAGE_IS_WRITTEN : 0,
		.category_anyof_mask =
		    UAPI_PAGE_IS_PRESENT | UAPI_PAGE_IS_SWAPPED,
		.return_mask =
		    s->w == NULL ? UAPI_PAGE_IS_WRITTEN : CATEGORIES | s->guard,
	};
	int n, err;

	if (s->w != NULL && s->v->kind == VMA_FILE)
		a.return_mask |= UAPI_PAGE_IS_FILE;

	for (uint64_t at = s->v->start; at < s->v->end; at = a.walk_end) {
		a.start = at;
		n = ioctl(s->pagemap, UAPI_PAGEMAP_SCAN, &a);
		if (n < 0)
			return -errno;
		if (a.walk_end <= at)
			return -EIO;
		for (int i = 0; i < n; i++) {
			err = take_region(s, &v[i]);
			if (err < 0)
				return err;
		}
	}
	return 0;
}

static int
watch_vma(int uffd, const struct vma *v)
{
	struct uffdio_register r = {
		.range = { v->start, v->end - v->start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}

int
tracker_scan_vma(int uffd, int pagemap, const struct vma *v,
    struct spans *dirty, struct written *w)
{
	struct scan s;
	int err;

	if (w != NULL && v->kind == VMA_FILE && v->end - v->start > FILE_MAX)
		w->odd = true;
	if (w != NULL && w->odd)
		w = NULL;
	s = (struct scan){ pagemap, v, dirty, w, w == NULL ? 0 : w->p->nruns,
		w == NULL ? 0 : w->guard };
	err = scan(&s);
	/* The first VMA that is not registered is seen before any is changed. */
	if (err != -EPERM)
		return err;
	err = watch_vma(uffd, v);
	s.dirty = NULL;
	if (err == 0)
		err = scan(&s);
	/* Of this kind it can never be; then all of it counts, each time. */
	if (err == -EINVAL && w != NULL)
		w->odd = true;
	if (err == -EINVAL || err == 0)
		return spans_add(dirty, v->start, v->end);
	/* ENOMEM is what the kernel says of a memory that nobody has any more. */
	return err == -EPERM || err == -ENOMEM ? -ESRCH : err;
}
