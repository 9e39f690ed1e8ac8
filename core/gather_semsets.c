/*
 * gather_semsets.c - which System V sets of semaphores only the tree uses.
 *
 * A set belongs to no process.  Its users are who was the last to change one of
 * its semaphores, who waits for one (those of the tree were interrupted, so that
 * whoever waits now is another), and who has something to undo.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "gather.h"
#include "gather_ipc.h"
#include "semset.h"
#include "sysv.h"

static bool
has_undo(const struct process *p, int32_t id)
{
	for (size_t i = 0; i < p->nundos; i++)
		if (p->undos[i].id == id)
			return true;
	return false;
}

/* The first that uses it, or l->t->n. */
static size_t
find_users(struct ipc_look *l, const struct semset *s)
{
	ipc_look_at(l, s->ipc.id);
	for (size_t i = 0; i < l->t->n; i++)
		if (has_undo(l->t->v[i], s->ipc.id))
			l->uses[i] = true;
	for (size_t i = 0; s->v != NULL && i < s->n; i++)
		if (i == 0 || s->v[i].pid != s->v[i - 1].pid)
			ipc_look_used(l, s->v[i].pid);
	return ipc_look_first(l);
}

/* The others of it have their lines as well. */
static void
forget_undos(struct process *p, int32_t id)
{
	size_t n = 0;

	for (size_t i = 0; i < p->nundos; i++)
		if (p->undos[i].id != id)
			p->undos[n++] = p->undos[i];
	p->nundos = n;
}

/* It is no part of the checkpoint; `first` says so, and who has to undo. */
static int
leave_out(const struct ipc_look *l, size_t first, int32_t id, const char *why)
{
	char what[32];
	int err = 0;

	snprintf(what, sizeof(what), "semaphores %d", id);
	for (size_t i = first; err == 0 && i < l->t->n; i++) {
		struct process *p = l->t->v[i];
		bool undo = has_undo(p, id);

		if (undo || i == first)
			err = process_unsupported(p, what,
			    "%s: this set is no part of the checkpoint, and "
			    "is found as it is by then%s",
			    why,
			    undo ? "; what it has to undo when it ends "
				   "(SEM_UNDO) the restored process has not"
				 : "");
		forget_undos(p, id);
	}
	return err;
}

/* Takes over s->v. */
static int
keep(const struct ipc_look *l, size_t first, struct semset *s)
{
	struct process *p = ipc_look_reader(l, &s->ipc);
	struct semset *slot;

	if (p == NULL) {
		free(s->v);
		return leave_out(
		    l, first, s->ipc.id, "it may not be read by who uses it");
	}
	slot = process_grow(&p->semsets, &p->nsemsets, sizeof(*slot));
	if (slot == NULL) {
		free(s->v);
		return -ENOMEM;
	}
	*slot = *s;
	return 0;
}

static int
collect(struct ipc_look *l, int32_t id)
{
	struct semset s;
	char why[64];
	int err = semset_read(id, &s);
	size_t first;
	pid_t other;

	if (err == -ENOMEM)
		return err;
	first = err == -EINVAL || err == -EIDRM ? l->t->n : find_users(l, &s);
	if (first == l->t->n) {
		free(s.v);
		return 0;
	}
	if (err < 0)
		return leave_out(
		    l, first, id, "whoever reads this may not read it");
	other = semset_other(&s, l->t);
	if (other == 0 && !semset_is_waited_for(&s))
		return keep(l, first, &s);
	free(s.v);
	if (other == 0)
		return leave_out(
		    l, first, id, "a process outside waits for it");
	snprintf(why, sizeof(why), "process %d uses it, too", (int)other);
	return leave_out(l, first, id, why);
}

static bool
is_kept(const struct family *t, int32_t id)
{
	const struct semset key = { .ipc.id = id };

	for (size_t i = 0; i < t->n; i++)
		if (t->v[i]->nsemsets > 0 &&
		    bsearch(&key, t->v[i]->semsets, t->v[i]->nsemsets,
			sizeof(key), sysv_by_id) != NULL)
			return true;
	return false;
}

/* A set may have been removed meanwhile, with what was to be undone to it. */
static void
settle(const struct family *t)
{
	size_t n;

	for (size_t i = 0; i < t->n; i++)
		if (t->v[i]->nsemsets > 0)
			qsort(t->v[i]->semsets, t->v[i]->nsemsets,
			    sizeof(struct semset), sysv_by_id);
	for (size_t i = 0; i < t->n; i++) {
		struct process *p = t->v[i];

		n = 0;
		for (size_t k = 0; k < p->nundos; k++)
			if (is_kept(t, p->undos[k].id))
				p->undos[n++] = p->undos[k];
		p->nundos = n;
		if (n > 0)
			qsort(p->undos, n, sizeof(*p->undos), semset_by_undo);
	}
}

static int
collect_all(struct ipc_look *l, const char *lines)
{
	int32_t id;
	int err = 0;

	for (; err == 0 && lines != NULL; lines = strchr(lines + 1, '\n'))
		if (sscanf(lines + 1, "%*d %" SCNd32, &id) == 1)
			err = collect(l, id);
	return err;
}

int
gather_semsets(struct snap_ctx *cx, struct frozen_tree *ft, struct family *t)
{
	static const struct ipc_look_kind sets = { "sem", "semaphores read",
		{ SYS_semop, SYS_semtimedop }, collect_all };
	int err = ipc_look(cx, ft, t, &sets);

	settle(t);
	return err;
}
