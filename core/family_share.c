/*
 * family_share.c - processes of an image that have a table of descriptors in
 * common, or root, working directory and umask: who is the first that has it,
 * and do they all say the same of it?  Pure.
 */
#include <errno.h>
#include <string.h>

#include "ctx.h"
#include "family.h"
#include "resource.h"

/* The one that is named may be above the tree that is restored. */
struct process *
family_sharer(const struct process *p, enum share k)
{
	const struct family *t = p->tree;
	struct process *first;

	if (t == NULL || p->share[k] == 0)
		return (struct process *)p;
	first = family_find(t, p->share[k]);
	for (size_t i = 0; first == NULL && i < p->index; i++)
		if (t->v[i]->share[k] == p->share[k])
			first = t->v[i];
	return first == NULL ? (struct process *)p : first;
}

static bool
same_file(const struct process *p, const struct openfile *f,
    const struct process *q, const struct openfile *g)
{
	const struct process *pf, *qg;
	uint32_t i, k;

	if (resource_edited(f) || resource_edited(g))
		return resource_edited(f) && resource_edited(g) &&
		       strcmp(f->target, g->target) == 0;
	pf = family_file(p, f, &i);
	qg = family_file(q, g, &k);
	return pf == qg && i == k;
}

/* The next descriptor, from *i on; what is on its way in a socket is none. */
static const struct fdent *
next_fd(const struct process *p, size_t *i)
{
	while (*i < p->nfds) {
		const struct fdent *e = &p->fds[(*i)++];

		if (openfile_get(&p->files[e->file], "in-flight") == NULL)
			return e;
	}
	return NULL;
}

/* The first descriptor that they do not both have; -1: there is none. */
static int
other_fd(const struct process *p, const struct process *q)
{
	size_t i = 0, k = 0;

	for (;;) {
		const struct fdent *e = next_fd(p, &i), *d = next_fd(q, &k);

		if (e == NULL || d == NULL)
			return e != NULL ? e->fd : d != NULL ? d->fd : -1;
		if (e->fd != d->fd)
			return e->fd < d->fd ? e->fd : d->fd;
		if (e->cloexec != d->cloexec ||
		    !same_file(p, &p->files[e->file], q, &q->files[d->file]))
			return e->fd;
	}
}

static int
check_fds(struct snap_ctx *cx, const struct process *p, const struct process *q)
{
	int fd = other_fd(p, q);

	if (fd < 0)
		return 0;
	return snap_fail(cx, -EBADMSG,
	    "children: process %d shares its descriptors with process %d, but "
	    "fd/%d is not the same; edit it in both, or take "
	    "`shares-descriptors' out of its status",
	    (int)p->pid, (int)q->pid, fd);
}

static int
check_fs(struct snap_ctx *cx, const struct process *p, const struct process *q)
{
	const char *what = strcmp(p->cwd, q->cwd) != 0	   ? "cwd"
			   : strcmp(p->root, q->root) != 0 ? "root"
			   : p->umask != q->umask	   ? "umask"
							   : NULL;

	if (what == NULL)
		return 0;
	return snap_fail(cx, -EBADMSG,
	    "children: process %d shares its working directory, root and umask "
	    "with process %d, but %s is not the same; edit it in both, or take "
	    "`shares-cwd' out of its status",
	    (int)p->pid, (int)q->pid, what);
}

int
family_check_shares(struct snap_ctx *cx, const struct family *t)
{
	static int (*const check[SHARES])(struct snap_ctx * cx,
	    const struct process *p, const struct process *q) = {
		[SHARE_FDS] = check_fds,
		[SHARE_FS] = check_fs,
	};
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->n; i++)
		for (int k = 0; err == 0 && k < SHARES; k++) {
			const struct process *p = t->v[i],
					     *q = family_sharer(p, k);

			if (q == p)
				continue;
			if (q->index > p->index || family_sharer(q, k) != q)
				err = snap_fail(cx, -EBADMSG,
				    "children: process %d shares with process "
				    "%d, which is not the first that does",
				    (int)p->pid, (int)q->pid);
			else
				err = check[k](cx, p, q);
		}
	return err;
}
