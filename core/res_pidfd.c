/*
 * res_pidfd.c - pidfds (pidfd_open(2)): of processes of the tree, which are
 * there when they are opened (fds_restore.c), and of those that have ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "family.h"
#include "fdkv.h"
#include "proc.h"
#include "res.h"

static bool
pidfd_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:[pidfd]") == 0 ||
	       strncmp(q->target, "pidfd:", 6) == 0;
}

/* Is it one of the tree, or a child of these that has ended? */
static bool
is_member(const struct process *p, pid_t pid)
{
	const struct family *f = p->tree;

	if (f == NULL)
		return pid == p->pid;
	for (size_t i = 0; i < f->n; i++) {
		if (f->v[i]->pid == pid)
			return true;
		for (size_t k = 0; k < f->v[i]->nzombies; k++)
			if (f->v[i]->zombies[k].pid == pid)
				return true;
	}
	return false;
}

/* The kernel says -1 of one that was waited for. */
static int
pidfd_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	const char *text = proc_field(q->fdinfo, "Pid");
	uint64_t pid;

	if (text != NULL && strncmp(text, "-1", 2) == 0)
		return openfile_put(f, "pid", "ended");
	if (!proc_field_u64(q->fdinfo, "Pid", 10, &pid) ||
	    !is_member(p, (pid_t)pid))
		return snap_fail(cx, -ENOTSUP,
		    "a pidfd of a process or thread that is not of the tree");
	return openfile_put(f, "pid", "%d", (int)pid);
}

/* 0: self, -1: ended. */
static bool
parse(const struct openfile *f, pid_t *pid)
{
	const char *s = openfile_get(f, "pid");
	uint64_t v = 0;

	*pid = 0;
	if (s != NULL && strcmp(s, "self") == 0)
		return true;
	*pid = -1;
	if (s != NULL && strcmp(s, "ended") == 0)
		return true;
	if (!kv_number(s, 10, INT32_MAX, &v) || v == 0)
		return false;
	*pid = (pid_t)v;
	return true;
}

static int
pidfd_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	pid_t pid;

	(void)p;
	return parse(f, &pid) ? 0 : kv_bad(cx, f, "pid");
}

/* O_NONBLOCK and O_EXCL are also the names of its own flags. */
static int
open_pidfd(const struct openfile *f, pid_t pid)
{
	int fd =
	    (int)syscall(SYS_pidfd_open, pid, f->flags & (O_NONBLOCK | O_EXCL));

	return fd < 0 ? -errno : fd;
}

/* Of a process that is made for this, and ends. */
static int
open_ended(const struct openfile *f)
{
	pid_t child = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
	int fd;

	if (child < 0)
		return -errno;
	if (child == 0)
		_exit(0);
	fd = open_pidfd(f, child);
	while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
		;
	return fd;
}

static int
pidfd_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	pid_t self = r->pid != 0 ? r->pid : getpid(), pid;
	int fd;

	if (!parse(f, &pid))
		return kv_bad(cx, f, "pid");
	if (pid == -1) {
		fd = open_ended(f);
	} else {
		if (pid == 0 || pid == r->p->pid)
			pid = self;
		else
			pid = r->number == NULL ? -1 : r->number(r, pid);
		if (pid <= 0)
			return snap_fail(cx, -ENOTSUP,
			    "fd %u: a pidfd of process %s, which is not "
			    "restored; to restore without it: ignore=fd %u",
			    f->id, openfile_get(f, "pid"), f->id);
		fd = open_pidfd(f, pid);
	}
	if (fd < 0)
		return snap_fail(
		    cx, fd, "fd %u: pidfd: %s", f->id, strerror(-fd));
	return fd;
}

const struct resource res_pidfd = {
	.name = "pidfd",
	.match = pidfd_match,
	.collect = pidfd_collect,
	.check = pidfd_check,
	.restore = pidfd_restore,
};
