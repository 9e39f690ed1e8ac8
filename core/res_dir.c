/*
 * res_dir.c - directories, with the position of a reader; and descriptors
 * that only name something (O_PATH).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"

static bool
dir_match(const struct fd_probe *q)
{
	return S_ISDIR(q->st.st_mode) && q->target[0] == '/';
}

static int
dir_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	(void)p;
	if (!resource_named(q))
		return snap_fail(cx, -ENOTSUP,
		    "the directory %s, which was removed or replaced",
		    q->target);
	return resource_put_object(f, q);
}

static int
absolute(struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	(void)p;
	if (f->target[0] == '/')
		return 0;
	return snap_fail(cx, -EBADMSG, "fd/%u: not an absolute path", f->id);
}

/* Whether it was opened with O_DIRECTORY or not, it must be one. */
static int
is_none(struct snap_ctx *cx, const struct openfile *f)
{
	return snap_fail(cx, -ESTALE,
	    "fd %u: %s: it was a directory and is none now", f->id, f->target);
}

static int
dir_try(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct stat st;
	int err = resource_try(cx, f, f->target, &st);

	(void)r;
	return err < 0 || S_ISDIR(st.st_mode) ? err : is_none(cx, f);
}

static int
dir_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct stat st;
	int fd;

	fd = resource_open(cx, r, f, f->target);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode)) {
		close(fd);
		return is_none(cx, f);
	}
	return resource_seek(cx, f, fd);
}

const struct resource res_dir = {
	.name = "dir",
	.match = dir_match,
	.collect = dir_collect,
	.check = absolute,
	.try = dir_try,
	.restore = dir_restore,
};

/* ---- O_PATH ---- */

static bool
path_match(const struct fd_probe *q)
{
	return (q->flags & O_PATH) != 0;
}

static int
path_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	(void)p;
	if (!resource_named(q))
		return snap_fail(cx, -ENOTSUP,
		    "it names %s (O_PATH), which was removed or replaced",
		    q->target);
	return openfile_put(f, "type", "0%o", q->st.st_mode & S_IFMT);
}

static int
path_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	int err = absolute(cx, p, f);

	return err != 0 ? err : kv_need_u64(cx, f, "type", 8, S_IFMT);
}

static int
path_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	mode_t type = (mode_t)kv_u64(f, "type", 8);
	int flags = O_PATH | O_CLOEXEC |
		    (int)(f->flags & (O_DIRECTORY | O_NOFOLLOW)),
	    fd;
	struct stat st;

	(void)r;
	fd = open(f->target, S_ISLNK(type) ? flags | O_NOFOLLOW : flags);
	if (fd < 0)
		return snap_fail(cx, -errno, "fd %u: %s: %s", f->id, f->target,
		    strerror(errno));
	if (fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type)
		return fd;
	close(fd);
	return snap_fail(cx, -ESTALE, "fd %u: %s: it is of another type now",
	    f->id, f->target);
}

static int
path_try(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd = path_restore(cx, r, f);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

const struct resource res_path = {
	.name = "path",
	.match = path_match,
	.collect = path_collect,
	.check = path_check,
	.try = path_try,
	.restore = path_restore,
};
