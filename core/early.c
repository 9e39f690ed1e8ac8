#include "early.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proc_task.h"

static int
read_status(pid_t pid, pid_t tid, struct early *y)
{
	struct proc_status st;
	int err = proc_task_creds(pid, tid, &st);

	if (err == 0)
		*y = (struct early){ tid, st.creds, st.seccomp };
	return err;
}

int
early_read(struct earlies *e, pid_t pid, pid_t tid)
{
	struct early *y, now;

	if (read_status(pid, tid, &now) != 0)
		return 0;
	y = process_grow(&e->v, &e->n, sizeof(*y));
	if (y == NULL) {
		free(now.creds.groups);
		return -ENOMEM;
	}
	*y = now;
	return 0;
}

static int
by_tid(const void *a, const void *b)
{
	const struct early *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

void
early_sort(struct earlies *e)
{
	if (e->n > 1)
		qsort(e->v, e->n, sizeof(*e->v), by_tid);
}

const struct early *
early_find(const struct earlies *e, pid_t tid)
{
	size_t from = 0, to = e->n;

	while (from < to) {
		size_t i = from + (to - from) / 2;

		if (e->v[i].tid == tid)
			return &e->v[i];
		if (e->v[i].tid < tid)
			from = i + 1;
		else
			to = i;
	}
	return NULL;
}

static bool
same(const struct early *x, const struct early *y)
{
	const struct creds *a = &x->creds, *b = &y->creds;

	return x->seccomp == y->seccomp && a->cap_bnd == b->cap_bnd &&
	       a->cap_amb == b->cap_amb && a->ngroups == b->ngroups &&
	       (a->ngroups == 0 || memcmp(a->groups, b->groups,
				       a->ngroups * sizeof(gid_t)) == 0);
}

int
early_confirm(const struct earlies *e, pid_t pid)
{
	for (size_t i = 0; i < e->n; i++) {
		struct early now;
		bool yes;

		/* It has ended since: it will not tell any more. */
		if (read_status(pid, e->v[i].tid, &now) != 0)
			continue;
		yes = same(&e->v[i], &now);
		free(now.creds.groups);
		if (!yes)
			return -EAGAIN;
	}
	return 0;
}

void
early_free(struct earlies *e)
{
	for (size_t i = 0; i < e->n; i++)
		free(e->v[i].creds.groups);
	free(e->v);
	*e = (struct earlies){ 0 };
}
