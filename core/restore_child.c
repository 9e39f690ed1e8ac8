/*
 * restore_child.c - what the new process does in ordinary C: what needs
 * paths, or libc, or the agent's memory.  The rest is in the plan.
 *
 * Every signal is blocked from birth.  Whatever fails is said through the
 * area, and the process ends; nobody else has seen it by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "ctx.h"
#include "resource.h"
#include "restore_tree.h"

void
restore_give_up(struct restore *r, int err)
{
	struct area *a = r->area;

	snprintf(a->text, sizeof(a->text), "%s", snap_error(r->cx));
	__atomic_store_n(&a->error, err < 0 ? err : -EIO, __ATOMIC_RELEASE);
	_exit(1);
}

void
restore_child_note(struct restore *r, const char *fmt, ...)
{
	struct area *a = r->area;
	size_t n = strlen(a->note);
	va_list ap;

	if (n > 0 && n + 2 < sizeof(a->note)) {
		memcpy(a->note + n, "; ", 3);
		n += 2;
	}
	va_start(ap, fmt);
	vsnprintf(a->note + n, sizeof(a->note) - n, fmt, ap);
	va_end(ap);
}

/* The soft limit may be below numbers that are used; the plan sets it last. */
void
restore_raise_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 &&
	    lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim);
	}
}

/* Where its numbers are in no one's way; p's own descriptors follow. */
static int
move_kept(struct restore *r)
{
	struct process *p = r->p;

	restore_raise_limit();
	for (size_t i = 0; i < r->nkept; i++) {
		int to = r->host.fd_first + (int)i;

		if (r->kept[i].fd >= 0 &&
		    dup3(r->kept[i].fd, to, O_CLOEXEC) < 0)
			return snap_fail(r->cx, -EMFILE,
			    "descriptor %d: %s (the limit of open files is too "
			    "low)",
			    to, strerror(errno));
	}
	p->pages_fd = r->host.pages_fd;
	return 0;
}

/* What is both open and mapped: open it once more for the mapping. */
static int
open_same(struct restore *r)
{
	for (size_t i = 0; i < r->nkept; i++) {
		const struct kept *k = &r->kept[i];
		char name[64];
		int at, fd, to = r->host.fd_first + (int)i;

		if (k->fd >= 0)
			continue;
		at = r->fd_base + k->file;
		snprintf(name, sizeof(name), "/proc/self/fd/%d", at);
		/* Secret memory has no other open file. */
		if (strcmp(r->tree->all.files[k->file].kind, "secret") == 0)
			fd = dup(at);
		else
			fd = open(name, k->writable ? O_RDWR : O_RDONLY);
		if (fd < 0 || dup3(fd, to, O_CLOEXEC) < 0)
			return snap_fail(r->cx, -errno,
			    "fd %u, which is also mapped: %s",
			    r->tree->all.files[k->file].id, strerror(errno));
		close(fd);
	}
	return 0;
}

static const struct restore *
owner(const struct fd_restore *f, const struct openfile *file)
{
	const struct restore_tree *t = f->find_arg;

	return &t->v[t->owner[resource_index(f, file)]];
}

static uint32_t
find_file(const struct fd_restore *f, const struct openfile *file, int fd)
{
	const struct restore *r = owner(f, file);

	for (size_t i = 0; i < r->p->nfds; i++)
		if (r->p->fds[i].fd == fd)
			return r->merged[r->p->fds[i].file];
	return UINT32_MAX;
}

static const struct process *
find_owner(const struct fd_restore *f, const struct openfile *file)
{
	return owner(f, file)->p;
}

static void
all_files(const struct restore *r, pid_t pid, struct fd_restore *f)
{
	*f = (struct fd_restore){
		.p = &r->tree->all,
		.pid = pid,
		.numbers = !r->opt->new_pid && r->host.part == PLAN_WHOLE,
		.tty = r->opt->tty,
		.base = r->fd_base,
		.taken = r->tree->taken,
		.note = r->area->note,
		.find = find_file,
		.owner = find_owner,
		.find_arg = r->tree,
	};
	for (int i = 0; i < 3; i++)
		f->std[i] = r->opt->stdio == NULL ? -1 : r->opt->stdio[i];
}

/*
 * All that the processes have open, at the places that they inherit: by the
 * first of them.
 */
static int
open_files(struct restore *r, pid_t pid)
{
	struct fd_restore f;

	restore_raise_limit();
	all_files(r, pid, &f);
	return fds_open(r->cx, &f);
}

int
restore_try_files(struct restore_tree *t)
{
	struct restore *r = &t->v[0];
	struct fd_restore f;
	int err = restore_rights(r, false);

	all_files(r, r->p->pid, &f);
	if (err == 0)
		err = fds_try(t->cx, &f);
	return err == 0 ? restore_rights(r, true) : err;
}

static pid_t
number(const struct fd_restore *f, pid_t pid)
{
	return restore_number_of(f->find_arg, pid);
}

/* Its descriptors, of the open files of all. */
static int
place(struct restore *r, pid_t pid, struct process *view, bool *mine)
{
	const struct restore_tree *t = r->tree;
	struct fd_restore f = {
		.p = view,
		.pid = pid,
		.tty = r->opt->tty,
		.std = { -1, -1, -1 },
		.base = r->fd_base,
		.note = r->area->note,
		.number = number,
		.find_arg = t,
	};
	int err;

	for (size_t i = 0; i < view->nfds; i++) {
		view->fds[i] = r->p->fds[i];
		view->fds[i].file = r->merged[r->p->fds[i].file];
	}
	for (size_t i = 0; i < view->nfiles; i++)
		mine[i] = t->owner[i] == r->index;
	err = fds_place(r->cx, &f, mine);
	fds_close_in_flight(r->p);
	return err;
}

static int
place_descriptors(struct restore *r, pid_t pid)
{
	struct process view = r->tree->all;
	bool *mine = calloc(view.nfiles + 1, sizeof(*mine));
	int err;

	view.pid = r->p->pid;
	view.nfds = r->p->nfds;
	view.fds = calloc(view.nfds + 1, sizeof(*view.fds));
	err = mine == NULL || view.fds == NULL
		  ? snap_fail(r->cx, -ENOMEM, "no memory")
		  : place(r, pid, &view, mine);
	free(view.fds);
	free(mine);
	return err;
}

static int
keep(struct restore *r)
{
	int err = move_kept(r);

	return err == 0 ? open_same(r) : err;
}

static int
open_descriptors(struct restore *r, pid_t pid)
{
	int err = keep(r);

	return err == 0 ? place_descriptors(r, pid) : err;
}

int
restore_descriptors(struct restore *r, pid_t pid)
{
	int err = open_files(r, pid);

	return err == 0 ? open_descriptors(r, pid) : err;
}

static void
write_proc(struct restore *r, const char *name, const char *fmt, long value)
{
	char path[64], text[32];
	int fd, n, ok;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	n = snprintf(text, sizeof(text), fmt, value);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, text, (size_t)n) == n;
	if (!ok)
		restore_child_note(r, "%s could not be set to %s: %s", name,
		    text, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static long
read_proc(const char *name, int base)
{
	char path[64], text[32];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (n <= 0)
		return -1;
	text[n] = '\0';
	return strtol(text, NULL, base);
}

void
restore_cgroup(struct restore *r, pid_t pid)
{
	char notes[256] = "";

	if (r->p->cgroup == NULL || r->opt->callers_cgroup)
		return;
	cgroup_move(pid, r->p->cgroup, notes, sizeof(notes));
	if (notes[0] != '\0')
		restore_child_note(r, "%s", notes);
}

static void
set_proc_files(struct restore *r)
{
	const struct process *p = r->p;

	if (read_proc("oom_score_adj", 10) != p->oom_score_adj)
		write_proc(r, "oom_score_adj", "%ld", p->oom_score_adj);
	if (read_proc("coredump_filter", 16) != (long)p->coredump_filter)
		write_proc(
		    r, "coredump_filter", "%#lx", (long)p->coredump_filter);
}

/* Descriptors first: their paths are those of the root we still have. */
static int
stand(struct restore *r)
{
	if (r->root_fd >= 0 && (fchdir(r->root_fd) < 0 || chroot(".") < 0))
		return snap_fail(
		    r->cx, -errno, "root: %s: %s", r->p->root, strerror(errno));
	if (fchdir(r->cwd_fd) < 0)
		return snap_fail(
		    r->cx, -errno, "cwd: %s: %s", r->p->cwd, strerror(errno));
	umask(r->p->umask);
	return 0;
}

static bool
is_first(const struct restore *r, enum share k)
{
	return family_sharer(r->p, k) == r->p;
}

/*
 * Where tables are shared the first that has one fills it, when nobody else
 * opens anything in it for a moment any more; the same for the directories,
 * when nobody uses paths.  What is above, its numbers are told by nobody.
 */
static int
be_complete_together(struct restore *r)
{
	int err = keep(r);

	restore_meet(r->tree, MEET_KEPT);
	if (err == 0 && is_first(r, SHARE_FDS)) {
		(void)syscall(SYS_close_range, r->kept_end, ~0u, 0);
		err = place_descriptors(r, 0);
	}
	restore_meet(r->tree, MEET_PLACED);
	return err == 0 && is_first(r, SHARE_FS) ? stand(r) : err;
}

/* What a template is without. */
static int
be_complete(struct restore *r)
{
	int err;

	if (r->tree->shares)
		return be_complete_together(r);
	err = open_descriptors(r, 0);
	return err == 0 ? stand(r) : err;
}

/*
 * Our libc's registration must go before its memory does.  How long it is,
 * libc does not tell exactly, and the kernel wants to know.
 */
static int
forget_rseq(struct restore *r)
{
	uintptr_t at = (uintptr_t)__builtin_thread_pointer();

	if (__rseq_size == 0)
		return 0;
	at += (uintptr_t)__rseq_offset;
	for (unsigned len = 32; len <= 1024; len += 32)
		if (syscall(
			SYS_rseq, at, len, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0)
			return 0;
	return snap_fail(r->cx, -ENOTSUP,
	    "the C library's rseq area cannot be unregistered: %s",
	    strerror(errno));
}

static void __attribute__((noreturn)) enter(struct restore *r)
{
	uint64_t stack = (uint64_t)r->map + r->plan->stacks_off + LANE_STACK;

	__asm__ volatile("mov %0, %%rsp\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "call *%1\n\t"
			 "hlt"
			 :
			 : "r"(stack), "r"(r->entry), "D"(r->area), "S"(0ul)
			 : "memory");
	__builtin_unreachable();
}

void
restore_child(struct restore *r)
{
	char go;
	int err;

	/* Not one instruction beyond this unless the agent is our tracer. */
	if (r->index == 0 && read(r->tree->go[0], &go, 1) != 1)
		_exit(1);
	r->area->lanes[0].tid = getpid();
	err = restore_rights(r, false);
	/* Before there is memory of it, which stays counted where it was. */
	if (err == 0 && r->host.part == PLAN_WHOLE)
		restore_cgroup(r, 0);
	if (err == 0 && r->index == 0 && r->host.part == PLAN_WHOLE)
		err = open_files(r, 0);
	/* Before there are children, which have it from then on. */
	if (err == 0)
		err = restore_take_inherited(r);
	/* For the numbers of children. */
	if (err == 0)
		err = restore_rights(r, true);
	if (err == 0)
		err = restore_born(r);
	if (err == 0)
		err = restore_rights(r, false);
	set_proc_files(r);
	if (err == 0)
		err = r->host.part == PLAN_TEMPLATE ? move_kept(r)
						    : be_complete(r);
	if (err == 0)
		err = restore_ipc(r);
	if (err == 0)
		err = forget_rseq(r);
	/* For the numbers of threads; each of them gives it up in the end. */
	if (err == 0)
		err = restore_rights(r, true);
	if (err < 0)
		restore_give_up(r, err);
	enter(r);
}
