#include "resource.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"
#include "tracee.h"

/* What can be set by F_SETFL; O_ASYNC waits until the owner is set. */
#define SETTABLE (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME)

/* The first that matches: the special before the general. */
const struct resource *const resources[] = {
	&res_path,
	&res_memfd,
	&res_secret,
	&res_file,
	&res_dir,
	&res_pipe,
	&res_fifo,
	&res_ptmx,
	&res_tty,
	&res_device,
	&res_eventfd,
	&res_epoll,
	&res_timerfd,
	&res_signalfd,
	&res_inotify,
	&res_fanotify,
	&res_pidfd,
	&res_unix,
	&res_tcp,
	&res_inet,
	&res_netlink,
	&res_dead,
	&res_unsupported,
	NULL,
};

const struct resource *
resource_find(const char *name)
{
	for (size_t i = 0; resources[i] != NULL; i++)
		if (strcmp(resources[i]->name, name) == 0)
			return resources[i];
	return NULL;
}

/* ---- a checkpoint ---- */

int
resource_in_time(struct snap_ctx *cx, const struct fd_probe *q)
{
	if (now_ns() <= q->deadline)
		return 0;
	return snap_fail(cx, -ETIMEDOUT,
	    "process %d: fd %d, %s: what it watches takes longer to find than "
	    "the process may be frozen (freeze_timeout, %u ms)",
	    (int)q->pid, q->fd, q->target, cx->opt.freeze_timeout_ms);
}

int
resource_getfd(struct snap_ctx *cx, const struct fd_probe *q)
{
	int fd = (int)syscall(SYS_pidfd_getfd, q->pidfd, q->fd, 0);

	if (fd < 0)
		return snap_fail(cx, -errno, "fd %d: duplicating it: %s", q->fd,
		    strerror(errno));
	return fd;
}

/*
 * Not a duplicate: reading must not move the offset that the process has.
 * O_NONBLOCK, so that a lease on the file is not waited for.
 */
int
resource_reopen(struct snap_ctx *cx, const struct fd_probe *q)
{
	const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)q->pid, q->fd);
	fd = open(path, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = open(path, flags);
	if (fd < 0)
		return snap_fail(cx, -ENOTSUP,
		    "its contents cannot be read: %s", strerror(errno));
	return fd;
}

static bool
path_stat(const struct fd_probe *q, const char *path, struct stat *st)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT,
	};
	const int nofollow = S_ISLNK(q->st.st_mode) ? AT_SYMLINK_NOFOLLOW : 0;
	int fd, n;

	if (q->root == AT_FDCWD)
		return fstatat(
			   AT_FDCWD, path, st, nofollow | AT_NO_AUTOMOUNT) == 0;
	how.flags |= nofollow != 0 ? O_NOFOLLOW : 0;
	fd = (int)syscall(SYS_openat2, q->root, path, &how, sizeof(how));
	if (fd < 0)
		return false;
	n = fstat(fd, st);
	close(fd);
	return n == 0;
}

/*
 * What lies on a FUSE mount is believed: asking its server could take for
 * ever while the process is frozen.
 */
bool
resource_named(const struct fd_probe *q)
{
	char path[PATH_MAX];
	size_t n = strlen(q->target);
	struct stat st;

	if (q->st.st_nlink == 0 || q->target[0] != '/' || n >= sizeof(path))
		return false;
	if (q->fuse)
		return true;
	memcpy(path, q->target, n + 1);
	if (path_stat(q, path, &st) && st.st_dev == q->st.st_dev &&
	    st.st_ino == q->st.st_ino)
		return true;
	return false;
}

int
resource_put_object(struct openfile *f, const struct fd_probe *q)
{
	return openfile_put(f, "object", "%x:%x:%llu", major(q->st.st_dev),
	    minor(q->st.st_dev), (unsigned long long)q->st.st_ino);
}

/* ---- a restore ---- */

bool
resource_edited(const struct openfile *f)
{
	const char *was = openfile_get(f, "target");

	return f->given || (was != NULL && strcmp(was, f->target) != 0);
}

int
resource_set_flags(struct snap_ctx *cx, const struct openfile *f, int fd)
{
	int have = fcntl(fd, F_GETFL), want;

	if (have < 0)
		goto fail;
	want = (have & ~SETTABLE) | (int)(f->flags & SETTABLE);
	if (want == have || fcntl(fd, F_SETFL, want) == 0)
		return fd;
fail:
	have = -errno;
	close(fd);
	return snap_fail(
	    cx, have, "fd %u: its flags: %s", f->id, strerror(-have));
}

int
resource_open(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const char *path)
{
	int never = O_CREAT | O_EXCL | O_TRUNC | O_ASYNC, flags, fd, err;

	/* __O_TMPFILE, without the O_DIRECTORY that is part of O_TMPFILE. */
	if ((f->flags & O_TMPFILE) == O_TMPFILE)
		never |= O_TMPFILE;
	flags = ((int)f->flags & ~never) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
	fd = open(path, flags);
	if (fd < 0 && errno == EPERM && (flags & O_NOATIME) != 0) {
		struct openfile g = *f;

		g.flags &= ~(uint32_t)O_NOATIME;
		resource_note(r, "fd %u: O_NOATIME was not permitted", f->id);
		return resource_open(cx, r, &g, path);
	}
	if (fd < 0) {
		err = -errno;
		return snap_fail(
		    cx, err, "fd %u: %s: %s", f->id, path, strerror(-err));
	}
	return resource_set_flags(cx, f, fd);
}

int
resource_try(struct snap_ctx *cx, const struct openfile *f, const char *path,
    struct stat *st)
{
	const int how = (int)(f->flags & O_ACCMODE);
	int err = 0, fd;

	fd = open(path, O_PATH | O_CLOEXEC | (int)(f->flags & O_NOFOLLOW));
	if (fd < 0 || fstat(fd, st) != 0 ||
	    faccessat(fd, "",
		(how != O_WRONLY ? R_OK : 0) | (how != O_RDONLY ? W_OK : 0),
		AT_EMPTY_PATH | AT_EACCESS) != 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err < 0)
		return snap_fail(
		    cx, err, "fd %u: %s: %s", f->id, path, strerror(-err));
	return 0;
}

int
resource_open_again(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	struct openfile g = *f;
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	g.flags &= ~(uint32_t)O_NOFOLLOW;
	return resource_open(cx, r, &g, path);
}

int
resource_seek(struct snap_ctx *cx, const struct openfile *f, int fd)
{
	int err;

	if (f->pos == 0 || lseek(fd, (off_t)f->pos, SEEK_SET) != -1 ||
	    errno == ESPIPE)
		return fd;
	err = -errno;
	close(fd);
	return snap_fail(cx, err, "fd %u: %s: position %llu: %s", f->id,
	    f->target, (unsigned long long)f->pos, strerror(-err));
}

int
resource_keep(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	int above = r->base + (int)r->p->nfiles, copy;

	copy = fcntl(fd, F_DUPFD_CLOEXEC, above);
	if (copy < 0)
		return snap_fail(cx, -errno, "fd %u: keeping another: %s",
		    f->id, strerror(errno));
	r->aux[resource_index(r, f)] = copy;
	return 0;
}

void
resource_drop(const struct fd_restore *r, const struct openfile *f)
{
	int *aux = &r->aux[resource_index(r, f)];

	if (*aux >= 0)
		close(*aux);
	*aux = -1;
}

void
resource_note(const struct fd_restore *r, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (r->note == NULL)
		return;
	n = strlen(r->note);
	if (n + 4 >= FD_NOTE_SIZE)
		return;
	if (n > 0)
		n += (size_t)snprintf(r->note + n, FD_NOTE_SIZE - n, "; ");
	va_start(ap, fmt);
	vsnprintf(r->note + n, FD_NOTE_SIZE - n, fmt, ap);
	va_end(ap);
}

int
resource_at(const struct fd_restore *r, const struct openfile *f, int fd)
{
	const struct process *p = r->p;
	uint32_t file = UINT32_MAX;

	if (r->find != NULL)
		file = r->find(r, f, fd);
	for (size_t i = 0; r->find == NULL && i < p->nfds; i++)
		if (p->fds[i].fd == fd)
			file = p->fds[i].file;
	return file >= p->nfiles ? -1 : r->base + (int)file;
}
