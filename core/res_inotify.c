/*
 * res_inotify.c - inotify(7): watches with their numbers.
 *
 * Paths are found as marked.h says.  Events that were not read yet cannot be
 * put into a new queue.
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
#include "marked.h"
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

/*
 * inotify wd:1 ino:a720d3 sdev:fe00000 mask:fff ignored_mask:0
 * fhandle-bytes:8 fhandle-type:1 f_handle:d320a700d5bbcb11
 */
static int
put_watch(struct snap_ctx *cx, const struct fd_probe *q, const char *line,
    const char *mountinfo, struct openfile *f)
{
	char path[PATH_MAX];
	unsigned wd, mask;
	struct marked m;

	if (!marked_parse(line, &m) ||
	    sscanf(line, "inotify wd:%x ino:%*x sdev:%*x mask:%x", &wd,
		&mask) != 2)
		return snap_fail(cx, -ENOTSUP,
		    "an inotify that watches a file system whose files cannot "
		    "be found by number");
	if (!marked_path(q, &m, mountinfo, path))
		return snap_fail(cx, -ENOTSUP,
		    "an inotify whose watch %u (inode %llu) has no path that "
		    "can be found",
		    wd, m.ino);
	return openfile_put(f, "watch", "%u mask %x %s", wd, mask, path);
}

static int
watches(struct snap_ctx *cx, const struct fd_probe *q, const char *mountinfo,
    struct openfile *f)
{
	const char *s = q->fdinfo;
	int err = 0;

	while (err == 0 && (s = strstr(s, "\ninotify ")) != NULL) {
		err = resource_in_time(cx, q);
		if (err == 0)
			err = put_watch(cx, q, ++s, mountinfo, f);
	}
	return err;
}

static int
inotify_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	char *mountinfo;
	int err;

	(void)p;
	err = marked_unread(cx, q, "an inotify");
	if (err != 0)
		return err;
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
