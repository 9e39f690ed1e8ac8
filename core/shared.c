#include "shared.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"

static const struct content *
find(const struct process *p, const struct stat *st)
{
	for (size_t i = 0; i < p->ncontents; i++) {
		const struct content *c = &p->contents[i];

		/* The first System V segment has the inode number 0. */
		if (c->ino == st->st_ino && c->dev == st->st_dev &&
		    (c->ino != 0 || c->dev != 0))
			return c;
	}
	return NULL;
}

static const struct content *
find_in_tree(const struct process *p, const struct stat *st)
{
	const struct content *c = NULL;

	for (size_t i = 0; p->tree != NULL && c == NULL && i < p->tree->n; i++)
		c = find(p->tree->v[i], st);
	return c;
}

uint32_t
shared_known(const struct process *p, const struct stat *st)
{
	const struct content *c = find(p, st);

	if (c == NULL)
		c = find_in_tree(p, st);
	return c == NULL ? 0 : c->id;
}

uint32_t
shared_find(struct process *p, const struct stat *st)
{
	const struct content *c = find(p, st);
	struct content *own;

	if (c != NULL)
		return c->id;
	c = find_in_tree(p, st);
	if (c == NULL)
		return 0;
	own = process_grow(&p->contents, &p->ncontents, sizeof(*own));
	if (own == NULL)
		return 0; /* it is copied once more, or that fails as well */
	*own = *c;
	own->fd = -1;
	own->up = 0; /* see family_settle_contents() */
	return own->id;
}

static int
add(struct process *p, int fd, const struct stat *st)
{
	int id;

	id = process_add_content(p, fd, (uint64_t)st->st_size);
	if (id > 0) {
		p->contents[p->ncontents - 1].dev = st->st_dev;
		p->contents[p->ncontents - 1].ino = st->st_ino;
	}
	return id;
}

static int
copy_failed(struct snap_ctx *cx, const struct process *p, int fd,
    const struct stat *st, int err)
{
	char link[64], what[PATH_MAX] = "contents";
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, what, sizeof(what) - 1);
	if (n >= 0)
		what[n] = '\0';
	if (err == -ETIMEDOUT)
		return copytime_fail(
		    cx, p, what, (uint64_t)st->st_blocks * 512);
	return snap_fail(cx, err, "copying %lld bytes of %s: %s",
	    (long long)st->st_size, what, strerror(-err));
}

int
shared_collect(struct snap_ctx *cx, struct process *p, int fd)
{
	struct copytime time;
	struct stat st;
	uint32_t id;
	int copy, err;

	if (fstat(fd, &st) < 0)
		return snap_fail(cx, -errno,
		    "stat of contents to be copied: %s", strerror(errno));
	id = shared_find(p, &st);
	if (id != 0)
		return (int)id;
	copy = contents_open(p, (uint64_t)st.st_size);
	time = copytime_begin(p);
	err = copy < 0 ? copy
		       : contents_copy(copy, fd, (uint64_t)st.st_size, &time);
	copytime_finish(&time, p);
	if (err == 0)
		return add(p, copy, &st);
	if (copy >= 0)
		close(copy);
	return copy_failed(cx, p, fd, &st, err);
}

int
shared_keep(struct snap_ctx *cx, struct process *p, int fd)
{
	struct stat st;
	uint32_t id;

	if (fstat(fd, &st) < 0) {
		int err = -errno;

		close(fd);
		return snap_fail(
		    cx, err, "stat of contents to be kept: %s", strerror(-err));
	}
	id = shared_find(p, &st);
	if (id != 0) {
		close(fd);
		return (int)id;
	}
	return add(p, fd, &st);
}
