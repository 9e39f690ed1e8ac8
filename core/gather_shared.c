/*
 * gather_shared.c - what vfork(2), or clone(2) with such flags, lets processes
 * have in common that is each one's own otherwise: a restore gives each its own.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "gather.h"

static const struct {
	int type;
	const char *what, *how;
} kinds[] = {
	{ KCMP_VM, "memory", "vfork or CLONE_VM" },
	{ KCMP_FILES, "descriptors", "CLONE_FILES" },
	{ KCMP_FS, "cwd", "CLONE_FS" },
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
note(struct process *p, size_t kind, pid_t with)
{
	return process_unsupported(p, kinds[kind].what,
	    "shared with process %d (%s); the restored process has its own",
	    (int)with, kinds[kind].how);
}

/* Those of [v, v + n) have the same: all but the first of the tree say so. */
static int
note_group(struct process **v, size_t n, size_t kind)
{
	const struct process *first = v[0];
	int err = 0;

	for (size_t i = 1; i < n; i++)
		if (v[i]->index < first->index)
			first = v[i];
	for (size_t i = 0; err == 0 && i < n; i++)
		if (v[i] != first)
			err = note(v[i], kind, first->pid);
	return err;
}

/* Sorted by what they have, those that share are neighbours. */
static int
note_kind(struct process **v, size_t n, size_t kind)
{
	int type = kinds[kind].type, err = 0;
	size_t from = 0;

	qsort_r(v, n, sizeof(*v), by_object, &type);
	for (size_t i = 1; err == 0 && i <= n; i++)
		if (i == n || compare(v[i - 1]->pid, v[i]->pid, type) != 0) {
			err = note_group(v + from, i - from, kind);
			from = i;
		}
	return err;
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
		/* Of those outside, the first's parent is the likeliest. */
		if (p[0]->ppid > 0 &&
		    compare(p[0]->pid, p[0]->ppid, kinds[k].type) == 0)
			err = note(p[0], k, p[0]->ppid);
		if (err == 0)
			err = note_kind(v, n, k);
	}
	free(v);
	return err == 0 ? 0 : snap_fail(cx, err, "no memory");
}
