/*
 * tracker_uffd.c - the userfaultfd that the tracker has of a process.
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
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "heal.h"
#include "layout.h"
#include "proc.h"
#include "twin.h"
#include "uapi.h"

/* What undoing takes, when there is no time left. */
#define UNDO_NS 500000000ull
#define FEATURES (UAPI_UFFD_FEATURE_WP_ASYNC | UAPI_UFFD_FEATURE_WP_UNPOPULATED)

#define PAGE 4096ull

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

/* Of these two tables' worth, one is asked about. */
#define TABLE (2ull << 20)

bool
tracker_kernel_tells_holes(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	void *m = mmap(NULL, 2 * TABLE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t at = ((uintptr_t)m + TABLE - 1) / TABLE * TABLE;
	struct vma v = { .start = at, .end = at + TABLE };
	struct spans written = { 0 };
	bool tells = false;

	if (fd >= 0 && pagemap >= 0 && m != MAP_FAILED && enable(fd) == 0 &&
	    tracker_watch(fd, &v) == 0 &&
	    tracker_scan_written(pagemap, &v, &written) == 0)
		tells = spans_bytes(&written) == TABLE;
	spans_fini(&written);
	if (m != MAP_FAILED)
		munmap(m, 2 * TABLE);
	if (pagemap >= 0)
		close(pagemap);
	if (fd >= 0)
		close(fd);
	return tells;
}

int
tracker_watch(int uffd, const struct vma *v)
{
	struct uffdio_register r = {
		.range = { v->start, v->end - v->start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}

/*
 * userfaultfd_writeprotect(), Linux 6.7 to 6.18: ESRCH of a memory that nobody
 * has any more, whatever the range.  Of one that is not registered it is ENOENT;
 * and at worst this page counts as written once more.
 */
bool
tracker_has_memory(int uffd)
{
	struct uffdio_writeprotect w = {
		.range = { LAYOUT_TASK_SIZE - PAGE, PAGE },
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &w) == 0 || errno != ESRCH;
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
	if (!tracker_kernel_can())
		return snap_fail(cx, -ENOTSUP,
		    "this kernel has no write-protection by userfaultfd in "
		    "async mode (Linux 6.7): all checkpoints are full");
	return tracker_own(cx, pid);
}

int
tracker_own(struct snap_ctx *cx, pid_t pid)
{
	int own = has_own(cx, pid);

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
