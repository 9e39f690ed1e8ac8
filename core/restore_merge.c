/*
 * restore_merge.c - the open files of all processes of a tree, each once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "fdkv.h"
#include "resource.h"
#include "restore_tree.h"
#include "unix_index.h"
#include "unix_sock.h"

/* Its index among all; the first that asks adds it. */
static int
add_file(struct restore_tree *t, struct process *p, uint32_t index)
{
	struct restore *r = &t->v[p->index];
	size_t n = t->all.nfiles, *owner;
	struct openfile *f;

	if (r->merged[index] != UINT32_MAX)
		return 0;
	owner = process_grow(&t->owner, &n, sizeof(*owner));
	f = owner == NULL
		? NULL
		: process_grow(&t->all.files, &t->all.nfiles, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	*f = p->files[index];
	*owner = p->index;
	r->merged[index] = (uint32_t)t->all.nfiles - 1;
	return 0;
}

static int
merge_process(struct restore_tree *t, struct process *p)
{
	struct restore *r = &t->v[p->index];
	uint32_t there;
	int err = 0;

	for (uint32_t i = 0; err == 0 && i < p->nfiles; i++) {
		struct process *q = family_file(p, &p->files[i], &there);

		err = add_file(t, q, there);
		if (err == 0)
			r->merged[i] = t->v[q->index].merged[there];
	}
	return err;
}

static int
merge_contents(struct restore_tree *t, const struct process *p)
{
	struct content *c;

	for (size_t i = 0; i < p->ncontents; i++) {
		if (p->contents[i].up > 0)
			continue;
		c = process_grow(
		    &t->all.contents, &t->all.ncontents, sizeof(*c));
		if (c == NULL)
			return -ENOMEM;
		*c = p->contents[i];
	}
	return 0;
}

/* A pipe is only half of one without the process at its other end. */
static int
check_ends(struct restore_tree *t, const struct process *p)
{
	for (size_t i = 0; i < p->nfiles; i++) {
		const struct openfile *f = &p->files[i];
		const char *with = openfile_get(f, "with");

		if (with == NULL || resource_edited(f) ||
		    family_find(t->family, (pid_t)kv_u64(f, "with", 10)) !=
			NULL)
			continue;
		return snap_fail(t->cx, -ENOTSUP,
		    "fd %u: the other end of this pipe is in process %s, which "
		    "is not restored with it; to restore without it: ln -sf "
		    "/dev/null fd/%u",
		    f->id, with, f->id);
	}
	return 0;
}

/* What sockets of several processes say of each other. */
static int
check_sockets(struct restore_tree *t)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->all.nfiles; i++)
		if (strcmp(t->all.files[i].kind, "unix") == 0 &&
		    !resource_edited(&t->all.files[i]))
			err = unix_sock_fits(t->cx, &t->all, &t->all.files[i]);
	return err;
}

int
restore_merge(struct restore_tree *t)
{
	int err = 0;

	t->all.pages_fd = t->all.frozen_fd = -1;
	for (size_t i = 0; err == 0 && i < t->n; i++) {
		const struct process *p = t->family->v[i];

		t->v[i].merged = malloc((p->nfiles + 1) * sizeof(uint32_t));
		if (t->v[i].merged == NULL)
			err = -ENOMEM;
		else
			memset(t->v[i].merged, 0xff,
			    (p->nfiles + 1) * sizeof(uint32_t));
	}
	for (size_t i = 0; err == 0 && i < t->n; i++) {
		err = check_ends(t, t->family->v[i]);
		if (err == 0)
			err = merge_process(t, t->family->v[i]);
		if (err == 0)
			err = merge_contents(t, t->family->v[i]);
	}
	if (err == 0)
		err = unix_index_make(&t->all);
	if (err == 0)
		err = check_sockets(t);
	return err == -ENOMEM ? snap_fail(t->cx, err, "no memory") : err;
}

void
restore_merge_free(struct restore_tree *t)
{
	for (size_t i = 0; t->v != NULL && i < t->n; i++)
		free(t->v[i].merged);
	unix_index_free(&t->all);
	free(t->all.files);
	free(t->all.contents);
	free(t->owner);
}
