/*
 * gather_shared.c - what clone(2) with such flags, or vfork(2), lets processes
 * have in common that is each one's own otherwise.  What a restore makes common
 * again is noted as such; of the rest it gives each its own, and that is told.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "gather.h"

static const struct kind {
	int type;
	enum share share; /* SHARES: it does not come back */
	const char *what, *how;
} kinds[] = {
	{ KCMP_VM, SHARES, "memory", "vfork or CLONE_VM" },
	{ KCMP_FILES, SHARE_FDS, "descriptors", "CLONE_FILES" },
	{ KCMP_FS, SHARE_FS, "cwd", "CLONE_FS" },
};

/* 0: the same; the kernel has an order of all others. */
static long
compare(pid_t a, pid_t b, int type)
{
	return syscall(SYS_kcmp, a, b, type, 0, 0);
}

static int
by_object(const void *a, const void *b, void *type)
{
	const struct process *const *x = a, *const *y = b;
	long r = compare((*x)->pid, (*y)->pid, *(int *)type);

	return r == 1 ? -1 : r == 2;
}

static int
note(struct process *p, const struct kind *k, pid_t with)
{
	return process_unsupported(p, k->what,
	    "shared with process %d (%s); the restored process has its own",
	    (int)with, k->how);
}

/* Those of [v, v + n) have the same: all but the first of the tree say so. */
static int
note_group(struct process **v, size_t n, const struct kind *k)
{
	const struct process *first = v[0];
	int err = 0;

	for (size_t i = 1; i < n; i++)
		if (v[i]->index < first->index)
			first = v[i];
	for (size_t i = 0; err == 0 && i < n; i++) {
		if (v[i] == first)
			continue;
		if (k->type == KCMP_SYSVSEM)
			v[i]->nundos = 0;
		if (k->share == SHARES)
			err = note(v[i], k, first->pid);
		else
			v[i]->share[k->share] = first->pid;
	}
	return err;
}

/* Sorted by what they have, those that share are neighbours. */
static int
note_kind(struct process **v, size_t n, const struct kind *k)
{
	int type = k->type, err = 0;
	size_t from = 0;

	qsort_r(v, n, sizeof(*v), by_object, &type);
	for (size_t i = 1; err == 0 && i <= n; i++)
		if (i == n || compare(v[i - 1]->pid, v[i]->pid, type) != 0) {
			err = note_group(v + from, i - from, k);
			from = i;
		}
	return err;
}

/* Of those outside, the first's parent is the likeliest. */
static int
note_outside(struct process *first, const struct kind *k)
{
	if (first->ppid <= 0 || compare(first->pid, first->ppid, k->type) != 0)
		return 0;
	return note(first, k, first->ppid);
}

int
gather_shared(struct snap_ctx *cx, struct process *const *p, size_t n)
{
	struct process **v = calloc(n, sizeof(*v));
	int err = v == NULL ? -ENOMEM : 0;

	for (size_t i = 0; err == 0 && i < n; i++)
		v[i] = p[i];
	for (size_t k = 0; err == 0 && k < sizeof(kinds) / sizeof(kinds[0]);
	     k++) {
		err = note_outside(p[0], &kinds[k]);
		if (err == 0)
			err = note_kind(v, n, &kinds[k]);
	}
	free(v);
	return err == 0 ? 0 : snap_fail(cx, err, "no memory");
}

int
gather_shared_undos(struct snap_ctx *cx, const struct family *t)
{
	static const struct kind kind = { KCMP_SYSVSEM, SHARES,
		"semaphores to be undone", "CLONE_SYSVSEM" };
	struct process **v = calloc(t->n, sizeof(*v));
	int err = v == NULL ? -ENOMEM : 0;
	size_t n = 0;

	for (size_t i = 0; err == 0 && i < t->n; i++)
		if (t->v[i]->nundos > 0)
			v[n++] = t->v[i];
	if (n > 0 && v[0]->index == 0)
		err = note_outside(v[0], &kind);
	if (err == 0 && n > 1)
		err = note_kind(v, n, &kind);
	free(v);
	return err == 0 ? 0 : snap_fail(cx, err, "%s", strerror(-err));
}
