/*
 * restore_make.c - in a new process: make the others that are its to make, with
 * their numbers, their parents and the tables that they are born with.
 *
 * All are traced from birth (CLONE_PTRACE).
 */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_tree.h"

#define TRIES 1000 /* of an id that is just given back */
#define HELPER_TRIES 50
#define NAP_NS 2000000

static const int share_flags[SHARES] = {
	[SHARE_FDS] = CLONE_FILES,
	[SHARE_FS] = CLONE_FS,
};

void
restore_maker_init(struct maker *m, struct restore *r, size_t self)
{
	m->r = r;
	m->self = self;
	memcpy(m->has, r->tree->infants[self].need, sizeof(m->has));
}

/* ---- tables ---- */

/* From now on table `g` is what those get that are made with it. */
static int
change_table(struct maker *m, int k, uint32_t g)
{
	if (m->has[k] == g)
		return 0;
	if (m->has[k] != 0 && unshare(share_flags[k]) < 0)
		return snap_fail(
		    m->r->cx, -errno, "unshare: %s", strerror(errno));
	m->has[k] = g;
	return 0;
}

static int
take_tables(struct maker *m, const struct infant *b, uint64_t *flags)
{
	int err = 0;

	for (int k = 0; err == 0 && k < SHARES; k++)
		if (b->need[k] != 0) {
			*flags |= (uint64_t)share_flags[k];
			err = change_table(m, k, b->need[k]);
		}
	return err;
}

int
restore_leave(struct maker *m)
{
	const struct infant *b = &m->r->tree->infants[m->self];
	int err = 0;

	for (int k = 0; err == 0 && k < SHARES; k++)
		err = change_table(m, k, b->own[k]);
	return err;
}

/* ---- births ---- */

static pid_t
try_clone(const struct restore_tree *t, const struct infant *b, uint64_t flags,
    bool any_pid)
{
	pid_t pid = b->pid, got;
	struct clone_args ca = {
		.flags = CLONE_PTRACE | flags,
		/* With CLONE_PARENT it is that of the one that makes it. */
		.exit_signal = flags & CLONE_PARENT ? 0 : b->exit_signal,
	};

	if (!any_pid && !t->opt->new_pid) {
		ca.set_tid = (uint64_t)&pid;
		ca.set_tid_size = 1;
	}
	got = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	return got < 0 ? -errno : got;
}

/*
 * The number of a leader who is no more may be another's by now, or its session
 * may live on outside the tree: then those of the tree have one of their own.
 */
static pid_t
clone_infant(struct restore *r, const struct infant *b, uint64_t flags)
{
	struct timespec nap = { 0, NAP_NS };
	int tries = b->kind == INFANT_HELPER ? HELPER_TRIES : TRIES;
	pid_t got;

	for (int n = 0;; n++) {
		got = try_clone(r->tree, b, flags, false);
		if (got != -EEXIST || n >= tries)
			break;
		nanosleep(&nap, NULL);
	}
	if (got != -EEXIST || b->kind != INFANT_HELPER)
		return got;
	got = try_clone(r->tree, b, flags, true);
	if (got > 0)
		restore_child_note(r, "%s %d is %d here, since %d is in use",
		    b->sid == b->pid ? "session" : "process group", (int)b->pid,
		    (int)got, (int)b->pid);
	return got;
}

static int
failed(struct restore *r, const struct infant *b, int err)
{
	if (err == -EEXIST)
		return snap_fail(r->cx, err, "pid %d is in use", (int)b->pid);
	return snap_fail(
	    r->cx, err, "creating process %d: %s", (int)b->pid, strerror(-err));
}

static int
make(struct restore *r, size_t i, uint64_t flags)
{
	struct restore_tree *t = r->tree;
	pid_t pid = clone_infant(r, &t->infants[i], flags);

	if (pid < 0)
		return failed(r, &t->infants[i], pid);
	if (pid > 0) {
		__atomic_store_n(&t->nursery->pids[i], pid, __ATOMIC_RELEASE);
		return 0;
	}
	if (t->infants[i].kind == INFANT_PROCESS)
		restore_child(&t->v[i]);
	restore_infant(r, i);
}

/* By a child that ends at once; what it has to say it says itself. */
static int
make_adopted(struct restore *r, size_t i, uint64_t flags)
{
	struct clone_args ca = { .flags = CLONE_PTRACE | flags };
	pid_t pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	siginfo_t si = { 0 };
	int err;

	if (pid < 0)
		return failed(r, &r->tree->infants[i], -errno);
	if (pid == 0) {
		err = make(r, i, flags);
		if (err < 0)
			restore_give_up(r, err);
		_exit(0);
	}
	while (waitid(P_PID, (id_t)pid, &si, WEXITED | __WALL) < 0)
		if (errno != EINTR)
			return failed(r, &r->tree->infants[i], -errno);
	if (si.si_code != CLD_EXITED || si.si_status != 0)
		_exit(1);
	return 0;
}

int
restore_make(struct maker *m, bool early)
{
	struct restore_tree *t = m->r->tree;
	int err = 0;

	for (size_t k = 0; err == 0 && k + 1 < t->ninfants; k++) {
		size_t i = t->births[k];
		const struct infant *b = &t->infants[i];
		uint64_t flags = 0;

		if ((b->helper != 0 ? b->helper : b->parent) != m->self ||
		    b->early != early)
			continue;
		err = take_tables(m, b, &flags);
		if (err == 0 && b->kind == INFANT_PROCESS)
			err = restore_former(m->r, t->v[i].p);
		if (err < 0)
			break;
		if (b->adopted)
			err = make_adopted(m->r, i, flags);
		else
			err = make(m->r, i,
			    flags | (b->helper != 0 ? CLONE_PARENT : 0));
	}
	return err;
}
