/*
 * restore_born.c - in each new process of a tree: its session, its children,
 * its process group.
 *
 * All meet three times: when all are there, when the leaders of groups lead
 * them, and when the others have joined.  Then zombies and helpers end.  All
 * are traced from birth (CLONE_PTRACE).
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_tree.h"

#define TRIES 1000 /* of an id that is just given back */
#define NAP_NS 2000000

/* ---- meeting ---- */

static void
meet(struct restore_tree *t, unsigned which)
{
	uint32_t *word = &t->nursery->arrived[which], n;

	n = __atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL);
	if (n == t->ninfants)
		syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	while ((n = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < t->ninfants)
		syscall(SYS_futex, word, FUTEX_WAIT, n, NULL, NULL, 0);
}

/* ---- making one ---- */

static pid_t
clone_infant(struct restore_tree *t, size_t i, bool for_parent)
{
	const struct infant *b = &t->infants[i];
	struct timespec nap = { 0, NAP_NS };
	pid_t pid = b->pid, got;
	struct clone_args ca = {
		.flags = CLONE_PTRACE,
		.exit_signal = b->exit_signal,
	};

	/* The signal is then that of the one that makes it. */
	if (for_parent) {
		ca.flags |= CLONE_PARENT;
		ca.exit_signal = 0;
	}
	if (!t->opt->new_pid) {
		ca.set_tid = (uint64_t)&pid;
		ca.set_tid_size = 1;
	}
	for (int n = 0;; n++) {
		got = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
		if (got >= 0 || errno != EEXIST || n >= TRIES)
			return got < 0 ? -errno : got;
		nanosleep(&nap, NULL);
	}
}

static int
failed(struct restore *r, const struct infant *b, int err)
{
	if (err == -EEXIST)
		return snap_fail(r->cx, err, "pid %d is in use", (int)b->pid);
	return snap_fail(
	    r->cx, err, "creating process %d: %s", (int)b->pid, strerror(-err));
}

static void be_infant(struct restore *r, size_t i) __attribute__((noreturn));

/* `r` is the process that makes it, or for which it is made. */
static int
make(struct restore *r, size_t i, bool for_parent)
{
	struct restore_tree *t = r->tree;
	pid_t pid = clone_infant(t, i, for_parent);

	if (pid < 0)
		return failed(r, &t->infants[i], pid);
	if (pid > 0) {
		__atomic_store_n(&t->nursery->pids[i], pid, __ATOMIC_RELEASE);
		return 0;
	}
	if (t->infants[i].kind == INFANT_PROCESS)
		restore_child(&t->v[i]);
	be_infant(r, i);
}

/* ---- groups ---- */

pid_t
restore_number_of(const struct restore_tree *t, pid_t pid)
{
	for (size_t i = 0; i < t->ninfants; i++)
		if (t->infants[i].pid == pid)
			return __atomic_load_n(
			    &t->nursery->pids[i], __ATOMIC_ACQUIRE);
	return -1;
}

pid_t
restore_pid_of(const struct restore_tree *t, pid_t pid)
{
	pid_t got = restore_number_of(t, pid);

	return got > 0 ? got : pid;
}

pid_t
restore_group_of(const struct restore_tree *t, pid_t pgid)
{
	const struct process *first = t->family->v[0];
	pid_t got;

	if (pgid <= 0)
		return 0;
	got = restore_number_of(
	    t, pgid == first->pgid ? t->infants[0].pgid : pgid);
	return got > 0 ? got : 0;
}

/* Whoever leads a session leads a group, and cannot leave it. */
static int
join_group(struct restore *r, size_t i, bool lead)
{
	const struct restore_tree *t = r->tree;
	const struct infant *b = &t->infants[i];
	pid_t group;

	if (getsid(0) == getpid() || (b->pgid == b->pid) != lead)
		return 0;
	group = lead ? 0 : getpgid(restore_number_of(t, b->pgid));
	if (i == 0 || (!lead && group == getpgrp()) || setpgid(0, group) == 0)
		return 0;
	return snap_fail(r->cx, -errno, "process %d: process group %d: %s",
	    (int)b->pid, (int)b->pgid, strerror(errno));
}

static int
group(struct restore *r, size_t i)
{
	int err;

	meet(r->tree, 0);
	err = join_group(r, i, true);
	meet(r->tree, 1);
	if (err == 0)
		err = join_group(r, i, false);
	meet(r->tree, 2);
	return err;
}

/* ---- zombies and helpers ---- */

static void __attribute__((noreturn)) end(const struct infant *b)
{
	const struct rlimit no_core = { 0, 0 };
	int sig = b->status & 0x7f;
	sigset_t none;

	if (b->kind == INFANT_ZOMBIE && sig != 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(sig, SIG_DFL);
		sigemptyset(&none);
		kill(getpid(), sig);
		sigprocmask(SIG_SETMASK, &none, NULL);
	}
	_exit(b->kind == INFANT_ZOMBIE ? b->status >> 8 & 0xff : 0);
}

static void __attribute__((noreturn)) be_infant(struct restore *r, size_t i)
{
	struct restore_tree *t = r->tree;
	const struct infant *b = &t->infants[i];
	int err = 0;

	prctl(PR_SET_NAME, b->comm);
	if (b->sid == b->pid)
		err = setsid() < 0 ? -errno : 0;
	for (size_t k = 1; err == 0 && k < t->ninfants; k++)
		if (t->infants[k].helper == i)
			err = make(r, k, true);
	if (err == 0)
		err = group(r, i);
	if (err < 0)
		restore_give_up(r, err);
	end(b);
}

/*
 * They have ended: zombies stay, helpers go.  The signals that they sent are
 * not the image's: to ignore one takes it away.
 */
static int
await_ends(struct restore *r)
{
	struct restore_tree *t = r->tree;
	siginfo_t si;
	int flags;

	for (size_t i = t->n; i < t->ninfants; i++) {
		const struct infant *b = &t->infants[i];

		if (b->parent != r->index)
			continue;
		flags = WEXITED | __WALL;
		if (b->kind == INFANT_ZOMBIE)
			flags |= WNOWAIT;
		while (waitid(P_PID, (id_t)t->nursery->pids[i], &si, flags) < 0)
			if (errno != EINTR)
				return snap_fail(r->cx, -errno,
				    "process %d, which has ended: %s",
				    (int)b->pid, strerror(errno));
		if (b->exit_signal != 0)
			signal((int)b->exit_signal, SIG_IGN);
	}
	return 0;
}

/* ---- a process ---- */

/* Its children that must be born now; those of a helper are its. */
static int
make_children(struct restore *r, pid_t session, bool others)
{
	struct restore_tree *t = r->tree;
	int err = 0;

	for (size_t i = 1; err == 0 && i < t->ninfants; i++) {
		const struct infant *b = &t->infants[i];

		if (b->parent != r->index || b->helper != 0)
			continue;
		if ((b->born_in == session) != others)
			err = make(r, i, false);
	}
	return err;
}

int
restore_born(struct restore *r)
{
	struct restore_tree *t = r->tree;
	const struct infant *b = &t->infants[r->index];
	pid_t old = b->born_in != 0 ? b->born_in : t->infants[b->parent].sid;
	bool leads = b->sid == b->pid, keeps = restore_keeps_session(r);
	bool own = leads && !keeps;
	int err = 0;

	t->nursery->pids[r->index] = getpid();
	/* In the session that it is going to leave. */
	if (leads && r->index > 0)
		err = make_children(r, old, false);
	if (err == 0 && own) {
		if (setsid() < 0)
			err = snap_fail(
			    r->cx, -errno, "setsid: %s", strerror(errno));
		else
			restore_terminal_take(r);
	}
	if (err == 0)
		err = make_children(
		    r, leads && r->index > 0 ? old : INT_MAX, true);
	if (err == 0)
		err = group(r, r->index);
	if (err == 0 && own)
		restore_terminal_foreground(r);
	if (err == 0 && !leads && !restore_keeps_session(&t->v[0]))
		restore_terminal_leave(r);
	return err == 0 ? await_ends(r) : err;
}
