/*
 * image_read.c - an image as a struct process again.
 *
 * Every file is opened by a name of our own choice below the image's
 * directory, never through a link, never waiting, and is taken only if it is a
 * regular file of bounded size.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow.h"
#include "ctx.h"
#include "family.h"
#include "image.h"
#include "image_sums.h"
#include "img.h"
#include "pagesums.h"
#include "resource.h"
#include "unix_index.h"

#define MAX_TEXT (256u << 20)
#define MAX_STRINGS (64u << 20) /* cmdline, environ */
#define MAX_AUXV 4096
#define MAX_PREFETCH (16u << 20)
#define MAX_NUMBER (1u << 22) /* of a descriptor, of a process */
#define FIRST_WORDS "snapfs checkpoint "

struct input {
	struct snap_ctx *cx;
	int dir;
	struct process *p;
	struct image_sums *sums;
};

/* ---- opening ---- */

static int
open_fail(struct snap_ctx *cx, const char *path, int err)
{
	switch (err) {
	case ENOENT:
		return snap_fail(cx, -EBADMSG, "%s: missing", path);
	case ELOOP:
	case ENXIO: /* a socket */
		return snap_fail(cx, -EBADMSG, "%s: not a plain file", path);
	case ENOTDIR:
		return snap_fail(cx, -EBADMSG, "%s: not a directory", path);
	default:
		return snap_fail(cx, -err, "%s: %s", path, strerror(err));
	}
}

/* No component of `path` may be a link; two is the most there are. */
static int
open_below(int dir, const char *path, int flags)
{
	const char *slash = strchr(path, '/');
	char first[NAME_MAX + 1];
	int sub, fd, err;

	flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	if (slash == NULL)
		return openat(dir, path, flags);
	snprintf(first, sizeof(first), "%.*s", (int)(slash - path), path);
	sub =
	    openat(dir, first, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0)
		return -1;
	fd = openat(sub, slash + 1, flags);
	err = errno;
	close(sub);
	errno = err;
	return fd;
}

/* Takes over fd, and returns it or -errno. */
static int
is_plain(struct snap_ctx *cx, const char *path, int fd, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return snap_fail(cx, -EBADMSG, "%s: not a plain file", path);
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

static int
open_file(struct snap_ctx *cx, int dir, const char *path, uint64_t *size)
{
	int fd = open_below(dir, path, O_RDONLY);

	return fd < 0 ? open_fail(cx, path, errno)
		      : is_plain(cx, path, fd, size);
}

/* Whole, with a NUL behind it.  Bytes that come meanwhile are not taken. */
static int
load(struct snap_ctx *cx, int dir, const char *path, uint64_t max, char **text,
    size_t *len)
{
	uint64_t size, n = 0;
	ssize_t got = 1;
	int fd, err = 0;
	char *buf;

	fd = open_file(cx, dir, path, &size);
	if (fd < 0)
		return fd;
	if (size > max) {
		close(fd);
		return snap_fail(cx, -EBADMSG, "%s: larger than it may be: %lu",
		    path, (unsigned long)size);
	}
	buf = malloc(size + 1);
	while (buf != NULL && n < size && got != 0) {
		got = read(fd, buf + n, size - n);
		if (got < 0 && errno != EINTR) {
			err = snap_fail(
			    cx, -errno, "%s: %s", path, strerror(errno));
			break;
		}
		n += got > 0 ? (uint64_t)got : 0;
	}
	close(fd);
	if (buf == NULL)
		return snap_fail(cx, -ENOMEM, "%s: out of memory", path);
	if (err < 0) {
		free(buf);
		return err;
	}
	buf[n] = '\0';
	*text = buf;
	*len = n;
	return 0;
}

static int
load_checked(
    struct input *in, const char *path, uint64_t max, char **text, size_t *len)
{
	int err;

	err = load(in->cx, in->dir, path, max, text, len);
	if (err < 0)
		return err;
	err = image_sums_check(in->cx, in->sums, path, *text, *len);
	if (err < 0)
		free(*text);
	return err;
}

static int
read_link(struct input *in, const char *path, char **target)
{
	char buf[PATH_MAX + 1];
	ssize_t n;

	n = readlinkat(in->dir, path, buf, sizeof(buf));
	if (n < 0 && errno == EINVAL)
		return snap_fail(
		    in->cx, -EBADMSG, "%s: not a symbolic link", path);
	if (n < 0)
		return open_fail(in->cx, path, errno);
	if (n == 0 || (size_t)n >= sizeof(buf))
		return snap_fail(
		    in->cx, -EBADMSG, "%s: empty or too long", path);
	buf[n] = '\0';
	*target = strdup(buf);
	return *target == NULL ? -ENOMEM : 0;
}

/* ---- the files ---- */

static int
read_text(struct input *in, const char *path, uint64_t max,
    int (*read)(struct lines *l, struct process *p))
{
	struct lines l;
	char *text;
	size_t len;
	int err;

	err = load_checked(in, path, max, &text, &len);
	if (err < 0)
		return err;
	lines_init(&l, in->cx, path, text, len);
	err = read(&l, in->p);
	free(text);
	return err;
}

static int
read_texts(struct input *in)
{
	static const struct {
		const char *name;
		int (*read)(struct lines *l, struct process *p);
	} table[] = {
		{ "checkpoint", img_checkpoint_read },
		{ "maps", img_maps_read },
		{ "pagemap", img_pagemap_read },
		{ "status", img_status_read },
		{ "regs", img_regs_read },
		{ "signals", img_signals_read },
		{ "timers", img_timers_read },
		{ "seccomp", img_seccomp_read },
		{ "zombies", img_zombies_read },
		{ "unsupported", img_unsupported_read },
	};
	int err = 0;

	for (size_t i = 0; err == 0 && i < sizeof(table) / sizeof(table[0]);
	     i++)
		err = read_text(in, table[i].name, MAX_TEXT, table[i].read);
	return err;
}

static bool
is_missing(const struct input *in, const char *path)
{
	struct stat st;

	return fstatat(in->dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	       errno == ENOENT;
}

/*
 * What was not always in an image; and what no checkpoint has: it is put beside
 * the others later, or not.
 */
static int
read_more(struct input *in)
{
	int err = 0;

	if (!is_missing(in, "sysvipc"))
		err = read_text(in, "sysvipc", MAX_TEXT, img_sysvipc_read);
	if (err == 0 && !is_missing(in, "prefetch"))
		err =
		    read_text(in, "prefetch", MAX_PREFETCH, img_prefetch_read);
	return err;
}

static int
read_bytes(struct input *in, const char *path, uint64_t max, uint8_t **bytes,
    size_t *len)
{
	char *text;
	int err;

	err = load_checked(in, path, max, &text, len);
	if (err == 0)
		*bytes = (uint8_t *)text;
	return err;
}

static int
read_as_in_proc(struct input *in)
{
	struct process *p = in->p;
	int err;

	err = read_bytes(
	    in, "cmdline", MAX_STRINGS, &p->cmdline, &p->cmdline_len);
	if (err == 0)
		err = read_bytes(
		    in, "environ", MAX_STRINGS, &p->environ, &p->environ_len);
	if (err == 0)
		err = read_bytes(in, "auxv", MAX_AUXV, &p->auxv, &p->auxv_len);
	if (err == 0 && p->auxv_len % 16 != 0)
		err = snap_fail(
		    in->cx, -EBADMSG, "auxv: not a number of whole entries");
	if (err == 0)
		err = read_link(in, "cwd", &p->cwd);
	if (err == 0)
		err = read_link(in, "root", &p->root);
	if (err == 0)
		err = read_link(in, "exe", &p->exe);
	return err;
}

/* ---- descriptors ---- */

static int
by_number(const void *a, const void *b)
{
	const int *m = a, *n = b;

	return *m < *n ? -1 : *m > *n;
}

static int
list_entry(
    struct input *in, const char *path, const char *name, int **v, size_t *n)
{
	uint64_t number;
	int *slot;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (!text_dec(name, MAX_NUMBER, &number))
		return snap_fail(in->cx, -EBADMSG,
		    "%s/%.64s: not the number of a %s", path, name,
		    strcmp(path, "children") == 0 ? "process" : "descriptor");
	slot = process_grow(v, n, sizeof(*slot));
	if (slot == NULL)
		return -ENOMEM;
	*slot = (int)number;
	return 0;
}

/*
 * The numbers that are names in fd/ or fdinfo/, sorted.  There may be no such
 * directory: some tools do not copy empty ones.
 */
static int
list_numbers(struct input *in, const char *path, int **v, size_t *n)
{
	struct dirent *d;
	int fd, err = 0;
	DIR *dir;

	fd = openat(
	    in->dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : open_fail(in->cx, path, errno);
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return -ENOMEM;
	}
	while (err == 0 && (d = readdir(dir)) != NULL)
		err = list_entry(in, path, d->d_name, v, n);
	closedir(dir);
	if (*n > 0)
		qsort(*v, *n, sizeof(**v), by_number);
	return err;
}

static int
read_fd(struct input *in, int fd)
{
	char path[32], *target = NULL, *text;
	struct lines l;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "fd/%d", fd);
	err = read_link(in, path, &target);
	if (err < 0)
		return err;
	snprintf(path, sizeof(path), "fdinfo/%d", fd);
	err = load_checked(in, path, MAX_TEXT, &text, &len);
	if (err == 0) {
		lines_init(&l, in->cx, path, text, len);
		err = img_fdinfo_read(&l, in->p, fd, target);
		free(text);
	}
	free(target);
	return err;
}

static int
read_fds(struct input *in)
{
	int *links = NULL, *infos = NULL, err;
	size_t nlinks = 0, ninfos = 0;

	err = list_numbers(in, "fd", &links, &nlinks);
	if (err == 0)
		err = list_numbers(in, "fdinfo", &infos, &ninfos);
	for (size_t i = 0; err == 0 && i < ninfos; i++)
		if (nlinks == 0 || bsearch(&infos[i], links, nlinks,
				       sizeof(*links), by_number) == NULL)
			err = snap_fail(in->cx, -EBADMSG,
			    "fd/%d: missing, and fdinfo/%d is there", infos[i],
			    infos[i]);
	for (size_t i = 0; err == 0 && i < nlinks; i++)
		err = read_fd(in, links[i]);
	free(links);
	free(infos);
	return err == 0 ? img_fdinfo_finish(in->cx, in->p) : err;
}

/* ---- what is large, and not read here ---- */

/* files/ID of the directory so many levels of a tree above. */
static int
open_above(struct input *in, const struct content *c, uint64_t *size)
{
	int dir = in->dir, next, fd;
	char path[32];

	for (uint32_t i = 0; i < 2 * c->up && dir >= 0; i++) {
		next = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir != in->dir)
			close(dir);
		dir = next;
	}
	snprintf(path, sizeof(path), "files/%u", c->id);
	fd = dir < 0 ? -1 : open_below(dir, path, O_RDONLY);
	if (dir >= 0)
		close(dir);
	if (fd < 0)
		return snap_fail(in->cx, -EBADMSG,
		    "files/%u: it is shared with a process %u levels above, in "
		    "whose directory it is not: this directory was copied "
		    "without those above it",
		    c->id, c->up);
	return is_plain(in->cx, path, fd, size);
}

static int
open_content(struct input *in, struct content *c)
{
	char path[32];
	uint64_t size;

	snprintf(path, sizeof(path), "files/%u", c->id);
	c->fd = c->up > 0 ? open_above(in, c, &size)
			  : open_file(in->cx, in->dir, path, &size);
	if (c->fd < 0)
		return c->fd;
	/* without a sum it was edited, and its size is what is meant */
	if ((c->up > 0 || image_sums_has(in->sums, path, true)) &&
	    size != c->size)
		return snap_fail(in->cx, -EBADMSG,
		    "%s: has %lu bytes instead of %lu", path,
		    (unsigned long)size, (unsigned long)c->size);
	c->size = size;
	return 0;
}

/*
 * Without a line of `pages` in the sums it was edited, and is not verified;
 * without one of `pagesums', it is verified whole.
 */
static int
read_pagesums(struct input *in)
{
	struct pagesums *s = NULL;
	struct lines l;
	char *text;
	size_t len;
	int err;

	if (!image_sums_has(in->sums, "pagesums", false) ||
	    !image_sums_has(in->sums, "pages", false))
		return 0;
	err = load_checked(in, "pagesums", MAX_TEXT, &text, &len);
	if (err < 0)
		return err;
	lines_init(&l, in->cx, "pagesums", text, len);
	err = pagesums_read(&l, in->p->pages_size, &s);
	free(text);
	image_sums_set_pages(in->sums, s);
	/* The pieces are what is looked at: so this says that they are right. */
	if (err == 0 && !image_sums_is(in->sums, "pages", s->whole))
		err = snap_fail(in->cx, -EBADMSG,
		    "pagesums:2: the sum of pages is another than that in "
		    "xxh128sums: damaged, or edited (then remove the line of "
		    "pages there)");
	return err;
}

static void
know_source(const struct process *p, struct run *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		v[i].src_fd = p->pages_fd;
		v[i].src_off = v[i].offset;
	}
}

static int
open_large(struct input *in)
{
	struct process *p = in->p;
	uint64_t size;
	int err = 0;

	/* Those of the tree that is being read are at hand. */
	for (size_t i = 0; err == 0 && i < p->ncontents; i++)
		if (p->contents[i].up == 0 || p->contents[i].up > p->depth)
			err = open_content(in, &p->contents[i]);
	if (err < 0)
		return err;
	err = read_pagesums(in);
	if (err < 0)
		return err;
	p->pages_fd = open_file(in->cx, in->dir, "pages", &size);
	if (p->pages_fd < 0)
		return p->pages_fd;
	image_sums_has(in->sums, "pages", true);
	if (size != p->pages_size)
		return snap_fail(in->cx, -EBADMSG,
		    "pages: has %lu bytes instead of %lu", (unsigned long)size,
		    (unsigned long)p->pages_size);
	know_source(p, p->runs, p->nruns);
	know_source(p, p->former, p->nformer);
	return 0;
}

/* ---- all of it ---- */

int
snap_image_is(int dir)
{
	char buf[sizeof(FIRST_WORDS)] = "";
	struct snap_ctx quiet = { 0 };
	uint64_t size;
	ssize_t n;
	int fd, err;

	fd = open_file(&quiet, dir, "checkpoint", &size);
	if (fd < 0)
		return fd == -EBADMSG ? 0 : fd;
	n = pread(fd, buf, strlen(FIRST_WORDS), 0);
	err = n < 0 ? -errno : 0;
	close(fd);
	return err < 0 ? err : strcmp(buf, FIRST_WORDS) == 0;
}

/* Before any checksum, so that a later version's are not called wrong. */
static int
check_version(struct input *in)
{
	struct stat st;
	struct lines l;
	char *text;
	size_t len;
	int err;

	if (fstatat(in->dir, "checkpoint", &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	    errno == ENOENT)
		return snap_fail(
		    in->cx, -ENOENT, "no checkpoint in this directory");
	err = load(in->cx, in->dir, "checkpoint", MAX_TEXT, &text, &len);
	if (err < 0)
		return err;
	lines_init(&l, in->cx, "checkpoint", text, len);
	err = img_checkpoint_version(&l);
	free(text);
	return err;
}

static int
read_sums(struct input *in)
{
	char *text;
	size_t len;
	int err;

	err = load(in->cx, in->dir, "xxh128sums", MAX_TEXT, &text, &len);
	if (err < 0)
		return err;
	err = image_sums_parse(in->cx, text, len, &in->sums);
	free(text);
	return err;
}

static int
read_all(struct input *in)
{
	int err;

	err = check_version(in);
	if (err == 0)
		err = read_sums(in);
	if (err == 0)
		err = read_texts(in);
	if (err == 0)
		err = read_more(in);
	if (err == 0)
		err = read_as_in_proc(in);
	if (err == 0)
		err = read_fds(in);
	if (err == 0)
		err = open_large(in);
	if (err == 0)
		err = image_sums_rest(in->cx, in->sums, in->dir);
	if (err == 0)
		err = unix_index_make(in->p);
	return err == 0 ? fds_check(in->cx, in->p) : err;
}

/* Into p, which is new. */
static int
read_into(
    struct snap_ctx *cx, int dir, struct process *p, struct image_sums **sums)
{
	struct input in = { .cx = cx, .dir = dir, .p = p };
	int err;

	err = read_all(&in);
	if (err == -ENOMEM)
		snap_fail(cx, err, "reading the image: out of memory");
	*sums = in.sums;
	return err;
}

int
image_read(struct snap_ctx *cx, int dir, struct process **out,
    struct image_sums **sums)
{
	struct process *p = process_new();
	int err;

	*sums = NULL;
	err = p == NULL ? snap_fail(cx, -ENOMEM, "no memory")
			: read_into(cx, dir, p, sums);
	if (err < 0) {
		process_free(p);
		image_sums_free(*sums);
		*sums = NULL;
		return err;
	}
	*out = p;
	return 0;
}

/* ---- a tree ---- */

#define CHILDREN "children"

/* The path of one process's directory, with a slash behind it. */
struct where {
	struct snap_ctx *cx;
	struct family *t;
	size_t index;
	const char *path; /* "": that of the image itself */
};

static void
say_where(const struct where *w)
{
	w->cx->where = *w->path != '\0' ? w->path : NULL;
}

static int read_children(struct where *w, int dir);

static int
read_process(struct where *w, int dir)
{
	struct process *p = w->t->v[w->index];
	int err;

	if (*w->path != '\0' && (p->dir = strdup(w->path)) == NULL)
		return -ENOMEM;
	say_where(w);
	err = read_into(w->cx, dir, p, &w->t->sums[w->index]);
	if (err == 0)
		err = read_children(w, dir);
	w->cx->where = NULL;
	return err;
}

static int
read_child(struct where *w, int children, int pid)
{
	struct where c = { w->cx, w->t, w->t->n, NULL };
	struct process *p;
	char *path;
	int dir, err;

	if (w->t->n >= FAMILY_MAX)
		return snap_fail(w->cx, -E2BIG,
		    "more processes in a tree than there may be (%d)",
		    FAMILY_MAX);
	p = family_add(w->t, w->index);
	if (p == NULL)
		return -ENOMEM;
	if (asprintf(&path, "%s" CHILDREN "/%d/", w->path, pid) < 0)
		return -ENOMEM;
	c.path = path;
	if (p->depth > FAMILY_DEPTH_MAX)
		err = snap_fail(w->cx, -EBADMSG,
		    "%.64s...: deeper than a tree may be (%d)", path,
		    FAMILY_DEPTH_MAX);
	else {
		char name[16];

		snprintf(name, sizeof(name), "%d", pid);
		dir = openat(children, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		err = dir < 0 ? open_fail(w->cx, name, errno)
			      : read_process(&c, dir);
		if (dir >= 0)
			close(dir);
	}
	if (err == 0 && p->pid != pid)
		err = snap_fail(w->cx, -EBADMSG,
		    "%scheckpoint: it is of process %d", path, (int)p->pid);
	if (err == 0 && p->ppid != w->t->v[w->index]->pid)
		err = snap_fail(w->cx, -EBADMSG,
		    "%sstatus: its parent is %d, not %d", path, (int)p->ppid,
		    (int)w->t->v[w->index]->pid);
	free(path);
	return err;
}

/* There may be no such directory: some tools do not copy empty ones. */
static int
read_children(struct where *w, int dir)
{
	struct input in = { .cx = w->cx, .dir = dir };
	size_t n = 0;
	int *v = NULL, children, err;

	err = list_numbers(&in, CHILDREN, &v, &n);
	children = openat(
	    dir, CHILDREN, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	for (size_t i = 0; err == 0 && i < n; i++) {
		w->cx->where = NULL;
		err = children < 0 ? open_fail(w->cx, CHILDREN, errno)
				   : read_child(w, children, v[i]);
	}
	if (children >= 0)
		close(children);
	free(v);
	return err;
}

/* ---- memory that is shared with those above ---- */

#define UP "../../"
#define UP_LEN (sizeof(UP) - 1)

/* The image of the process whose child this is, by the place where it is. */
static int
read_above(struct snap_ctx *cx, int dir, const char *path, struct family *t)
{
	struct image_sums *sums;
	struct process *p;
	int err;

	if (t->nabove == FAMILY_DEPTH_MAX)
		return snap_fail(cx, -E2BIG, "pagemap: too many levels");
	err = image_read(cx, dir, &p, &sums);
	if (err == 0)
		err = family_add_above(t, p, sums);
	if (err == 0)
		p->dir = strdup(path);
	if (err == 0)
		return p->dir == NULL ? -ENOMEM : 0;
	if (err != -ENOENT)
		return err;
	snap_clear(cx);
	return snap_fail(cx, -EBADMSG,
	    "no checkpoint there: the memory of process %d is shared with its "
	    "parent's, and this directory was copied without that",
	    (int)t->v[0]->pid);
}

static int
check_above(
    struct snap_ctx *cx, const struct process *p, const struct process *child)
{
	if (p->pid != child->ppid)
		return snap_fail(cx, -EBADMSG,
		    "checkpoint: it is of process %d, not of %d", (int)p->pid,
		    (int)child->ppid);
	/* That is of the image that was asked for. */
	cx->where = NULL;
	if (p->parent_id[0] != '\0' || child->parent_id[0] != '\0')
		return snap_fail(cx, -ENOTSUP,
		    "the memory of process %d is shared with its parent's, "
		    "which is in an increment: snapfs-merge(1) that first",
		    (int)child->pid);
	return 0;
}

/* "../../" for each level that we have come up. */
static const char *
up(char *path, const struct family *t)
{
	snprintf(path + t->nabove * UP_LEN, UP_LEN + 1, UP);
	return path;
}

/* Up the directories until all pages are known. */
static int
read_all_above(struct snap_ctx *cx, int dir, struct family *t)
{
	const struct process *last = t->v[0];
	char path[(FAMILY_DEPTH_MAX + 1) * UP_LEN + 1];
	int at = dir, next, err = 0;

	while (err == 0 && cow_is_partial(last)) {
		cx->where = up(path, t);
		next = openat(at, UP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (at != dir)
			close(at);
		at = next;
		err = at < 0 ? -errno : read_above(cx, at, path, t);
		if (err < 0)
			break;
		err = check_above(cx, t->above[t->nabove - 1], last);
		last = t->above[t->nabove - 1];
	}
	cx->where = NULL;
	if (at >= 0 && at != dir)
		close(at);
	return err;
}

/* All of it is an increment, but for processes that are new; or nothing is. */
static int
check_parents(struct snap_ctx *cx, const struct family *t)
{
	for (size_t i = 1; i < t->n; i++)
		if (t->v[0]->parent_id[0] == '\0' &&
		    t->v[i]->parent_id[0] != '\0')
			return snap_fail(cx, -EBADMSG,
			    "checkpoint: process %d is an increment, and its "
			    "parent is whole",
			    (int)t->v[i]->pid);
	return 0;
}

int
image_read_link(
    struct snap_ctx *cx, int dir, const char *name, struct family *out)
{
	struct where w = { cx, out, 0, name };
	int err;

	if (family_add(out, 0) == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	err = read_process(&w, dir);
	if (err == -ENOMEM)
		snap_fail(cx, err, "reading the image: out of memory");
	say_where(&w);
	if (err == 0)
		err = check_parents(cx, out);
	if (err == 0)
		err = read_all_above(cx, dir, out);
	say_where(&w);
	if (err == 0 && out->v[0]->parent_id[0] == '\0')
		err = cow_resolve_tree(cx, out);
	if (err == 0 && out->n > 1)
		err = family_check(cx, out);
	cx->where = NULL;
	return err;
}

int
image_read_tree(struct snap_ctx *cx, int dir, struct family *out)
{
	return image_read_link(cx, dir, "", out);
}
