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
	int id =
	    semget((key_t)s->ipc.key, (int)s->n, IPC_CREAT | IPC_EXCL | 0600);

	return id < 0 ? -errno : id;
}

static void
remove_it(int id)
{
	semctl(id, 0, IPC_RMID);
}

static uint64_t
number(const void *what)
{
	return ((const struct semset *)what)->n;
}

static const struct ipc *
nth(const struct process *p, size_t i)
{
	return i < p->nsemsets ? &p->semsets[i].ipc : NULL;
}

static const struct semset *
wanted(const struct taken_ipc *x)
{
	return (const struct semset *)(const void *)x->want;
}

static int
read_it(struct taken_ipc *x)
{
	return semset_read(x->want->id, &x->before.set);
}

static bool
fits(const struct taken_ipc *x)
{
	return x->before.set.n == wanted(x)->n;
}

static pid_t
user(const struct taken_ipc *x)
{
	pid_t other = semset_other(&x->before.set, NULL);

	if (other != 0)
		return other;
	return semset_is_waited_for(&x->before.set) ? -1 : 0;
}

static int
check_undo(struct restore_tree *t, const struct semundo *u)
{
	const struct taken_ipc *x = restore_ipc_find(t, &restore_sets, u->id);

	if (x == NULL)
		return snap_fail(t->cx, -EBADMSG,
		    "sysvipc: something is to be undone to " SET
		    "it is not there: this directory was copied without those "
		    "above it",
		    u->id);
	if (u->number >= wanted(x)->n)
		return snap_fail(t->cx, -EBADMSG,
		    "sysvipc: " SET "it has no number %u", u->id, u->number);
	return 0;
}

int
restore_semsets_check(struct restore_tree *t)
{
	int err = 0;

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; err == 0 && k < t->v[i].p->nundos; k++)
			err = check_undo(t, &t->v[i].p->undos[k]);
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
	if (err == 0 && semctl(s->ipc.id, 0, SETALL, arg) < 0)
		err = -errno;
	free(values);
	return err;
}

static void
put_back(const struct taken_ipc *x)
{
	(void)set_values(&x->before.set);
}

static void
forget(struct taken_ipc *x)
{
	free(x->before.set.v);
}

const struct ipc_kind restore_sets = {
	.name = "set of semaphores",
	.unit = "semaphores",
	.next_id = "/proc/sys/kernel/sem_next_id",
	.make = get,
	.size = number,
	.give = give,
	.remove = remove_it,
	.nth = nth,
	.read = read_it,
	.fits = fits,
	.user = user,
	.put_back = put_back,
	.forget = forget,
};

/* Of each set; the first sentence stands. */
static int
for_each(struct restore *r,
    int (*step)(struct restore *r, const struct taken_ipc *x))
{
	const struct restore_tree *t = r->tree;
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nipc; i++) {
		if (t->ipc[i].kind != &restore_sets)
			continue;
		err = step(r, &t->ipc[i]);
		if (err != 0)
			snap_fail(r->cx, err, SET "its values: %s",
			    t->ipc[i].want->id, strerror(-err));
	}
	return err;
}

static int
set_own_values(struct restore *r, const struct taken_ipc *x)
{
	return x->owner == r->index ? set_values(wanted(x)) : 0;
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
	return semop(s->ipc.id, ops, n) < 0 ? -errno : 0;
}

static int
leave_undos(struct restore *r)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->p->nundos; i++) {
		const struct semundo *u = &r->p->undos[i];

		err = leave_undo(
		    wanted(restore_ipc_find(r->tree, &restore_sets, u->id)), u);
		if (err != 0)
			snap_fail(r->cx, err, SET "what is to be undone: %s",
			    u->id, strerror(-err));
	}
	return err;
}

static int
be_last(struct restore *r, const struct taken_ipc *x)
{
	const struct semset *s = wanted(x);
	struct sembuf ops[2];

	for (size_t i = 0; i < s->n; i++) {
		size_t n = 0;
		int by = s->v[i].value == 0 ? 1 : -1;

		if (s->v[i].pid != r->p->pid)
			continue;
		put(ops, &n, (uint16_t)i, by, false);
		put(ops, &n, (uint16_t)i, -by, false);
		if (semop(s->ipc.id, ops, n) < 0)
			return -errno;
	}
	return 0;
}

int
restore_semsets(struct restore *r)
{
	int err;

	err = for_each(r, set_own_values);
	restore_meet(r->tree, MEET_VALUES);
	if (err == 0)
		err = leave_undos(r);
	restore_meet(r->tree, MEET_UNDOS);
	return err == 0 ? for_each(r, be_last) : err;
}
