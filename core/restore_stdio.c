/*
 * restore_stdio.c - standard input, output and error of whoever restores, and
 * his working directory, in place of the image's.
 *
 * Descriptors that were duplicates of one of these follow it: a program that
 * kept its standard output as descriptor 5 means the same thing by both.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "restore.h"

static void
close_fdent(struct process *p, size_t i)
{
	memmove(
	    &p->fds[i], &p->fds[i + 1], (p->nfds - i - 1) * sizeof(p->fds[0]));
	p->nfds--;
}

/*
 * An open file of its own for a descriptor that shared one with a lower: what
 * was one file there may be two here.
 */
static int
split(struct restore *r, struct fdent *e)
{
	struct process *p = r->p;
	struct openfile *f = process_grow(&p->files, &p->nfiles, sizeof(*f));

	if (f == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	f->id = (uint32_t)e->fd;
	memcpy(f->kind, "given", sizeof("given"));
	f->flags = p->files[e->file].flags;
	f->given = true;
	f->std = e->fd;
	e->file = (uint32_t)p->nfiles - 1;
	return 0;
}

static int
give(struct restore *r, struct fdent *e)
{
	struct openfile *f = &r->p->files[e->file];

	if (f->id != (uint32_t)e->fd)
		return split(r, e);
	f->given = true;
	f->std = r->opt->stdio[e->fd] < 0 ? -1 : e->fd;
	return 0;
}

int
restore_stdio(struct restore *r)
{
	struct process *p = r->p;
	int err = 0;

	if (r->opt->cwd >= 0 && strcmp(p->root, "/") != 0)
		return snap_fail(r->cx, -ENOTSUP,
		    "the process has a root directory of its own (%s), in "
		    "which your working directory may not be",
		    p->root);
	if (r->opt->stdio == NULL)
		return 0;
	for (size_t i = 0; i < p->nfds && p->fds[i].fd <= 2 && err == 0;) {
		int fd = p->fds[i].fd;

		err = give(r, &p->fds[i]);
		if (r->opt->stdio[fd] < 0)
			close_fdent(p, i);
		else
			i++;
	}
	return err;
}
