/*
 * restore_files.c - open, as whoever asked for the restore, what the new
 * process will map, run and stand in.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "fileid.h"
#include "resource.h"
#include "restore_tree.h"
#include "secret.h"

/* Takes over fd.  The index, or -ENOMEM. */
static int
keep(struct restore *r, int fd)
{
	struct kept *k = process_grow(&r->kept, &r->nkept, sizeof(*k));

	if (k == NULL) {
		if (fd >= 0)
			close(fd);
		return snap_fail(r->cx, -ENOMEM, "no memory");
	}
	k->fd = fd;
	k->file = -1;
	return (int)r->nkept - 1;
}

static int
keep_dup(struct restore *r, int fd, const char *what)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return snap_fail(
		    r->cx, -errno, "%s: %s", what, strerror(errno));
	return keep(r, copy);
}

/* ---- mapped files ---- */

struct use {
	bool read, written; /* by mappings that cannot write, and can */
};

/* Of each file: how it is used; one look at each VMA.  NULL: no memory. */
static struct use *
uses_of(const struct process *p)
{
	struct use *u = calloc(p->nmapfiles + 1, sizeof(*u));

	if (u == NULL)
		return NULL;
	if (p->exe_file >= 0)
		u[p->exe_file].read = true;
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (v->file < 0 || plan_is_anonymous_object(v))
			continue;
		u[v->file].written |= plan_writes_file(v);
		u[v->file].read |= !plan_writes_file(v);
	}
	return u;
}

static int
reopen_readonly(int fd)
{
	char name[64];
	int ro;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	ro = open(name, O_RDONLY | O_CLOEXEC);
	return ro < 0 ? -errno : ro;
}

/* A file of our own with the saved bytes. */
static int
open_saved(struct restore *r, const struct mapfile *f)
{
	const struct content *c = family_content(r->p, f->content);
	const char *base = strrchr(f->path, '/');
	int fd, err;

	if (c == NULL)
		return snap_fail(r->cx, -EBADMSG,
		    "%s: its contents (files/%u) are missing", f->path,
		    f->content);
	if (secret_is_mapfile(f))
		return secret_make(r->cx, "secret memory", c->fd, c->size);
	if (strncmp(f->path, "/memfd:", 7) == 0)
		base = f->path + 6;
	fd = memfd_create(base == NULL ? f->path : base + 1, MFD_CLOEXEC);
	if (fd < 0)
		return snap_fail(r->cx, -errno, "a file for %s: %s", f->path,
		    strerror(errno));
	err = ftruncate(fd, (off_t)c->size) < 0
		  ? -errno
		  : contents_copy(fd, c->fd, c->size, NULL);
	if (err < 0) {
		close(fd);
		return snap_fail(
		    r->cx, err, "files/%u: %s", c->id, strerror(-err));
	}
	return fd;
}

/*
 * What a process writes through a mapping goes on changing after the
 * checkpoint: such a file must only be large enough.
 */
static int
check_named(struct restore *r, const struct mapfile *f, int fd, bool written)
{
	const char *how;
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return snap_fail(
		    r->cx, -ESTALE, "%s is no longer a regular file", f->path);
	err = fileid_differs(f, fd, &how);
	if (err < 0)
		return snap_fail(r->cx, err,
		    "%s, which the process had mapped, cannot be read: %s",
		    f->path, strerror(-err));
	if (how != NULL && !(written && (uint64_t)st.st_size >= f->size))
		return snap_fail(r->cx, -ESTALE,
		    "%s, which the process had mapped, %s", f->path, how);
	return 0;
}

static int
open_named(struct restore *r, const struct mapfile *f, int mode, bool written)
{
	int fd, err;

	fd = open(f->path, mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return snap_fail(r->cx, -errno,
		    "%s, which the process had mapped: %s", f->path,
		    strerror(errno));
	err = check_named(r, f, fd, written);
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

/* The open file, of all of the tree, that is the same object, or -1. */
static int
file_of_content(const struct restore_tree *t, uint32_t content)
{
	char want[16];

	if (content == 0)
		return -1;
	snprintf(want, sizeof(want), "%u", content);
	for (size_t i = 0; i < t->all.nfiles; i++) {
		const struct openfile *f = &t->all.files[i];
		const char *have = openfile_get(f, "content");

		if (have != NULL && strcmp(have, want) == 0 &&
		    !resource_edited(f) &&
		    (strcmp(f->kind, "file") == 0 ||
			strcmp(f->kind, "memfd") == 0 ||
			strcmp(f->kind, "secret") == 0))
			return (int)i;
	}
	return -1;
}

/* The file that has the saved bytes: one for all processes, borrowed. */
static int
saved_file(struct restore *r, const struct mapfile *f)
{
	struct restore_tree *t = r->tree;
	struct saved *s;
	int fd;

	for (size_t i = 0; i < t->nsaved; i++)
		if (t->saved[i].content == f->content)
			return t->saved[i].fd;
	fd = open_saved(r, f);
	if (fd < 0)
		return fd;
	s = process_grow(&t->saved, &t->nsaved, sizeof(*s));
	if (s == NULL) {
		close(fd);
		return snap_fail(r->cx, -ENOMEM, "no memory");
	}
	s->content = f->content;
	s->fd = fd;
	return fd;
}

static int
keep_same(struct restore *r, int file, bool writable)
{
	int k = keep(r, -1);

	if (k >= 0) {
		r->kept[k].file = file;
		r->kept[k].writable = writable;
	}
	return k;
}

/*
 * The saved bytes come to life once; where they are not to be written, no
 * descriptor that could is left: it may be the executable.
 */
static int
open_content(struct restore *r, size_t i, struct use u)
{
	const struct mapfile *f = &r->p->mapfiles[i];
	int same = file_of_content(r->tree, f->content), fd, ro = 0;

	if (same >= 0 && (int)i != r->p->exe_file) {
		if (u.read)
			r->file_fds[i] = keep_same(r, same, false);
		if (u.written)
			r->rw_file_fds[i] = keep_same(r, same, true);
		return 0;
	}
	fd = saved_file(r, f);
	if (fd < 0)
		return fd;
	if (u.read && !secret_is_mapfile(f)) {
		ro = reopen_readonly(fd);
		if (ro < 0)
			return snap_fail(r->cx, ro,
			    "opening the contents of %s again: %s", f->path,
			    strerror(-ro));
		r->file_fds[i] = ro = keep(r, ro);
		if (ro < 0)
			return ro;
	}
	/* What is secret cannot be opened again; it always can be written. */
	if (u.read && secret_is_mapfile(f))
		r->file_fds[i] = ro = keep_dup(r, fd, f->path);
	if (ro >= 0 && u.written)
		r->rw_file_fds[i] = ro = keep_dup(r, fd, f->path);
	return ro < 0 ? ro : 0;
}

static int
open_mapfile(struct restore *r, size_t i, struct use u)
{
	const struct mapfile *f = &r->p->mapfiles[i];
	int fd, err = 0;

	r->file_fds[i] = r->rw_file_fds[i] = -1;
	if (f->content != 0 && (u.read || u.written))
		err = open_content(r, i, u);
	if (f->content == 0 && u.read) {
		fd = open_named(r, f, O_RDONLY, u.written);
		err = r->file_fds[i] = fd < 0 ? fd : keep(r, fd);
	}
	if (f->content == 0 && u.written && err >= 0) {
		fd = open_named(r, f, O_RDWR, true);
		err = r->rw_file_fds[i] = fd < 0 ? fd : keep(r, fd);
	}
	return err < 0 ? err : 0;
}

static int
open_mapfiles(struct restore *r)
{
	struct use *u = uses_of(r->p);
	int err = 0;

	if (u == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	for (size_t i = 0; i < r->p->nmapfiles && err == 0; i++)
		err = open_mapfile(r, i, u[i]);
	free(u);
	return err;
}

/* ---- the directories ---- */

static int
open_dir(struct restore *r, const char *path, const char *what)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return snap_fail(
		    r->cx, -errno, "%s: %s: %s", what, path, strerror(errno));
	return keep(r, fd);
}

static int
open_dirs(struct restore *r)
{
	r->cwd_fd = r->opt->cwd >= 0 ? keep_dup(r, r->opt->cwd, "cwd")
				     : open_dir(r, r->p->cwd, "cwd");
	if (r->cwd_fd < 0)
		return r->cwd_fd;
	if (strcmp(r->p->root, "/") == 0)
		return 0;
	r->root_fd = open_dir(r, r->p->root, "root");
	return r->root_fd < 0 ? r->root_fd : 0;
}

/* ---- numbers ---- */

/*
 * So many are left free below the places: what is open for a moment, the ends of
 * a pipe, say, is to be in none of them.
 */
#define SPARE 16

static int
highest(const struct restore_tree *t)
{
	int base = t->end[1] > 2 ? t->end[1] : 2;

	for (size_t i = 0; i < t->n; i++) {
		const struct restore *r = &t->v[i];

		for (size_t k = 0; k < r->p->nfds; k++)
			if (r->p->fds[k].fd > base)
				base = r->p->fds[k].fd;
		for (size_t k = 0; k < r->nkept; k++)
			if (r->kept[k].fd > base)
				base = r->kept[k].fd;
	}
	return base;
}

static void
number(struct restore *r, int base, int first)
{
	struct process *p = r->p;

	r->fd_base = base;
	r->host.fd_first = first;
	r->host.pages_fd = first; /* kept first of all */
	for (size_t i = 0; i < p->nmapfiles; i++) {
		if (r->file_fds[i] >= 0)
			r->file_fds[i] += first;
		if (r->rw_file_fds[i] >= 0)
			r->rw_file_fds[i] += first;
	}
	for (size_t i = 0; i < r->nsources; i++)
		r->source_fds[i] += first;
	r->host.source_fds = r->source_fds;
	r->cwd_fd += first;
	if (r->root_fd >= 0)
		r->root_fd += first;
	if (r->host.uffd_fd >= 0)
		r->host.uffd_fd += first;
	if (r->host.part == PLAN_TEMPLATE)
		r->host.control_fd += first;
	else
		r->host.control_fd = first + (int)r->nkept; /* a free one */
	r->host.cwd_fd = r->cwd_fd;
	r->host.root_fd = r->root_fd;
	if (r->host.tty_fd >= 0)
		r->host.tty_fd += first;
	r->host.exe_fd = p->exe_file >= 0 ? r->file_fds[p->exe_file] : -1;
	r->host.file_fds = r->file_fds;
	r->host.rw_file_fds = r->rw_file_fds;
}

/*
 * Above every number of the image, and above our own, so that moving one
 * there never closes another: first the places of all open files, then what
 * each process keeps; one behind the other, if they have one table.
 */
void
restore_number(struct restore_tree *t)
{
	int base = highest(t) + 1 + SPARE;
	int places = base + (int)t->all.nfiles, first;

	for (size_t i = 0; i < t->n; i++) {
		struct restore *r = &t->v[i], *owner;

		owner = &t->v[family_sharer(r->p, SHARE_FDS)->index];
		first = owner->kept_end == 0 ? places : owner->kept_end;
		number(r, base, first);
		/* One more: of an instance, see number(). */
		owner->kept_end = first + (int)r->nkept + 1;
		if (t->infants[i].own[SHARE_FDS] != 0)
			r->host.fd_end = owner->kept_end;
	}
}

/* `pages` of others, which its memory is in as well. */
static int
open_sources(struct restore *r)
{
	const struct process *p = r->p;
	int err = 0;

	r->source_fds = calloc(p->nsources + 1, sizeof(int));
	if (r->source_fds == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	for (size_t i = 0; err >= 0 && i < p->nsources; i++) {
		err = keep_dup(r, p->sources[i]->pages_fd, "pages");
		r->source_fds[i] = err;
		r->nsources = i + 1;
	}
	return err;
}

int
restore_open(struct restore *r)
{
	struct process *p = r->p;
	int err;

	r->cwd_fd = r->root_fd = r->host.uffd_fd = -1;
	r->file_fds = calloc(p->nmapfiles + 1, sizeof(int));
	r->rw_file_fds = calloc(p->nmapfiles + 1, sizeof(int));
	if (r->file_fds == NULL || r->rw_file_fds == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	err = keep_dup(r, p->pages_fd, "pages");
	if (err >= 0)
		err = open_sources(r);
	if (err >= 0)
		err = open_mapfiles(r);
	if (err >= 0)
		err = open_dirs(r);
	if (err >= 0 && r->host.paged && r->opt->uffd_dev > 0)
		err = r->host.uffd_fd =
		    keep_dup(r, r->opt->uffd_dev, "/dev/userfaultfd");
	if (err >= 0 && r->host.part == PLAN_TEMPLATE)
		err = r->host.control_fd =
		    keep_dup(r, r->tree->control[1], "template");
	if (err >= 0 && r->host.part == PLAN_INSTANCE && r->opt->tty >= 0)
		err = r->host.tty_fd = keep_dup(r, r->opt->tty, "tty");
	return err < 0 ? err : 0;
}

void
restore_close(struct restore *r)
{
	for (size_t i = 0; i < r->nkept; i++)
		if (r->kept[i].fd >= 0)
			close(r->kept[i].fd);
	free(r->kept);
	free(r->source_fds);
	free(r->file_fds);
	free(r->rw_file_fds);
}
