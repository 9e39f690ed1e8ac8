#include "unix_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "resource.h"
#include "unix_sock.h"

struct place {
	uint64_t ino;
	size_t file;
};

struct unix_index {
	size_t nfiles; /* that the process had */
	size_t n;
	struct place v[];
};

static bool
is_one(const struct openfile *f)
{
	return strcmp(f->kind, "unix") == 0 && !resource_edited(f);
}

static int
by_inode(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->file < y->file ? -1 : x->file > y->file;
}

int
unix_index_make(struct process *p)
{
	struct unix_index *x;

	unix_index_free(p);
	x = malloc(sizeof(*x) + p->nfiles * sizeof(x->v[0]));
	if (x == NULL)
		return -ENOMEM;
	x->nfiles = p->nfiles;
	x->n = 0;
	for (size_t i = 0; i < p->nfiles; i++)
		if (is_one(&p->files[i]))
			x->v[x->n++] =
			    (struct place){ unix_sock_ino(&p->files[i]), i };
	qsort(x->v, x->n, sizeof(x->v[0]), by_inode);
	p->unix_index = x;
	return 0;
}

void
unix_index_free(struct process *p)
{
	free(p->unix_index);
	p->unix_index = NULL;
}

static const struct openfile *
find_slowly(const struct process *p, uint64_t ino)
{
	for (size_t i = 0; i < p->nfiles; i++)
		if (is_one(&p->files[i]) && unix_sock_ino(&p->files[i]) == ino)
			return &p->files[i];
	return NULL;
}

const struct openfile *
unix_index_find(const struct process *p, uint64_t ino)
{
	const struct unix_index *x = p->unix_index;
	size_t lo = 0, hi;

	if (x == NULL || x->nfiles != p->nfiles)
		return find_slowly(p, ino);
	for (hi = x->n; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;

		if (x->v[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	/* One may have been edited, or given another, since. */
	for (; lo < x->n && x->v[lo].ino == ino; lo++)
		if (is_one(&p->files[x->v[lo].file]))
			return &p->files[x->v[lo].file];
	return NULL;
}
