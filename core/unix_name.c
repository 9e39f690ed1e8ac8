/*
 * unix_name.c - the names of sockets of the UNIX domain that are paths, made
 * again.
 *
 * A path is what the process wrote: it begins at its working directory, or its
 * root directory.  Whoever owns a directory on the way may change it at any
 * moment; so what is removed, or given away, is what was looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "sock_diag.h"
#include "sock_name.h"
#include "unix_sock.h"

static int
fail(struct snap_ctx *cx, const struct openfile *f, int err, const char *what)
{
	return snap_fail(cx, err, "fd %u: %s: %s", f->id, what, strerror(-err));
}

static bool
is_path(const struct sockaddr_storage *a, socklen_t len)
{
	return len > sizeof(sa_family_t) &&
	       ((const char *)a)[sizeof(sa_family_t)] != '\0';
}

/* ---- where it begins ---- */

static const struct process *
owner(const struct fd_restore *r, const struct openfile *f)
{
	return r->owner == NULL ? r->p : r->owner(r, f);
}

int
unix_enter(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct sockaddr_storage *a, socklen_t len,
    struct unix_view *v)
{
	const struct process *p = owner(r, f);
	char path[SOCK_NAME_MAX];
	int err = 0;

	v->root = -1;
	if (!is_path(a, len))
		return 0;
	sock_name_path(a, len, path);
	if (path[0] != '/')
		return p->cwd != NULL && chdir(p->cwd) != 0
			   ? fail(cx, f, -errno, p->cwd)
			   : 0;
	if (p->root == NULL || strcmp(p->root, "/") == 0)
		return 0;
	v->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (v->root < 0 || chdir(p->root) != 0 || chroot(".") != 0)
		err = -errno;
	if (err == 0)
		return 0;
	unix_leave(v);
	return fail(cx, f, err, p->root);
}

/* The working directory is of no account until the process is complete. */
void
unix_leave(struct unix_view *v)
{
	if (v->root < 0)
		return;
	if (fchdir(v->root) == 0)
		(void)!chroot(".");
	close(v->root);
	v->root = -1;
}

/* ---- what lies there ---- */

/* A path, by its directory, which stays the same whatever it is called. */
struct place {
	int dir;
	const char *base;
};

static int
open_place(const char *path, struct place *at)
{
	const char *slash = strrchr(path, '/');
	char dir[SOCK_NAME_MAX];

	at->base = slash == NULL ? path : slash + 1;
	snprintf(dir, sizeof(dir), "%.*s",
	    slash == NULL   ? 1
	    : slash == path ? 1
			    : (int)(slash - path),
	    slash == NULL ? "." : path);
	at->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return at->dir < 0 ? -errno : 0;
}

/*
 * The kernel tells of those that are bound only where we are; but whoever it
 * is, and where, one may try to connect.
 */
static int
is_bound(struct snap_ctx *cx, const struct unix_sock *u, const struct stat *st)
{
	int diag = sock_diag_open(cx, 0), bound, fd, err;

	if (diag < 0)
		return diag;
	bound = sock_diag_bound(cx, diag, (uint32_t)st->st_ino, st->st_dev);
	close(diag);
	if (bound != 0)
		return bound;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const void *)&u->name, u->name_len) == 0 ? 0 : errno;
	close(fd);
	return err == 0 || err == EPROTOTYPE;
}

/* What lies at the path goes if it is a socket that nobody is bound to. */
static int
clear_path(struct snap_ctx *cx, const struct openfile *f,
    const struct unix_sock *u, const struct place *at, const char *path)
{
	struct stat st;
	int bound;

	if (fstatat(at->dir, at->base, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return snap_fail(cx, -EADDRINUSE,
		    "fd %u: %s is there already, and is no socket", f->id,
		    path);
	bound = is_bound(cx, u, &st);
	if (bound < 0)
		return fail(cx, f, bound, path);
	if (bound > 0)
		return snap_fail(cx, -EADDRINUSE,
		    "fd %u: another process is bound to %s", f->id, path);
	return unlinkat(at->dir, at->base, 0) == 0 ? 0
						   : fail(cx, f, -errno, path);
}

/* Is this the file that was made when `fd` was bound? */
static bool
is_of(int fd, const struct stat *st)
{
	struct snap_ctx quiet = { .error = 0 };
	int diag = sock_diag_open(&quiet, 0), err;
	struct unix_info u = { 0 };
	struct stat own;

	if (diag < 0)
		return false;
	err = fstat(fd, &own) == 0
		  ? sock_diag_unix(&quiet, diag, (uint32_t)own.st_ino, &u)
		  : -errno;
	close(diag);
	unix_info_fini(&u);
	return err == 0 && u.has_file && S_ISSOCK(st->st_mode) &&
	       u.file_ino == (uint32_t)st->st_ino;
}

static void
own_path(const struct fd_restore *r, const struct openfile *f,
    const struct unix_sock *u, int fd, const struct place *at)
{
	int file = openat(at->dir, at->base, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int err = 0;

	if (file < 0 || fstat(file, &st) != 0)
		err = errno;
	else if (st.st_uid == u->uid && st.st_gid == u->gid)
		err = 0;
	else if (!is_of(fd, &st))
		err = ESTALE;
	else if (fchownat(file, "", u->uid, u->gid, AT_EMPTY_PATH) != 0)
		err = errno;
	if (err != 0)
		resource_note(r, "fd %u: the owner of %s: %s", f->id, at->base,
		    strerror(err));
	if (file >= 0)
		close(file);
}

/* ---- binding ---- */

static int
bind_here(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u, int fd,
    const struct place *at, const char *path)
{
	mode_t mask;
	int err = 0;

	if (u->name_gone && faccessat(at->dir, at->base, F_OK, 0) == 0) {
		resource_note(
		    r, "fd %u: its name %s is another's now", f->id, path);
		return 0;
	}
	if (!u->name_gone)
		err = clear_path(cx, f, u, at, path);
	if (err < 0)
		return err;
	mask = umask(u->name_gone ? 077 : ~u->mode & 0777);
	err = bind(fd, (const void *)&u->name, u->name_len) == 0 ? 0 : -errno;
	umask(mask);
	if (err < 0)
		return fail(cx, f, err, path);
	if (u->name_gone)
		unlinkat(at->dir, at->base, 0);
	else
		own_path(r, f, u, fd, at);
	return 0;
}

static int
bind_path(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u, int fd)
{
	char path[SOCK_NAME_MAX];
	struct unix_view v;
	struct place at;
	int err;

	sock_name_path(&u->name, u->name_len, path);
	err = unix_enter(cx, r, f, &u->name, u->name_len, &v);
	if (err < 0)
		return err;
	err = open_place(path, &at);
	if (err == 0) {
		err = bind_here(cx, r, f, u, fd, &at, path);
		close(at.dir);
	} else {
		err = fail(cx, f, err, path);
	}
	unix_leave(&v);
	return err;
}

int
unix_bind(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u, int fd)
{
	char text[SOCK_NAME_MAX];

	if (u->name_len == 0)
		return 0;
	if (is_path(&u->name, u->name_len))
		return bind_path(cx, r, f, u, fd);
	if (bind(fd, (const void *)&u->name, u->name_len) == 0)
		return 0;
	sock_name_format(text, &u->name, u->name_len);
	return fail(cx, f, -errno, text);
}
