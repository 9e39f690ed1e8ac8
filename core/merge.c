/*
 * merge.c - write the whole image that an increment and its parents make.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain.h"
#include "ctx.h"
#include "family.h"
#include "memory.h"
#include "served.h"
#include "vma.h"

#define CHUNK (1u << 20)

struct merge {
	struct snap_ctx *cx;
	struct process *p;
	struct served files;
	char *buf;
};

static int
failed(struct merge *m, uint32_t n, int err)
{
	return snap_fail(m->cx, err, "writing %s: %s", m->files.tree.v[n].name,
	    strerror(-err));
}

static int
write_all(int fd, const char *buf, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, buf, n);

		if (w < 0 && errno != EINTR)
			return -errno;
		if (w > 0) {
			buf += w;
			n -= (size_t)w;
		}
	}
	return 0;
}

static int
write_file(struct merge *m, uint32_t n, int dir)
{
	uint64_t off = 0;
	ssize_t len = 0;
	int err = 0, fd;

	fd = openat(dir, m->files.tree.v[n].name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (fd < 0)
		return failed(m, n, -errno);
	while (err == 0 &&
	       (len = served_read(&m->files, n, m->buf, CHUNK, off)) > 0) {
		served_feed(&m->files, n, m->buf, (size_t)len, off);
		err = write_all(fd, m->buf, (size_t)len);
		off += (uint64_t)len;
	}
	if (err == 0 && len < 0)
		err = (int)len;
	if (close(fd) != 0 && err == 0)
		err = -errno;
	return err < 0 ? failed(m, n, err) : 0;
}

static int write_children(struct merge *m, uint32_t n, int dir);

static int
write_node(struct merge *m, uint32_t n, int dir)
{
	const struct image_node *node = &m->files.tree.v[n];
	int fd, err;

	switch (node->node.type) {
	case SNAP_LINK:
		return symlinkat(node->text, dir, node->name) < 0
			   ? failed(m, n, -errno)
			   : 0;
	case SNAP_FILE:
		return write_file(m, n, dir);
	default:
		if (mkdirat(dir, node->name, 0700) < 0)
			return failed(m, n, -errno);
		fd = openat(dir, node->name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return failed(m, n, -errno);
		err = write_children(m, n, fd);
		close(fd);
		return err;
	}
}

static int
write_children(struct merge *m, uint32_t n, int dir)
{
	int err = 0;

	for (n = m->files.tree.v[n].node.first_child; err == 0 && n != 0;
	     n = m->files.tree.v[n].node.next)
		err = write_node(m, n, dir);
	return err;
}

static int
write_image(struct merge *m, int out)
{
	int err = served_init(m->cx, &m->files, m->p, false);

	m->buf = malloc(CHUNK);
	if (err == 0 && m->buf == NULL)
		err = snap_fail(m->cx, -ENOMEM, "no memory");
	if (err == 0)
		err = write_children(m, 0, out);
	if (err == 0 && syncfs(out) < 0)
		err = snap_fail(m->cx, -errno, "syncfs: %s", strerror(errno));
	free(m->buf);
	served_fini(&m->files);
	return err;
}

static int
verify(struct snap_ctx *cx, const struct family *f)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < f->n; i++) {
		cx->where = f->v[i]->dir;
		err = image_verify(cx, f->v[i], f->sums[i], NULL);
	}
	for (size_t i = 0; err == 0 && i < f->nabove; i++) {
		cx->where = f->above[i]->dir;
		err = image_verify(cx, f->above[i], f->above_sums[i], NULL);
	}
	cx->where = NULL;
	return err;
}

static bool
vma_begins(const struct process *p, uint64_t at)
{
	const struct vma *v = vma_find(p, at);

	return v == NULL || v->start == at;
}

/* What is its parent's, or was, is not written twice. */
static void
name_shared(struct process *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->nruns; i++) {
		struct run r = p->runs[i],
			   *last = n > 0 ? &p->runs[n - 1] : NULL;

		if (r.kind == RUN_HELD && r.up > 0)
			r.kind = r.former ? RUN_FORMER : RUN_INHERITED;
		if (last != NULL && last->end == r.start &&
		    last->kind == r.kind && r.kind != RUN_HELD &&
		    !vma_begins(p, r.start))
			last->end = r.end;
		else
			p->runs[n++] = r;
	}
	p->nruns = n;
}

int
snap_merge(struct snap_ctx *cx, int dir, const int *more, size_t nmore, int out)
{
	struct merge m = { .cx = cx };
	struct family f = { 0 };
	int err = image_read_tree(cx, dir, &f);

	if (err == 0 && f.v[0]->parent_id[0] == '\0')
		err = snap_fail(cx, -EINVAL,
		    "it is no increment: checkpoint %s is whole", f.v[0]->id);
	if (err == 0)
		err = chain_resolve(cx, dir, more, nmore, &f);
	if (err == 0)
		err = verify(cx, &f);
	for (size_t i = 0; err == 0 && i < f.n; i++) {
		name_shared(f.v[i]);
		memory_settle_runs(f.v[i]);
	}
	if (err == 0) {
		m.p = f.v[0];
		err = write_image(&m, out);
	}
	family_fini(&f);
	if (err < 0)
		snap_fail(cx, err, "merging: %s", strerror(-err));
	return err;
}
