/*
 * res_inotify.c - inotify(7): watches with their numbers.
 *
 * The kernel knows watched inodes, not paths, but tells a file handle of each:
 * open_by_handle_at(2) on a mount of that file system leads to a path.  Events
 * that were not read yet cannot be put into a new queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "proc.h"
#include "res.h"

#define INOTIFY_IOC_SETNEXTWD _IOW('I', 0, int32_t)
#define MASK_KNOWN \
	(IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | \
	    IN_ONESHOT | IN_EXCL_UNLINK | IN_DONT_FOLLOW | IN_ISDIR | \
	    IN_ONLYDIR)
#define MASK_ADD (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)
#define TRIES 65536 /* numbers to go through where there is no SETNEXTWD */

static bool
inotify_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:inotify") == 0;
}

/* ---- a checkpoint: from a handle to a path ---- */

struct watch {
	unsigned wd, mask;
	unsigned long long ino;
	dev_t dev;
	struct file_handle *handle; /* points to `room` */
	union {
		struct file_handle h;
		char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} room;
};

/*
 * inotify wd:1 ino:a720d3 sdev:fe00000 mask:fff ignored_mask:0
 * fhandle-bytes:8 fhandle-type:1 f_handle:d320a700d5bbcb11
 */
static bool
watch_parse(const char *line, struct watch *w)
{
	unsigned dev, bytes, type, b;
	int at = -1;

	if (sscanf(line,
		"inotify wd:%x ino:%llx sdev:%x mask:%x "
		"ignored_mask:%*x fhandle-bytes:%x fhandle-type:%x "
		"f_handle:%n",
		&w->wd, &w->ino, &dev, &w->mask, &bytes, &type, &at) != 6 ||
	    at < 0 || bytes > MAX_HANDLE_SZ)
		return false;
	w->dev = makedev(dev >> 20, dev & 0xfffff);
	w->handle = &w->room.h;
	w->handle->handle_bytes = bytes;
	w->handle->handle_type = (int)type;
	for (unsigned i = 0; i < bytes; i++) {
		if (sscanf(line + at + 2 * i, "%2x", &b) != 1)
			return false;
		w->handle->f_handle[i] = (unsigned char)b;
	}
	return true;
}

/* Undo the \040 of mountinfo, in place. */
static void
unescape(char *s)
{
	char *to = s;

	while (*s != '\0') {
		unsigned c;

		if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1 &&
		    strspn(s + 1, "01234567") >= 3) {
			*to++ = (char)c;
			s += 4;
		} else
			*to++ = *s++;
	}
	*to = '\0';
}

static int
open_in(const struct fd_probe *q, const char *path, int flags)
{
	if (q->root == AT_FDCWD)
		return open(path, flags | O_CLOEXEC);
	return openat(
	    q->root, path[1] == '\0' ? "." : path + 1, flags | O_CLOEXEC);
}

/* Through the mount at `mountpoint`: is there a path, and does it lead back? */
static bool
path_through(const struct fd_probe *q, const struct watch *w,
    const char *mountpoint, char *path, size_t size)
{
	char link[40];
	struct stat st;
	ssize_t n = -1;
	int mnt, fd;

	mnt = open_in(q, mountpoint, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (mnt < 0)
		return false;
	fd = open_by_handle_at(mnt, w->handle, O_PATH | O_CLOEXEC);
	if (fd >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, path, size - 1);
		close(fd);
	}
	close(mnt);
	if (n <= 0 || path[0] != '/')
		return false;
	path[n] = '\0';
	fd = open_in(q, path, O_PATH);
	if (fd < 0)
		return false;
	n = fstat(fd, &st);
	close(fd);
	return n == 0 && st.st_ino == w->ino;
}

/* 27 1 254:0 / /mnt rw,... */
static bool
path_of(const struct fd_probe *q, const struct watch *w, char *mountinfo,
    char *path, size_t size)
{
	unsigned maj, min;
	char *line = mountinfo, point[PATH_MAX];

	while (line != NULL && *line != '\0') {
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &maj, &min,
			point) == 3 &&
		    makedev(maj, min) == w->dev) {
			unescape(point);
			if (path_through(q, w, point, path, size))
				return true;
		}
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	return false;
}

static int
watches(struct snap_ctx *cx, const struct fd_probe *q, char *mountinfo,
    struct openfile *f)
{
	const char *s = q->fdinfo;
	char path[PATH_MAX];
	struct watch w;
	int err = 0;

	while (err == 0 && (s = strstr(s, "\ninotify ")) != NULL) {
		s++;
		if (!watch_parse(s, &w))
			return snap_fail(cx, -ENOTSUP,
			    "an inotify that watches a file system whose "
			    "files cannot be found by number");
		if (!path_of(q, &w, mountinfo, path, sizeof(path)))
			return snap_fail(cx, -ENOTSUP,
			    "an inotify whose watch %u (inode %llu) has no "
			    "path that can be found",
			    w.wd, w.ino);
		err = openfile_put(
		    f, "watch", "%u mask %x %s", w.wd, w.mask, path);
	}
	return err;
}

static int
inotify_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	int fd, unread = 0, err;
	char *mountinfo;

	(void)p;
	fd = resource_getfd(cx, q);
	if (fd < 0)
		return fd;
	err = ioctl(fd, FIONREAD, &unread);
	close(fd);
	if (err != 0 || unread != 0)
		return snap_fail(cx, -ENOTSUP,
		    "an inotify with %d bytes of unread events", unread);
	if (strstr(q->fdinfo, "\ninotify ") == NULL)
		return 0;
	err = proc_read(cx, q->pid, "mountinfo", &mountinfo, NULL);
	if (err != 0)
		return err;
	err = watches(cx, q, mountinfo, f);
	free(mountinfo);
	return err;
}

/* ---- a restore ---- */

static bool
parse(const char *s, int *wd, uint32_t *mask, const char **path)
{
	uint64_t n, m;

	if (!kv_scan_u64(&s, 10, INT32_MAX - 1, &n) || n == 0 ||
	    !kv_scan_text(&s, " mask ") ||
	    !kv_scan_u64(&s, 16, UINT32_MAX, &m) || (m & ~MASK_KNOWN) != 0 ||
	    !kv_scan_text(&s, " ") || *s != '/')
		return false;
	*wd = (int)n;
	*mask = (uint32_t)m & MASK_ADD;
	*path = s;
	return true;
}

static int
inotify_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const char *path;
	uint32_t mask;
	int wd;

	(void)p;
	for (size_t i = 0; i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "watch") == 0 &&
		    !parse(f->kv[i].value, &wd, &mask, &path))
			return snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: bad `watch: %.80s'", f->id,
			    f->kv[i].value);
	return 0;
}

/*
 * Numbers are given out upwards and never twice.  A kernel that was not built
 * for this cannot be told the next one; there, they are used up.
 */
static int
add_watch(int fd, int wd, const char *path, uint32_t mask)
{
	int32_t next = wd;
	int got;

	(void)ioctl(fd, INOTIFY_IOC_SETNEXTWD, next);
	for (int i = 0; i < TRIES; i++) {
		got = inotify_add_watch(fd, path, mask);
		if (got == wd)
			return 0;
		if (got < 0)
			return -errno;
		(void)inotify_rm_watch(fd, got);
		if (got > wd)
			break;
	}
	return -ENOTSUP;
}

/* Removing a watch that was used up left an event (IN_IGNORED). */
static void
discard_events(int fd)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static int
inotify_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd, err = 0, wd = 0;
	const char *path = "";
	uint32_t mask;

	(void)r;
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0)
		return snap_fail(
		    cx, -errno, "fd %u: inotify: %s", f->id, strerror(errno));
	for (size_t i = 0; err == 0 && i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "watch") == 0 &&
		    parse(f->kv[i].value, &wd, &mask, &path))
			err = add_watch(fd, wd, path, mask);
	if (err != 0) {
		close(fd);
		return snap_fail(cx, err, "fd %u: inotify: watch %d on %s: %s",
		    f->id, wd, path, strerror(-err));
	}
	discard_events(fd);
	return resource_set_flags(cx, f, fd);
}

const struct resource res_inotify = {
	.name = "inotify",
	.match = inotify_match,
	.collect = inotify_collect,
	.check = inotify_check,
	.restore = inotify_restore,
};
