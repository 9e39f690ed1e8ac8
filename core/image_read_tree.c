/*
 * image_read_tree.c - an image with all that is below children/ as a family,
 * and the images above it that its memory is shared with.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cow.h"
#include "ctx.h"
#include "family.h"
#include "image.h"
#include "image_open.h"

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
	err = image_read_into(w->cx, dir, p, &w->t->sums[w->index]);
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
		err = dir < 0 ? image_open_fail(w->cx, name, errno)
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
	size_t n = 0;
	int *v = NULL, children, err;

	err = image_list_numbers(w->cx, dir, CHILDREN, &v, &n);
	children = openat(
	    dir, CHILDREN, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	for (size_t i = 0; err == 0 && i < n; i++) {
		w->cx->where = NULL;
		err = children < 0 ? image_open_fail(w->cx, CHILDREN, errno)
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
