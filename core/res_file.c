/*
 * res_file.c - regular files.
 *
 * A file that its path still leads to is opened again by that path.  One that
 * was deleted, or replaced by another, has its contents in the image and
 * becomes a file without a name in the directory where it was.
 *
 * At a restore the file on disk need not be what it was:
 *  - Open for reading only, it is input: another size or time of change, and
 *    the process would go on in the middle of something else.  Refused.
 *  - Open for writing, it may well have grown: the original went on writing
 *    after the checkpoint.  It is accepted, and not truncated, since what is
 *    there is the user's; the process goes on at its own offset.  A file that
 *    shrank has lost what the process believes to have written.  Refused.
 *  - Open for reading, while another descriptor of the process writes to it:
 *    as for writing.
 * Whoever knows better takes the lines `size' and `mtime' out of fdinfo/N.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "fdkv.h"
#include "res.h"
#include "shared.h"

#define MQUEUE_MAGIC 0x19800202 /* in no header */

static bool
file_match(const struct fd_probe *q)
{
	return S_ISREG(q->st.st_mode) && q->target[0] == '/';
}

/* Files that the kernel makes up have no size and are always new. */
static bool
is_pseudo(const char *path)
{
	return strncmp(path, "/proc/", 6) == 0 ||
	       strncmp(path, "/sys/", 5) == 0;
}

/* What a descriptor leads to that has no name may be no file at all. */
static const char *
no_file(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) != 0)
		return NULL;
	if (fs.f_type == HUGETLBFS_MAGIC)
		return "a deleted file in huge pages";
	return fs.f_type == MQUEUE_MAGIC ? "a message queue" : NULL;
}

int
res_keep_contents(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	const char *what;
	int fd, id;

	fd = resource_reopen(cx, q);
	if (fd < 0)
		return fd;
	what = no_file(fd);
	if (what != NULL) {
		close(fd);
		return snap_fail(
		    cx, -ENOTSUP, "%s, a kind that is not restored", what);
	}
	id = shared_collect(cx, p, fd);
	close(fd);
	if (id == -ENOMEM || id == -ETIMEDOUT)
		return id;
	if (id < 0) /* with the sentence of what failed */
		return -ENOTSUP;
	if (openfile_put(f, "mode", "0%o", q->st.st_mode & 07777) != 0)
		return -ENOMEM;
	return openfile_put(f, "content", "%d", id);
}

static int
file_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	if (resource_put_object(f, q) != 0)
		return -ENOMEM;
	if (is_pseudo(q->target))
		return 0;
	if (!resource_named(q)) {
		if (q->fuse)
			return snap_fail(cx, -ENOTSUP,
			    "a deleted file of a FUSE file system");
		if (q->st.st_nlink > 0 &&
		    openfile_put(f, "links", "%llu",
			(unsigned long long)q->st.st_nlink) != 0)
			return -ENOMEM;
		return res_keep_contents(cx, q, p, f);
	}
	if (openfile_put(f, "size", "%llu", (unsigned long long)q->st.st_size))
		return -ENOMEM;
	if (q->st.st_mtim.tv_sec < 0)
		return 0;
	return openfile_put(f, "mtime", "%lld.%09ld",
	    (long long)q->st.st_mtim.tv_sec, q->st.st_mtim.tv_nsec);
}

static int
file_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const char *mtime = openfile_get(f, "mtime");
	struct timespec t;
	int err;

	if (f->target[0] != '/')
		return snap_fail(
		    cx, -EBADMSG, "fd/%u: not an absolute path", f->id);
	if (mtime != NULL && !kv_time(mtime, &t))
		return kv_bad(cx, f, "mtime");
	err = kv_opt_u64(cx, f, "size", 10, INT64_MAX);
	if (err == 0)
		err = kv_opt_u64(cx, f, "mode", 8, 07777);
	if (err == 0)
		err = kv_opt_u64(cx, f, "links", 10, UINT32_MAX);
	return err != 0 ? err : kv_opt_content(cx, p, f);
}

/* ---- restore: files on disk ---- */

static bool
written_by_us(const struct fd_restore *r, uint32_t i)
{
	uint32_t k = i;

	do {
		if ((r->p->files[k].flags & O_ACCMODE) != O_RDONLY)
			return true;
		k = r->next[k];
	} while (k != i);
	return false;
}

/* Times before 1970 are not kept. */
static bool
same_mtime(const struct openfile *f, const struct stat *st)
{
	struct timespec t;

	return !kv_time(openfile_get(f, "mtime"), &t) ||
	       (t.tv_sec == st->st_mtim.tv_sec &&
		   t.tv_nsec == st->st_mtim.tv_nsec);
}

static int
identify(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct stat *st)
{
	const uint64_t was = kv_u64(f, "size", 10);
	const char *what;

	if (!S_ISREG(st->st_mode))
		return snap_fail(cx, -ESTALE,
		    "fd %u: %s: it was a regular file and is none now", f->id,
		    f->target);
	if (openfile_get(f, "size") == NULL)
		return 0;
	if (written_by_us(r, resource_index(r, f))) {
		if ((uint64_t)st->st_size >= was)
			return 0;
		what = "it is shorter";
	} else if ((uint64_t)st->st_size != was)
		what = "its size is another";
	else if (!same_mtime(f, st))
		what = "it was changed";
	else
		return 0;
	return snap_fail(cx, -ESTALE,
	    "fd %u: %s: %s since the checkpoint (%llu bytes, then %llu); take "
	    "`size' and `mtime' out of fdinfo/%u to accept it",
	    f->id, f->target, what, (unsigned long long)st->st_size,
	    (unsigned long long)was, f->id);
}

/* A file of the process's own /proc is of the new process, whatever its pid. */
static const char *
own_proc(const struct fd_restore *r, const char *path, char *buf, size_t size)
{
	char head[32];
	int n = snprintf(head, sizeof(head), "/proc/%d/", (int)r->p->pid);

	if (strncmp(path, head, (size_t)n) != 0)
		return path;
	snprintf(buf, size, "/proc/%d/%s",
	    (int)(r->pid != 0 ? r->pid : getpid()), path + n);
	return buf;
}

static int
open_named(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	char buf[PATH_MAX];
	struct stat st;
	int fd, err;

	fd = resource_open(cx, r, f, own_proc(r, f->target, buf, sizeof(buf)));
	if (fd < 0)
		return fd;
	err = fstat(fd, &st) == 0 ? identify(cx, r, f, &st)
				  : snap_fail(cx, -errno, "fd %u: %s: %s",
					f->id, f->target, strerror(errno));
	if (err != 0) {
		close(fd);
		return err;
	}
	return resource_seek(cx, f, fd);
}

/* ---- restore: files without a name ---- */

static bool
is_tmpfile(const struct openfile *f)
{
	return (f->flags & O_TMPFILE) == O_TMPFILE &&
	       (f->flags & O_ACCMODE) != O_RDONLY;
}

/*
 * Without a name from the start, so that nothing is left behind whatever
 * happens; where it was if that can be, else where files are made.  With
 * O_EXCL it can never be linked, like a deleted file; one that was made by
 * O_TMPFILE has these very flags, which no other way of opening gives.
 */
static int
open_unnamed(const struct openfile *f)
{
	int flags = O_TMPFILE | O_CLOEXEC;
	char dir[PATH_MAX];
	char *slash;
	int fd;

	if (is_tmpfile(f))
		flags |= (int)(f->flags & (O_ACCMODE | O_SYNC));
	else
		flags |= O_RDWR | O_EXCL;
	snprintf(dir, sizeof(dir), "%s", f->target);
	slash = strrchr(dir, '/');
	if (slash != NULL) {
		slash[slash == dir] = '\0';
		fd = open(dir, flags, 0600);
		if (fd >= 0)
			return fd;
	}
	fd = open("/tmp", flags, 0600);
	if (fd < 0)
		fd = memfd_create("deleted", MFD_CLOEXEC);
	return fd;
}

int
res_fill(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	const struct content *c =
	    process_content(r->p, (uint32_t)kv_u64(f, "content", 10));
	int err =
	    c == NULL ? -EBADMSG : contents_copy(fd, c->fd, c->size, NULL);

	if (err != 0)
		return snap_fail(
		    cx, err, "fd %u: its contents: %s", f->id, strerror(-err));
	return 0;
}

static int
open_contents(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const uint32_t i = resource_index(r, f);
	int made, fd;

	if (r->first[i] != i) {
		fd = resource_open_again(cx, r, f, r->base + (int)r->first[i]);
		return fd < 0 ? fd : resource_seek(cx, f, fd);
	}
	made = open_unnamed(f);
	if (made < 0)
		return snap_fail(cx, -errno, "fd %u: a file in place of %s: %s",
		    f->id, f->target, strerror(errno));
	fd = res_fill(cx, r, f, made);
	if (fd == 0)
		fd = is_tmpfile(f) ? resource_set_flags(cx, f, dup(made))
				   : resource_open_again(cx, r, f, made);
	close(made);
	if (kv_u64(f, "links", 10) > 0)
		resource_note(r,
		    "fd %u is a copy of its own: %s had been replaced", f->id,
		    f->target);
	return fd < 0 ? fd : resource_seek(cx, f, fd);
}

static int
file_try(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct stat st;
	int err;

	if (openfile_get(f, "content") != NULL)
		return 0;
	err = resource_try(cx, f, f->target, &st);
	return err == 0 ? identify(cx, r, f, &st) : err;
}

static int
file_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	if (openfile_get(f, "content") != NULL)
		return open_contents(cx, r, f);
	return open_named(cx, r, f);
}

/* Not before every descriptor is open: the mode may forbid to open it. */
static int
file_finish(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	(void)r;
	if (openfile_get(f, "content") == NULL ||
	    openfile_get(f, "mode") == NULL)
		return 0;
	if (fchmod(fd, (mode_t)kv_u64(f, "mode", 8)) != 0)
		return snap_fail(
		    cx, -errno, "fd %u: its mode: %s", f->id, strerror(errno));
	return 0;
}

const struct resource res_file = {
	.name = "file",
	.match = file_match,
	.collect = file_collect,
	.check = file_check,
	.try = file_try,
	.restore = file_restore,
	.finish = file_finish,
};

/* ---- whatever was put in a descriptor's place ---- */

int
res_edited_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const bool was_file =
	    strcmp(f->kind, "file") == 0 || strcmp(f->kind, "dir") == 0;
	struct openfile g = *f;
	struct stat st;
	int fd;

	/* O_DIRECT of a pipe, for one, means something else of a file. */
	g.flags &= O_ACCMODE | O_APPEND | O_NONBLOCK | O_NOATIME |
		   (was_file ? O_DIRECT | O_SYNC | O_DIRECTORY | 0100000 : 0);
	fd = resource_open(cx, r, &g, f->target);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return fd;
	return resource_seek(cx, &g, fd);
}
