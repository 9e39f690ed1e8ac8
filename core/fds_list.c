/*
 * fds_list.c - what /proc tells of each descriptor of a frozen process: four
 * calls a descriptor on open directories, no stdio.
 */
#include "fds_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "resource.h"
#include "sock_option.h"
#include "sock_queue.h"
#include "tcp_sock.h"
#include "tracee.h"

#define MEM_MAJOR 1

static void
place_fini(struct place *l)
{
	if (l->pidfd >= 0)
		close(l->pidfd);
	if (l->fddir >= 0)
		close(l->fddir);
	if (l->infodir >= 0)
		close(l->infodir);
}

void
fds_walk_fini(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		if (w->v[i].queue != NULL)
			sock_queue_fini(w->v[i].queue);
		free(w->v[i].queue);
		free(w->v[i].why);
		if (w->v[i].tcp_state != NULL)
			free(w->v[i].tcp_state->bytes);
		free(w->v[i].tcp_state);
		free(w->v[i].target);
		free(w->v[i].fdinfo);
	}
	free(w->v);
	free(w->buf);
	free(w->mountinfo);
	place_fini(&w->place);
	place_fini(&w->own);
	sock_diag_all_fini(&w->diag);
	if (w->root >= 0)
		close(w->root);
}

void
fds_begin(struct walk *w)
{
	w->deadline =
	    now_ns() + (uint64_t)w->cx->opt.freeze_timeout_ms * 1000000u;
}

int
fds_in_time(const struct walk *w)
{
	if (now_ns() <= w->deadline)
		return 0;
	return snap_fail(w->cx, -ETIMEDOUT,
	    "process %d: it has %zu descriptors, and what there is to say of "
	    "them takes longer than it may be frozen (freeze_timeout, %u ms)",
	    (int)w->pid, w->n, w->cx->opt.freeze_timeout_ms);
}

/*
 * readlink of /proc/PID/fd/N gives paths from our own root, but for a process
 * of another mount namespace, whose paths begin at its root.
 */
static int
open_root(struct walk *w)
{
	struct stat ours, theirs;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)w->pid);
	if (stat("/proc/self/ns/mnt", &ours) != 0 || stat(path, &theirs) != 0 ||
	    (ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev))
		return 0;
	w->root = proc_open(w->cx, w->pid, "root", O_PATH | O_DIRECTORY);
	return w->root < 0 ? w->root : 0;
}

int
fds_place_init(struct snap_ctx *cx, struct place *l, pid_t pid)
{
	l->pid = pid;
	l->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (l->pidfd < 0)
		return snap_fail(cx, -errno, "pidfd_open of %d: %s", (int)pid,
		    strerror(errno));
	l->fddir = proc_open(cx, pid, "fd", O_RDONLY | O_DIRECTORY);
	if (l->fddir < 0)
		return l->fddir;
	l->infodir = proc_open(cx, pid, "fdinfo", O_PATH | O_DIRECTORY);
	return l->infodir < 0 ? l->infodir : 0;
}

int
fds_walk_init(struct walk *w)
{
	int err = fds_place_init(w->cx, &w->place, w->pid);

	if (err < 0)
		return err;
	w->bufsize = 4096;
	w->buf = malloc(w->bufsize);
	return w->buf == NULL ? -ENOMEM : open_root(w);
}

/* ---- one descriptor ---- */

/* A fdinfo file is shown whole: a short read is the end. */
static int
read_info(struct walk *w, const struct place *l, const char *name)
{
	int fd = openat(l->infodir, name, O_RDONLY | O_CLOEXEC);
	size_t n = 0, room;
	ssize_t got;
	char *b;
	int err = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		room = w->bufsize - n - 1;
		got = read(fd, w->buf + n, room);
		if (got < 0) {
			err = -errno;
			break;
		}
		n += (size_t)got;
		if ((size_t)got < room)
			break;
		b = realloc(w->buf, w->bufsize * 2);
		if (b == NULL) {
			err = -ENOMEM;
			break;
		}
		w->buf = b;
		w->bufsize *= 2;
	}
	close(fd);
	w->buf[n] = '\0';
	return err;
}

/*
 * Of files whose attributes another program would have to be asked for (FUSE,
 * network file systems), what the kernel remembers is enough.
 */
static int
stat_object(int fd, struct stat *st)
{
	struct statx x;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS,
		&x) != 0)
		return -errno;
	memset(st, 0, sizeof(*st));
	st->st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
	st->st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
	st->st_ino = x.stx_ino;
	st->st_mode = x.stx_mode;
	st->st_nlink = x.stx_nlink;
	st->st_uid = x.stx_uid;
	st->st_gid = x.stx_gid;
	st->st_size = (off_t)x.stx_size;
	st->st_blksize = (blksize_t)x.stx_blksize;
	st->st_mtim.tv_sec = x.stx_mtime.tv_sec;
	st->st_mtim.tv_nsec = x.stx_mtime.tv_nsec;
	return 0;
}

/* Null and its kind send no signals, and regular files for leases only. */
static bool
has_owner(const struct entry *e)
{
	if ((e->flags & O_PATH) != 0)
		return false;
	if (S_ISREG(e->st.st_mode))
		return strstr(e->fdinfo, "LEASE") != NULL;
	return !S_ISCHR(e->st.st_mode) || major(e->st.st_rdev) != MEM_MAJOR;
}

static void
note_socket(struct entry *e, int fd)
{
	e->domain = sock_int(fd, SO_DOMAIN);
	e->udp = (e->domain == AF_INET || e->domain == AF_INET6) &&
		 sock_int(fd, SO_TYPE) == SOCK_DGRAM &&
		 sock_int(fd, SO_PROTOCOL) == IPPROTO_UDP;
	e->tcp = (e->domain == AF_INET || e->domain == AF_INET6) &&
		 sock_int(fd, SO_TYPE) == SOCK_STREAM &&
		 sock_int(fd, SO_PROTOCOL) == IPPROTO_TCP;
}

/*
 * To close a duplicate of a file of FUSE asks the program that serves it, and
 * that may be frozen, too: the close would never end.  So a file that has a name
 * is looked at by that, and of regular files this is all.  1: it is not all.
 */
static int
look(struct entry *e, const char *name)
{
	int fd, err;

	if (e->target[0] != '/')
		return 1;
	fd = openat(e->place->fddir, name, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = stat_object(fd, &e->st);
	close(fd);
	return err < 0 ? err : !S_ISREG(e->st.st_mode) || has_owner(e);
}

/* What can be asked of a duplicate of the descriptor, and nowhere else. */
static int
ask_duplicate(struct entry *e)
{
	int fd, err;

	fd = (int)syscall(SYS_pidfd_getfd, e->place->pidfd, e->there, 0);

	if (fd < 0)
		return -errno;
	err = stat_object(fd, &e->st);
	if (err == 0 && has_owner(e)) {
		e->sig = fcntl(fd, F_GETSIG);
		if (fcntl(fd, F_GETOWN_EX, &e->owner) != 0)
			e->owner.pid = 0;
	}
	if (err == 0 && S_ISFIFO(e->st.st_mode) && (e->flags & O_PATH) == 0) {
		e->pipe_size = fcntl(fd, F_GETPIPE_SZ);
		if (e->pipe_size < 0 || ioctl(fd, FIONREAD, &e->unread) != 0)
			err = -errno;
	}
	if (err == 0 && S_ISSOCK(e->st.st_mode) && (e->flags & O_PATH) == 0)
		note_socket(e, fd);
	close(fd);
	return err;
}

int
fds_add(struct walk *w, const struct place *l, const char *name, int fd)
{
	char target[PATH_MAX + 1];
	struct entry *e;
	uint64_t flags;
	ssize_t len;
	int err;

	e = process_grow(&w->v, &w->n, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	e->w = w;
	e->fd = fd;
	e->place = l;
	e->there = atoi(name);
	len = readlinkat(l->fddir, name, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	target[len] = '\0';
	err = read_info(w, l, name);
	if (err != 0)
		return err;
	if (!proc_field_u64(w->buf, "flags", 8, &flags))
		return -EPROTO;
	if (!proc_field_u64(w->buf, "eventfd-id", 10, &e->number))
		e->number = 0;
	e->cloexec = (flags & O_CLOEXEC) != 0;
	e->flags = (uint32_t)flags & ~(uint32_t)O_CLOEXEC;
	e->target = strdup(target);
	e->fdinfo = strdup(w->buf);
	if (e->target == NULL || e->fdinfo == NULL)
		return -ENOMEM;
	err = look(e, name);
	return err > 0 ? ask_duplicate(e) : err;
}

static int
by_number(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

const struct stat *
fds_stat(const struct walk *w, int fd)
{
	const struct entry key = { .fd = fd }, *e = NULL;

	if (w != NULL && w->n > 0)
		e = bsearch(&key, w->v, w->n, sizeof(*w->v), by_number);
	return e == NULL || e->place != &w->place ? NULL : &e->st;
}

int
fds_list(struct walk *w)
{
	struct dirent *d;
	int dup_fd, err = 0;
	DIR *dir;

	dup_fd = fcntl(w->place.fddir, F_DUPFD_CLOEXEC, 0);
	dir = dup_fd < 0 ? NULL : fdopendir(dup_fd);
	if (dir == NULL) {
		err = -errno;
		if (dup_fd >= 0)
			close(dup_fd);
		return snap_fail(
		    w->cx, err, "/proc/%d/fd: %s", (int)w->pid, strerror(-err));
	}
	fds_begin(w);
	while (err == 0 && (errno = 0, d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.')
			continue;
		err = fds_in_time(w);
		if (err != 0)
			break;
		err = fds_add(w, &w->place, d->d_name, atoi(d->d_name));
		if (err != 0)
			snap_fail(w->cx, err, "/proc/%d/fd/%s: %s", (int)w->pid,
			    d->d_name, strerror(-err));
	}
	if (err == 0 && errno != 0)
		err = snap_fail(w->cx, -errno, "/proc/%d/fd: %s", (int)w->pid,
		    strerror(errno));
	closedir(dir);
	if (w->n > 0)
		qsort(w->v, w->n, sizeof(*w->v), by_number);
	return err;
}
