/*
 * gather_semsets.c - which System V sets of semaphores only the tree uses.
 *
 * A set belongs to no process.  Its users are who was the last to change one of
 * its semaphores, who waits for one (those of the tree were interrupted, so that
 * whoever waits now is another), and who has something to undo.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "family.h"
#include "freeze_tree.h"
#include "gather.h"
#include "semset.h"
#include "stubs.h"
#include "sysv.h"

#define READ 4u
#define INTERRUPTED(rax) ((int64_t)(rax) <= -512 && (int64_t)(rax) >= -516)

/* A thread of process i of the tree sleeps in a call for this set. */
struct wait {
	size_t i;
	int32_t id;
};

struct look {
	struct family *t;
	struct wait *waits;
	size_t nwaits;
	bool *here; /* of each: is it in our IPC namespace? */
	bool *uses; /* of each: does it use the set that is looked at? */
};

static int
find_waits(struct look *l, struct frozen *z, size_t i)
{
	struct user_regs_struct r;
	struct wait *w;

	for (size_t k = 0; k < z->n; k++) {
		stubs_home(z, &z->v[k], &r);
		if (((long)r.orig_rax != SYS_semop &&
			(long)r.orig_rax != SYS_semtimedop) ||
		    !INTERRUPTED(r.rax))
			continue;
		w = process_grow(&l->waits, &l->nwaits, sizeof(*w));
		if (w == NULL)
			return -ENOMEM;
		*w = (struct wait){ i, (int32_t)r.rdi };
	}
	return 0;
}

static bool
has_undo(const struct process *p, int32_t id)
{
	for (size_t i = 0; i < p->nundos; i++)
		if (p->undos[i].id == id)
			return true;
	return false;
}

/* Fills l->uses; the first that uses it, or l->t->n. */
static size_t
find_users(const struct look *l, const struct semset *s)
{
	const struct family *t = l->t;
	const struct process *p;
	size_t first = 0;

	for (size_t i = 0; i < t->n; i++)
		l->uses[i] = has_undo(t->v[i], s->id);
	for (size_t i = 0; i < l->nwaits; i++)
		if (l->waits[i].id == s->id)
			l->uses[l->waits[i].i] = true;
	for (size_t i = 0; s->v != NULL && i < s->n; i++) {
		if (s->v[i].pid == 0 ||
		    (i > 0 && s->v[i].pid == s->v[i - 1].pid))
			continue;
		p = family_find(t, s->v[i].pid);
		if (p != NULL)
			l->uses[p->index] = true;
	}
	while (first < t->n && !(l->uses[first] && l->here[first]))
		first++;
	return first;
}

static bool
is_in_group(const struct creds *c, gid_t gid)
{
	if (c->fsgid == gid)
		return true;
	for (size_t i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

static bool
same_users(pid_t pid)
{
	char ours[64] = "", its[64] = "", path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return readlink("/proc/self/ns/user", ours, sizeof(ours) - 1) > 0 &&
	       readlink(path, its, sizeof(its) - 1) > 0 &&
	       strcmp(ours, its) == 0;
}

/* What it may not read itself does not get into its image. */
static bool
may_read(const struct process *p, const struct semset *s)
{
	const struct creds *c = &p->threads[0].creds;
	uint32_t mode = s->mode;

	if (c->euid == s->uid || c->euid == s->cuid)
		mode >>= 6;
	else if (is_in_group(c, s->gid) || is_in_group(c, s->cgid))
		mode >>= 3;
	return mode & READ ||
	       (c->cap_eff & 1ull << CAP_IPC_OWNER && same_users(p->pid));
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
leave_out(const struct look *l, size_t first, int32_t id, const char *why)
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
keep(const struct look *l, size_t first, struct semset *s)
{
	struct process *p = NULL;
	struct semset *slot;

	for (size_t i = first; p == NULL && i < l->t->n; i++)
		if (l->uses[i] && l->here[i] && may_read(l->t->v[i], s))
			p = l->t->v[i];
	if (p == NULL) {
		free(s->v);
		return leave_out(
		    l, first, s->id, "it may not be read by who uses it");
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
collect(const struct look *l, int32_t id)
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
	const struct semset key = { .id = id };

	for (size_t i = 0; i < t->n; i++)
		if (t->v[i]->nsemsets > 0 &&
		    bsearch(&key, t->v[i]->semsets, t->v[i]->nsemsets,
			sizeof(key), semset_by_id) != NULL)
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
			    sizeof(struct semset), semset_by_id);
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
collect_all(const struct look *l, const char *text)
{
	int32_t id;
	int err = 0;

	/* The first line says what the columns are. */
	while (err == 0 && (text = strchr(text, '\n')) != NULL) {
		text++;
		if (sscanf(text, "%*d %" SCNd32, &id) == 1)
			err = collect(l, id);
	}
	settle(l->t);
	return err;
}

static int
begin(struct look *l, struct frozen_tree *ft)
{
	int err = 0;

	l->here = calloc(l->t->n, sizeof(*l->here));
	l->uses = calloc(l->t->n, sizeof(*l->uses));
	if (l->here == NULL || l->uses == NULL)
		return -ENOMEM;
	for (size_t i = 0; err == 0 && i < l->t->n; i++) {
		l->here[i] = sysv_same_namespace(l->t->v[i]->pid);
		err = find_waits(l, ft->v[i], i);
	}
	return err;
}

int
gather_semsets(struct snap_ctx *cx, struct frozen_tree *ft, struct family *t)
{
	struct look l = { .t = t };
	char *text = NULL;
	int err = sysv_read(cx, "sem", &text);

	if (err == 0 && sysv_any(text)) {
		err = begin(&l, ft);
		if (err == 0)
			err = collect_all(&l, text);
		free(l.here);
		free(l.uses);
		free(l.waits);
		frozen_step(cx, ft->v[0], "semaphores read");
	} else {
		settle(t);
	}
	free(text);
	return err;
}
