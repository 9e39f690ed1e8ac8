/*
 * restore_infants.c - who is born of whom, and in which session: decided
 * before anything is made.
 *
 * A session is inherited at birth, and left only for one's own.  So a child
 * that is in an older session than its parent is made before the parent leaves
 * that; or the leader makes it for its parent: for one that is its own parent,
 * too, by CLONE_PARENT; for one further above by a child that ends at once, so
 * that it is adopted.  Where the leader is no more, a helper takes its place,
 * and ends.  The same for process groups, which can be joined as long as they
 * have a member.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "restore_tree.h"

/* Each is looked for among all. */
#define INFANTS_MAX (3 * FAMILY_MAX)

/* NULL: no memory, or there are too many; then there is a sentence. */
static struct infant *
add(struct restore_tree *t, enum infant_kind kind, size_t parent, pid_t pid)
{
	struct infant *b;

	if (t->ninfants >= INFANTS_MAX) {
		snap_fail(t->cx, -E2BIG,
		    "children: more processes, with those that have ended, "
		    "than there may be (%d)",
		    INFANTS_MAX);
		return NULL;
	}
	b = process_grow(&t->infants, &t->ninfants, sizeof(*b));
	if (b == NULL)
		return NULL;
	b->kind = kind;
	b->parent = parent;
	b->pid = pid;
	b->comm = "";
	return b;
}

static struct infant *
find(const struct restore_tree *t, pid_t pid)
{
	for (size_t i = 0; i < t->ninfants; i++)
		if (t->infants[i].pid == pid)
			return &t->infants[i];
	return NULL;
}

/* Sessions and groups of the world outside become the first's own. */
static pid_t
inside(const struct restore_tree *t, pid_t id, pid_t first_has)
{
	const struct process *first = t->family->v[0];

	return id == first_has || id == 0 ? first->pid : id;
}

static int
add_processes(struct restore_tree *t)
{
	const struct process *first = t->family->v[0];

	for (size_t i = 0; i < t->n; i++) {
		const struct process *p = t->family->v[i];
		struct infant *b = add(t, INFANT_PROCESS, p->parent, p->pid);

		if (b == NULL)
			return -ENOMEM;
		b->sid = inside(t, p->sid, first->sid);
		b->pgid = inside(t, p->pgid, first->pgid);
		b->exit_signal = p->exit_signal;
	}
	return 0;
}

static int
add_zombies(struct restore_tree *t)
{
	const struct process *first = t->family->v[0];

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < t->family->v[i]->nzombies; k++) {
			const struct zombie *z = &t->family->v[i]->zombies[k];
			struct infant *b = add(t, INFANT_ZOMBIE, i, z->pid);

			if (b == NULL)
				return -ENOMEM;
			b->sid = inside(t, z->sid, first->sid);
			b->pgid = inside(t, z->pgid, first->pgid);
			b->exit_signal = z->exit_signal;
			b->status = z->status;
			b->comm = z->comm;
		}
	return 0;
}

/* From the last, so that children are known before their parents. */
static void
set_born_in(struct restore_tree *t)
{
	for (size_t i = t->ninfants; i-- > 0;) {
		struct infant *b = &t->infants[i], *up;

		if (b->sid != b->pid)
			b->born_in = b->sid;
		up = &t->infants[b->parent];
		if (i > 0 && b->born_in != 0 && up->sid == up->pid &&
		    b->born_in != up->pid && find(t, b->born_in) != NULL &&
		    b->parent > 0)
			up->born_in = b->born_in;
	}
	t->infants[0].born_in = t->infants[0].pid;
}

/* Is process `a` above infant i, or its parent? */
static bool
is_above(const struct restore_tree *t, size_t a, size_t i)
{
	size_t k = t->infants[i].parent;

	while (k != a && k != 0)
		k = t->infants[k].parent;
	return k == a;
}

/*
 * Who leads the session: one that is there, or a zombie, which can make others
 * before it ends; or a helper, which is a child of whoever is the lowest of
 * those who have such children.
 */
static int
add_session(struct restore_tree *t, size_t i)
{
	const struct infant b = t->infants[i];
	struct infant *h = find(t, b.born_in);

	if (h == NULL) {
		h = add(t, INFANT_HELPER, b.parent, b.born_in);
		if (h == NULL)
			return -ENOMEM;
		h->sid = h->pgid = b.born_in;
		h->exit_signal = b.exit_signal;
	}
	if (h->sid != h->pid)
		return snap_fail(t->cx, -EBADMSG,
		    "process %d: it is in session %d, but that is in another "
		    "itself",
		    (int)b.pid, (int)h->pid);
	if (h->kind == INFANT_HELPER && is_above(t, h->parent, b.parent))
		h->parent = b.parent;
	t->infants[i].helper = (size_t)(h - t->infants);
	return 0;
}

/* Whoever adopts must be the first above who does. */
static int
set_adoptions(struct restore_tree *t)
{
	for (size_t i = 1; i < t->ninfants; i++) {
		struct infant *b = &t->infants[i];

		if (b->helper == 0 || t->infants[b->helper].parent == b->parent)
			continue;
		if (!is_above(t, b->parent, b->helper))
			return snap_fail(t->cx, -ENOTSUP,
			    "process %d: it is in session %d, whose leader is "
			    "not below its parent",
			    (int)b->pid, (int)b->born_in);
		b->adopted = t->infants[b->parent].adopts = true;
		t->nadopted++;
	}
	for (size_t i = 1; i < t->ninfants; i++) {
		const struct infant *b = &t->infants[i];
		size_t k = b->helper;

		if (!b->adopted)
			continue;
		while (k != b->parent && !t->infants[k].adopts)
			k = t->infants[k].parent;
		if (k != b->parent)
			return snap_fail(t->cx, -ENOTSUP,
			    "process %d: process %d, which is between it and "
			    "the leader of its session, adopts others",
			    (int)b->pid, (int)t->infants[k].pid);
	}
	return 0;
}

static int
add_sessions(struct restore_tree *t)
{
	size_t n = t->ninfants;
	int err = 0;

	for (size_t i = 1; err == 0 && i < n; i++) {
		const struct infant *b = &t->infants[i];
		const struct infant *up = &t->infants[b->parent];

		if (b->born_in == 0 || b->born_in == up->sid)
			continue;
		if (up->sid == up->pid && b->parent > 0 &&
		    b->born_in == restore_birth_session(t, up))
			continue;
		err = add_session(t, i);
	}
	return err;
}

/*
 * A group needs a member to be joined: if its leader is no more, a helper, which
 * comes into the session as those do whose group it is.
 */
static int
add_groups(struct restore_tree *t)
{
	size_t n = t->ninfants;

	for (size_t i = 0; i < n; i++) {
		const struct infant b = t->infants[i];
		struct infant *h = find(t, b.pgid);

		if (h != NULL) {
			h->heads = true;
			continue;
		}
		if (b.kind == INFANT_HELPER)
			continue;
		h = add(t, INFANT_HELPER,
		    b.kind == INFANT_PROCESS ? i : b.parent, b.pgid);
		if (h == NULL)
			return -ENOMEM;
		h->sid = b.sid;
		h->pgid = b.pgid;
		h->heads = true;
		if (b.kind == INFANT_PROCESS)
			continue;
		h->born_in = b.born_in;
		h->helper = b.helper;
		h->exit_signal = b.exit_signal;
	}
	return 0;
}

int
restore_infants(struct restore_tree *t)
{
	int err;

	err = add_processes(t);
	if (err == 0)
		err = add_zombies(t);
	if (err == 0) {
		set_born_in(t);
		err = add_sessions(t);
	}
	if (err == 0)
		err = add_groups(t);
	if (err == 0)
		err = set_adoptions(t);
	if (err == 0)
		err = restore_shared(t);
	if (err == -ENOMEM)
		err = t->cx->error != 0 ? t->cx->error
					: snap_fail(t->cx, err, "no memory");
	return err;
}

void
restore_infants_free(struct restore_tree *t)
{
	free(t->infants);
	free(t->births);
}
