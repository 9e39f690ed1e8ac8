/*
 * image_read.c - one directory of an image as a struct process again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "image.h"
#include "image_open.h"
#include "image_sums.h"
#include "img.h"
#include "pagesums.h"
#include "resource.h"
#include "unix_index.h"

#define MAX_TEXT (256u << 20)
#define MAX_STRINGS (64u << 20) /* cmdline, environ */
#define MAX_AUXV 4096
#define MAX_PREFETCH (16u << 20)
#define FIRST_WORDS "snapfs checkpoint "

struct input {
	struct snap_ctx *cx;
	int dir;
	struct process *p;
	struct image_sums *sums;
};

static int
load_checked(
    struct input *in, const char *path, uint64_t max, char **text, size_t *len)
{
	int err;

	err = image_load(in->cx, in->dir, path, max, text, len);
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
		return image_open_fail(in->cx, path, errno);
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

	err = image_list_numbers(in->cx, in->dir, "fd", &links, &nlinks);
	if (err == 0)
		err = image_list_numbers(
		    in->cx, in->dir, "fdinfo", &infos, &ninfos);
	for (size_t i = 0; err == 0 && i < ninfos; i++)
		if (nlinks == 0 || bsearch(&infos[i], links, nlinks,
				       sizeof(*links), image_by_number) == NULL)
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
	fd = dir < 0 ? -1 : image_open_below(dir, path, O_RDONLY);
	if (dir >= 0)
		close(dir);
	if (fd < 0)
		return snap_fail(in->cx, -EBADMSG,
		    "files/%u: it is shared with a process %u levels above, in "
		    "whose directory it is not: this directory was copied "
		    "without those above it",
		    c->id, c->up);
	return image_open_plain(in->cx, path, fd, size);
}

static int
open_content(struct input *in, struct content *c)
{
	char path[32];
	uint64_t size;

	snprintf(path, sizeof(path), "files/%u", c->id);
	c->fd = c->up > 0 ? open_above(in, c, &size)
			  : image_open_file(in->cx, in->dir, path, &size);
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
	p->pages_fd = image_open_file(in->cx, in->dir, "pages", &size);
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

	fd = image_open_file(&quiet, dir, "checkpoint", &size);
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
	err = image_load(in->cx, in->dir, "checkpoint", MAX_TEXT, &text, &len);
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

	err = image_load(in->cx, in->dir, "xxh128sums", MAX_TEXT, &text, &len);
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

int
image_read_into(
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
			: image_read_into(cx, dir, p, sums);
	if (err < 0) {
		process_free(p);
		image_sums_free(*sums);
		*sums = NULL;
		return err;
	}
	*out = p;
	return 0;
}
