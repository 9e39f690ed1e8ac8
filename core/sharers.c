#include "sharers.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "family.h"
#include "proc.h"
#include "proc_task.h"
#include "twin.h"
#include "vma.h"

/*
 * The first VMA of each object in each process, and the first process outside
 * the tree that has it.
 */
struct object {
	struct process *p;
	const struct vma *v;
	pid_t other;
};

struct objects {
	struct object *v;
	size_t n;
};

static bool
same(const struct vma *a, const struct vma *b)
{
	return a->ino == b->ino && a->minor == b->minor && a->major == b->major;
}

static int
find_objects(struct process *p, struct objects *o)
{
	size_t k, first = o->n;
	struct object *new;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (v->kind != VMA_SHARED_ANON)
			continue;
		for (k = first; k < o->n && !same(o->v[k].v, v); k++)
			;
		if (k < o->n)
			continue;
		new = process_grow(&o->v, &o->n, sizeof(*new));
		if (new == NULL)
			return -ENOMEM;
		new->p = p;
		new->v = v;
	}
	return 0;
}

/*
 * A twin is traced by a thread of ours from birth to death and has closed all
 * its descriptors, which no process that is being frozen has.
 */
static bool
is_twin(pid_t pid)
{
	struct snap_ctx quiet = { 0 };
	char path[64], *status;
	uint64_t tracer = 0;
	struct dirent *d;
	bool open = false;
	DIR *dir;

	if (proc_read(&quiet, pid, "status", &status, NULL) < 0)
		return true; /* gone: it shares nothing */
	proc_field_u64(status, "TracerPid", 10, &tracer);
	free(status);
	snprintf(
	    path, sizeof(path), "/proc/self/task/%lu", (unsigned long)tracer);
	if (tracer == 0 || access(path, F_OK) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (dir == NULL)
		return false;
	while ((d = readdir(dir)) != NULL)
		open |= d->d_name[0] != '.';
	closedir(dir);
	return !open;
}

/*
 * What the tree has made since it was let go was no part of that instant.  The
 * kernel tells the time of a birth in hundredths of a second: within the same
 * one it is only born later if it is below the tree, all of which was frozen.
 */
static bool
is_younger(const struct family *t, pid_t pid)
{
	struct proc_stat st;

	if (proc_task_stat(pid, 0, &st) != 0)
		return true; /* gone */
	if (st.starttime != t->thawed)
		return st.starttime > t->thawed;
	while (st.ppid > 1 && family_find(t, st.ppid) == NULL)
		if (proc_task_stat(st.ppid, 0, &st) != 0)
			return true;
	return st.ppid > 1;
}

/* What cannot be read (EACCES) or is gone is passed over. */
static int
look_into(const struct family *t, pid_t pid, struct objects *o)
{
	struct snap_ctx quiet = { 0 };
	struct process *q = process_new();
	int none = -1, err; /* none of those that count */
	struct lines l;
	char *text;
	size_t len;

	if (q == NULL)
		return -ENOMEM;
	if (proc_read(&quiet, pid, "maps", &text, &len) < 0) {
		process_free(q);
		return 0;
	}
	lines_init(&l, &quiet, "maps", text, len);
	err = vma_parse_maps(&l, q);
	for (size_t i = 0; err == 0 && i < q->nvmas; i++) {
		if (!q->vmas[i].shared)
			continue;
		for (size_t k = 0; k < o->n; k++) {
			if (o->v[k].other != 0 || !same(o->v[k].v, &q->vmas[i]))
				continue;
			if (none < 0)
				none = is_twin(pid) || is_younger(t, pid);
			if (!none)
				o->v[k].other = pid;
		}
	}
	free(text);
	process_free(q);
	return err == -ENOMEM ? err : 0;
}

static bool
is_ours(const struct family *t, struct twin *const *twins, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i]->pid == pid || twin_pid(twins[i]) == pid)
			return true;
	return pid == getpid();
}

static int
look_around(
    const struct family *t, struct twin *const *twins, struct objects *o)
{
	struct dirent *d;
	DIR *dir;
	int err = 0;

	dir = opendir("/proc");
	if (dir == NULL)
		return -errno;
	while (err == 0 && (d = readdir(dir)) != NULL) {
		pid_t other = (pid_t)atoi(d->d_name);

		if (other > 0 && !is_ours(t, twins, other))
			err = look_into(t, other, o);
	}
	closedir(dir);
	return err;
}

/* A segment that outsiders have attached cannot be made again beside theirs. */
static int
list_one(const struct object *o)
{
	struct mapfile *f = o->v->file < 0 ? NULL : &o->p->mapfiles[o->v->file];
	char what[64];

	snprintf(what, sizeof(what), "vma %lx-%lx", (unsigned long)o->v->start,
	    (unsigned long)o->v->end);
	if (f == NULL || f->segment == NULL)
		return process_unsupported(o->p, what,
		    "memory shared with process %d: it comes back as this "
		    "process's own",
		    (int)o->other);
	free(f->segment);
	f->segment = NULL;
	return process_unsupported(o->p, what,
	    "a System V shared memory segment that process %d has attached, "
	    "too: it comes back as memory of this tree alone, without its id",
	    (int)o->other);
}

int
sharers_list(
    struct snap_ctx *cx, const struct family *t, struct twin *const *twins)
{
	struct objects o = { 0 };
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->n; i++)
		err = find_objects(t->v[i], &o);
	if (err == 0 && o.n > 0)
		err = look_around(t, twins, &o);
	if (err < 0)
		snap_fail(cx, err, "looking for who shares memory: %s",
		    strerror(-err));
	for (size_t i = 0; err == 0 && i < o.n; i++) {
		if (o.v[i].other == 0)
			continue;
		err = list_one(&o.v[i]);
	}
	free(o.v);
	return err;
}
