#include "restore_ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_pids.h"
#include "sysv.h"

#define FAIL(cx, err, k, id, fmt, ...) \
	snap_fail(cx, err, "%s %d: " fmt, (k)->name, id, ##__VA_ARGS__)

#define USED "it is used by others: end them first"

/* A row for each kind that belongs to no process. */
static const struct ipc_kind *const kinds[] = { &restore_queues,
	&restore_sets };

/* ---- making one ---- */

struct made_by {
	int err;
	bool other; /* its maker could not be who it was */
};

/* The next one that anybody makes gets this id, if it is free. */
static int
choose_id(const struct ipc_kind *k, int id)
{
	char text[16];
	int fd = open(k->next_id, O_WRONLY | O_CLOEXEC), n, err = 0;

	if (fd < 0)
		return -errno;
	n = snprintf(text, sizeof(text), "%d", id);
	if (write(fd, text, (size_t)n) != n)
		err = -errno;
	close(fd);
	return err;
}

/* In a child of the agent, which does nothing else. */
static void
make_as_maker(struct restore *r, const struct ipc_kind *k,
    const struct ipc *want, const void *what, struct made_by *out)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int made;

	out->err = restore_rights(r, true);
	if (out->err == 0)
		out->err = choose_id(k, want->id);
	if (out->err != 0)
		return;
	out->other = (want->cgid != gid &&
			 syscall(SYS_setresgid, -1, want->cgid, -1) != 0) ||
		     (want->cuid != uid &&
			 syscall(SYS_setresuid, -1, want->cuid, -1) != 0);
	made = k->make(what);
	if (made < 0) {
		out->err = made;
		return;
	}
	out->err = made != want->id ? -EEXIST : k->give(made, uid, gid, 0600);
	if (out->err != 0)
		k->remove(made);
}

static int
say_why_not(struct restore *r, const struct ipc_kind *k, const struct ipc *want,
    const void *what, int err)
{
	if (err == -EEXIST && want->key != IPC_PRIVATE)
		return FAIL(r->cx, err, k, want->id,
		    "another one has its key, %#x, or its place", want->key);
	if (err == -EEXIST)
		return FAIL(
		    r->cx, err, k, want->id, "another one has its place");
	if (err == -EPERM || err == -EACCES)
		return FAIL(r->cx, -EPERM, k, want->id,
		    "choosing the id needs CAP_CHECKPOINT_RESTORE");
	return FAIL(r->cx, err, k, want->id, "making one of %llu %s: %s",
	    (unsigned long long)k->size(what), k->unit, strerror(-err));
}

int
restore_ipc_make(struct restore *r, const struct ipc_kind *k,
    const struct ipc *want, const void *what)
{
	struct made_by by = { 0 };
	int fds[2], status, err;
	pid_t pid;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return snap_fail(r->cx, -errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		make_as_maker(r, k, want, what, &by);
		_exit(write(fds[1], &by, sizeof(by)) == sizeof(by) ? 0 : 1);
	}
	close(fds[1]);
	n = pid < 0 ? -1 : read(fds[0], &by, sizeof(by));
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	err = pid < 0 ? -EAGAIN : n == sizeof(by) ? by.err : -EIO;
	if (err != 0) {
		say_why_not(r, k, want, what, err);
		/* Not for whoever makes the next one. */
		if (restore_rights(r, true) == 0)
			(void)choose_id(k, -1);
		(void)restore_rights(r, false);
	} else if (by.other) {
		restore_note(
		    r, "%s %d: its creator is another", k->name, want->id);
	}
	return err == 0 ? 0 : r->cx->error;
}

/* ---- one that is there ---- */

static bool
is_same(const struct taken_ipc *x)
{
	const struct ipc *o = x->want, *is = &x->before.ipc;

	return is->key == o->key && is->uid == o->uid && is->gid == o->gid &&
	       is->mode == o->mode && x->kind->fits(x);
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
take(struct restore_tree *t, const struct taken_ipc *x)
{
	pid_t other;

	if (!is_same(x))
		return FAIL(t->cx, -EEXIST, x->kind, x->want->id,
		    "it is another one here: its key, size, owner or mode "
		    "differ; see ipcrm(1)");
	other = x->kind->user(x);
	if (other > 0)
		return FAIL(t->cx, -EBUSY, x->kind, x->want->id,
		    "process %d uses it: end it first", (int)other);
	if (other != 0 || original_lives(t))
		return FAIL(t->cx, -EBUSY, x->kind, x->want->id, USED);
	return 0;
}

static int
find_or_make(struct restore_tree *t, struct taken_ipc *x)
{
	int err = x->kind->read(x);

	if (err == 0)
		return take(t, x);
	if (err == -EAGAIN)
		return FAIL(t->cx, -EBUSY, x->kind, x->want->id, USED);
	if (err == -E2BIG)
		return FAIL(t->cx, err, x->kind, x->want->id,
		    "it has more than could be put back");
	if (err != -EINVAL && err != -EIDRM)
		return FAIL(
		    t->cx, err, x->kind, x->want->id, "%s", strerror(-err));
	err = restore_ipc_make(&t->v[x->owner], x->kind, x->want, x->want);
	x->created = err == 0;
	return err;
}

/* ---- all of them ---- */

static int
by_kind_and_id(const void *a, const void *b)
{
	const struct taken_ipc *x = a, *y = b;

	if (x->kind != y->kind)
		return strcmp(x->kind->name, y->kind->name);
	return sysv_by_id(x->want, y->want);
}

const struct taken_ipc *
restore_ipc_find(
    const struct restore_tree *t, const struct ipc_kind *k, int32_t id)
{
	const struct ipc want = { .id = id };
	const struct taken_ipc key = { .kind = k, .want = &want };

	return t->nipc == 0 ? NULL
			    : bsearch(&key, t->ipc, t->nipc, sizeof(key),
				  by_kind_and_id);
}

static int
list_process(struct restore_tree *t, const struct ipc_kind *k, size_t owner)
{
	const struct ipc *o;
	struct taken_ipc *x;

	for (size_t i = 0; (o = k->nth(t->v[owner].p, i)) != NULL; i++) {
		x = process_grow(&t->ipc, &t->nipc, sizeof(*x));
		if (x == NULL)
			return snap_fail(t->cx, -ENOMEM, "no memory");
		x->kind = k;
		x->want = o;
		x->owner = owner;
	}
	return 0;
}

static int
list(struct restore_tree *t)
{
	int err = 0;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (size_t i = 0; err == 0 && i < t->n; i++)
			err = list_process(t, kinds[k], i);
	if (err == 0 && t->nipc > 0)
		qsort(t->ipc, t->nipc, sizeof(*t->ipc), by_kind_and_id);
	for (size_t i = 1; err == 0 && i < t->nipc; i++)
		if (by_kind_and_id(&t->ipc[i - 1], &t->ipc[i]) == 0)
			err = snap_fail(t->cx, -EBADMSG,
			    "sysvipc: %s %d: it is there twice",
			    t->ipc[i].kind->name, t->ipc[i].want->id);
	return err;
}

int
restore_ipc_check(struct restore_tree *t)
{
	int err = list(t);

	if (err == 0)
		err = restore_semsets_check(t);
	if (err == 0 && t->nipc > 0 &&
	    (t->template != NULL || t->opt->tmpl != NULL))
		err = FAIL(t->cx, -ENOTSUP, t->ipc[0].kind, t->ipc[0].want->id,
		    "instances cannot each have it");
	return err;
}

int
restore_ipc_settle(struct restore_tree *t)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nipc; i++)
		err = find_or_make(t, &t->ipc[i]);
	return err;
}

int
restore_ipc(struct restore *r)
{
	int err;

	if (r->tree->nipc == 0)
		return 0;
	__atomic_store_n(&r->tree->nursery->ipc_changes, 1, __ATOMIC_RELEASE);
	err = restore_semsets(r);
	return err == 0 ? restore_msgqueues(r) : err;
}

int
restore_ipc_give(struct restore_tree *t)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nipc; i++) {
		const struct taken_ipc *x = &t->ipc[i];
		const struct ipc *o = x->want;

		if (x->created)
			err = x->kind->give(o->id, o->uid, o->gid, o->mode);
		if (err != 0)
			FAIL(t->cx, err, x->kind, o->id, "its owner: %s",
			    strerror(-err));
	}
	return err;
}

void
restore_ipc_end(struct restore_tree *t, bool failed)
{
	bool changed =
	    t->nursery != NULL &&
	    __atomic_load_n(&t->nursery->ipc_changes, __ATOMIC_ACQUIRE) != 0;

	for (size_t i = 0; i < t->nipc; i++) {
		struct taken_ipc *x = &t->ipc[i];

		if (failed && x->created)
			x->kind->remove(x->want->id);
		else if (failed && changed)
			x->kind->put_back(x);
		x->kind->forget(x);
	}
	free(t->ipc);
}
