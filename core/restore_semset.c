/*
 * restore_semset.c - System V sets of semaphores, made again with their ids.
 *
 * A set that nobody removed outlives its processes, as a file does: if it is
 * still there, the same and used by nobody else, it is taken and gets the values
 * of the image.  Until all is there one that is made is the agent's, who gives it
 * to its owner.
 *
 * Who changes a semaphore is remembered, and only a process itself can have
 * something to undo; to set values forgets that.  So the process that has the set
 * in the image sets its values; when all have, each does what leaves it what it
 * has to undo; and then, what makes it the last to have changed a semaphore.  All
 * of these leave the values as they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_ipc.h"
#include "restore_pids.h"
#include "restore_tree.h"
#include "semset.h"

#define NEXT_ID "/proc/sys/kernel/sem_next_id"
#define SET "set of semaphores %d: "

/* ---- making one ---- */

static int
give(int id, uid_t uid, gid_t gid, uint32_t mode)
{
	struct semid_ds ds = { .sem_perm = {
				   .uid = uid,
				   .gid = gid,
				   .mode = (unsigned short)mode,
			       } };
	union semun arg = { .buf = &ds };

	return semctl(id, 0, IPC_SET, arg) < 0 ? -errno : 0;
}

static int
get(const void *what)
{
	const struct semset *s = what;
	int id = semget((key_t)s->key, (int)s->n, IPC_CREAT | IPC_EXCL | 0600);

	return id < 0 ? -errno : id;
}

static void
remove_it(int id)
{
	semctl(id, 0, IPC_RMID);
}

static const struct ipc_kind sets = { NEXT_ID, get, give, remove_it };

static int
say_why_not(struct restore *r, const struct semset *s, int err)
{
	if (err == -EEXIST)
		return snap_fail(r->cx, err,
		    SET "another one has its key, %#x, or its place", s->id,
		    s->key);
	if (err == -EPERM || err == -EACCES)
		return snap_fail(r->cx, -EPERM,
		    SET "choosing the id needs CAP_CHECKPOINT_RESTORE", s->id);
	return snap_fail(r->cx, err, SET "making %zu semaphores: %s", s->id,
	    s->n, strerror(-err));
}

static int
make(struct restore *r, struct taken_set *x)
{
	const struct semset *s = x->want;
	bool other;
	int err =
	    restore_ipc_make(r, &sets, s->id, s->cuid, s->cgid, s, &other);

	if (err != 0)
		return say_why_not(r, s, err);
	x->created = true;
	if (other)
		restore_note(r, SET "its creator is another", s->id);
	return 0;
}

/* ---- one that is there ---- */

static bool
is_same(const struct semset *s, const struct semset *is)
{
	return is->key == s->key && is->n == s->n && is->uid == s->uid &&
	       is->gid == s->gid && is->mode == s->mode;
}

/* Restored under other pids, the original may well be there. */
static bool
original_lives(const struct restore_tree *t)
{
	struct holder h;

	for (size_t i = 0; t->opt->new_pid && i < t->n; i++)
		if (holder_find(t->v[i].p->pid, &h) && !h.dying)
			return true;
	return false;
}

static int
take(struct restore_tree *t, struct taken_set *x)
{
	const struct semset *s = x->want;
	pid_t other;

	if (!is_same(s, &x->before))
		return snap_fail(t->cx, -EEXIST,
		    SET "it is another one here: its key, number, owner or "
			"mode differ; see ipcrm(1)",
		    s->id);
	other = semset_other(&x->before, NULL);
	if (other != 0)
		return snap_fail(t->cx, -EBUSY,
		    SET "process %d uses it: end it first", s->id, (int)other);
	if (semset_is_waited_for(&x->before) || original_lives(t))
		return snap_fail(t->cx, -EBUSY,
		    SET "it is used by others: end them first", s->id);
	return 0;
}

static int
find_or_make(struct restore_tree *t, struct taken_set *x)
{
	int err = semset_read(x->want->id, &x->before);

	if (err == 0)
		return take(t, x);
	if (err == -EINVAL || err == -EIDRM)
		return make(&t->v[x->owner], x);
	return snap_fail(t->cx, err, SET "%s", x->want->id, strerror(-err));
}

/* ---- all of them ---- */

static int
by_id(const void *a, const void *b)
{
	const struct taken_set *x = a, *y = b;

	return semset_by_id(x->want, y->want);
}

static const struct taken_set *
find(const struct restore_tree *t, int32_t id)
{
	const struct semset want = { .id = id };
	const struct taken_set key = { .want = &want };

	return t->nsets == 0
		   ? NULL
		   : bsearch(&key, t->sets, t->nsets, sizeof(key), by_id);
}

static int
list(struct restore_tree *t)
{
	struct taken_set *x;

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < t->v[i].p->nsemsets; k++) {
			x = process_grow(&t->sets, &t->nsets, sizeof(*x));
			if (x == NULL)
				return snap_fail(t->cx, -ENOMEM, "no memory");
			x->want = &t->v[i].p->semsets[k];
			x->owner = i;
		}
	if (t->nsets > 0)
		qsort(t->sets, t->nsets, sizeof(*t->sets), by_id);
	for (size_t i = 1; i < t->nsets; i++)
		if (by_id(&t->sets[i - 1], &t->sets[i]) == 0)
			return snap_fail(t->cx, -EBADMSG,
			    "sysvipc: " SET "it is there twice",
			    t->sets[i].want->id);
	return 0;
}

static int
check_undo(struct restore_tree *t, const struct semundo *u)
{
	const struct taken_set *x = find(t, u->id);

	if (x == NULL)
		return snap_fail(t->cx, -EBADMSG,
		    "sysvipc: something is to be undone to " SET
		    "it is not there: this directory was copied without those "
		    "above it",
		    u->id);
	if (u->number >= x->want->n)
		return snap_fail(t->cx, -EBADMSG,
		    "sysvipc: " SET "it has no number %u", u->id, u->number);
	return 0;
}

int
restore_semsets_check(struct restore_tree *t)
{
	int err = list(t);

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; err == 0 && k < t->v[i].p->nundos; k++)
			err = check_undo(t, &t->v[i].p->undos[k]);
	if (err == 0 && t->nsets > 0 &&
	    (t->template != NULL || t->opt->tmpl != NULL))
		return snap_fail(t->cx, -ENOTSUP,
		    SET "instances cannot each have it", t->sets[0].want->id);
	return err;
}

int
restore_semsets_settle(struct restore_tree *t)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nsets; i++)
		err = find_or_make(t, &t->sets[i]);
	for (size_t i = 0; err == 0 && i < t->nsets; i++)
		t->sets[i].changed = true;
	return err;
}

int
restore_semsets_give(struct restore_tree *t)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nsets; i++) {
		const struct semset *s = t->sets[i].want;

		if (t->sets[i].created)
			err = give(s->id, s->uid, s->gid, s->mode);
		if (err != 0)
			snap_fail(t->cx, err, SET "its owner: %s", s->id,
			    strerror(-err));
	}
	return err;
}

/* ---- in the new processes ---- */

static int
set_values(const struct semset *s)
{
	unsigned short *values = calloc(s->n + 1, sizeof(*values));
	union semun arg = { .array = values };
	int err = values == NULL ? -ENOMEM : 0;

	for (size_t i = 0; err == 0 && i < s->n; i++)
		values[i] = s->v[i].value;
	if (err == 0 && semctl(s->id, 0, SETALL, arg) < 0)
		err = -errno;
	free(values);
	return err;
}

static int
set_all_values(struct restore *r)
{
	const struct restore_tree *t = r->tree;
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nsets; i++) {
		const struct taken_set *x = &t->sets[i];

		if (x->owner == r->index && (err = set_values(x->want)) != 0)
			snap_fail(r->cx, err, SET "its values: %s", x->want->id,
			    strerror(-err));
	}
	return err;
}

/* All or nothing of it is done; 0 would mean to wait. */
static void
put(struct sembuf *ops, size_t *n, uint16_t number, int by, bool undo)
{
	if (by != 0)
		ops[(*n)++] = (struct sembuf){ number, (short)by,
			(short)(IPC_NOWAIT | (undo ? SEM_UNDO : 0)) };
}

/* By way of the largest value, or of 0, where there is room for it. */
static int
leave_undo(const struct semset *s, const struct semundo *u)
{
	int value = s->v[u->number].value;
	int first = u->by > 0 ? SEMSET_VALUE_MAX - value : -value;
	int by = u->by == INT16_MIN ? -SEMSET_VALUE_MAX : u->by;
	struct sembuf ops[6];
	size_t n = 0;

	put(ops, &n, u->number, first, false);
	put(ops, &n, u->number, -by, true);
	put(ops, &n, u->number, by, false);
	put(ops, &n, u->number, by - u->by, true);
	put(ops, &n, u->number, u->by - by, false);
	put(ops, &n, u->number, -first, false);
	return semop(s->id, ops, n) < 0 ? -errno : 0;
}

static int
leave_undos(struct restore *r)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->p->nundos; i++) {
		const struct semundo *u = &r->p->undos[i];

		err = leave_undo(find(r->tree, u->id)->want, u);
		if (err != 0)
			snap_fail(r->cx, err, SET "what is to be undone: %s",
			    u->id, strerror(-err));
	}
	return err;
}

static int
be_last(struct restore *r, const struct semset *s)
{
	struct sembuf ops[2];

	for (size_t i = 0; i < s->n; i++) {
		size_t n = 0;
		int by = s->v[i].value == 0 ? 1 : -1;

		if (s->v[i].pid != r->p->pid)
			continue;
		put(ops, &n, (uint16_t)i, by, false);
		put(ops, &n, (uint16_t)i, -by, false);
		if (semop(s->id, ops, n) < 0)
			return -errno;
	}
	return 0;
}

static int
be_last_of_all(struct restore *r)
{
	const struct restore_tree *t = r->tree;
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nsets; i++) {
		err = be_last(r, t->sets[i].want);
		if (err != 0)
			snap_fail(r->cx, err, SET "%s", t->sets[i].want->id,
			    strerror(-err));
	}
	return err;
}

int
restore_semsets(struct restore *r)
{
	int err;

	if (r->tree->nsets == 0)
		return 0;
	err = set_all_values(r);
	restore_meet(r->tree, MEET_VALUES);
	if (err == 0)
		err = leave_undos(r);
	restore_meet(r->tree, MEET_UNDOS);
	return err == 0 ? be_last_of_all(r) : err;
}

/* ---- the end ---- */

void
restore_semsets_end(struct restore_tree *t, bool failed)
{
	for (size_t i = 0; i < t->nsets; i++) {
		struct taken_set *x = &t->sets[i];

		if (failed && x->created)
			semctl(x->want->id, 0, IPC_RMID);
		else if (failed && x->changed)
			(void)set_values(&x->before);
		free(x->before.v);
	}
	free(t->sets);
}
