/*
 * restore_born.c - in each new process of a tree: its session, its children,
 * its process group.
 *
 * All meet: when all are there, when the leaders of groups lead them, when the
 * others have joined, and when leaders that are elsewhere have left.  Then
 * zombies and helpers end.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_tree.h"

/* ---- meeting ---- */

void
restore_meet(struct restore_tree *t, enum restore_meeting which)
{
	uint32_t *word = &t->nursery->arrived[which], n;
	size_t all = which >= MEET_KEPT ? t->n : t->ninfants;

	n = __atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL);
	if (n == all)
		syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	while ((n = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < all)
		syscall(SYS_futex, word, FUTEX_WAIT, n, NULL, NULL, 0);
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

static const struct infant *
infant_of(const struct restore_tree *t, pid_t pid)
{
	for (size_t i = 0; i < t->ninfants; i++)
		if (t->infants[i].pid == pid)
			return &t->infants[i];
	return NULL;
}

static int
set_group(struct restore *r, size_t i, pid_t group)
{
	const struct infant *b = &r->tree->infants[i];

	/* Whoever leads a session leads a group, and cannot leave it. */
	if (i == 0 || getsid(0) == getpid() || group == getpgrp() ||
	    setpgid(0, group) == 0)
		return 0;
	return snap_fail(r->cx, -errno, "process %d: process group %d: %s",
	    (int)b->pid, (int)b->pgid, strerror(errno));
}

/* The first may have stayed in a group of the caller. */
static int
join_group(struct restore *r, size_t i)
{
	const struct restore_tree *t = r->tree;
	const struct infant *b = &t->infants[i];
	const struct infant *head = infant_of(t, b->pgid);
	pid_t group = restore_number_of(t, b->pgid);

	if (head != NULL && head->pgid == head->pid)
		group = getpgid(group);
	return set_group(r, i, group);
}

/* Who has made a group may be in another: it goes when the others are there. */
static int
group(struct restore *r, size_t i)
{
	struct restore_tree *t = r->tree;
	const struct infant *b = &t->infants[i];
	int err = 0;

	restore_meet(t, MEET_BORN);
	if (b->heads)
		err = set_group(r, i, getpid());
	restore_meet(t, MEET_LED);
	if (err == 0 && !b->heads)
		err = join_group(r, i);
	restore_meet(t, MEET_JOINED);
	if (err == 0 && b->heads && b->pgid != b->pid)
		err = join_group(r, i);
	restore_meet(t, MEET_GROUPED);
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

void
restore_infant(struct restore *r, size_t i)
{
	const struct infant *b = &r->tree->infants[i];
	struct maker m;
	int err = 0;

	restore_maker_init(&m, r, i);
	prctl(PR_SET_NAME, b->comm);
	if (b->sid == b->pid)
		err = setsid() < 0 ? -errno : 0;
	if (err == 0)
		err = restore_make(&m, false);
	if (err == 0)
		err = group(r, i);
	if (err < 0)
		restore_give_up(r, err);
	end(b);
}

/* They end: zombies stay, helpers go. */
static int
await_end(struct restore *r, size_t i)
{
	const struct infant *b = &r->tree->infants[i];
	pid_t pid = r->tree->nursery->pids[i];
	int flags = WEXITED | __WALL;
	siginfo_t si;

	if (b->kind == INFANT_ZOMBIE)
		flags |= WNOWAIT;
	while (waitid(P_PID, (id_t)pid, &si, flags) < 0)
		if (errno != EINTR)
			return snap_fail(r->cx, -EIO,
			    "process %d, which has ended: %s", (int)b->pid,
			    strerror(errno));
	return 0;
}

/*
 * The signals that they sent are not the image's: to ignore one takes it away.
 * Not before all have ended, since who ends while it is ignored is no zombie.
 */
static int
await_ends(struct restore *r)
{
	const struct restore_tree *t = r->tree;
	int err = 0;

	for (size_t i = t->n; err == 0 && i < t->ninfants; i++)
		if (t->infants[i].parent == r->index)
			err = await_end(r, i);
	for (size_t i = t->n; err == 0 && i < t->ninfants; i++)
		if (t->infants[i].parent == r->index &&
		    t->infants[i].exit_signal != 0)
			signal((int)t->infants[i].exit_signal, SIG_IGN);
	return err;
}

/* ---- a process ---- */

int
restore_born(struct restore *r)
{
	struct restore_tree *t = r->tree;
	const struct infant *b = &t->infants[r->index];
	bool leads = b->sid == b->pid, keeps = restore_keeps_session(r);
	bool own = leads && !keeps;
	struct maker m;
	int err;

	t->nursery->pids[r->index] = getpid();
	restore_maker_init(&m, r, r->index);
	if (b->adopts)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* In the session that it is going to leave. */
	err = restore_make(&m, true);
	if (err == 0 && own) {
		if (setsid() < 0)
			err = snap_fail(
			    r->cx, -errno, "setsid: %s", strerror(errno));
		else
			restore_terminal_take(r);
	}
	if (err == 0)
		err = restore_make(&m, false);
	if (err == 0)
		err = restore_former(r, NULL);
	if (err == 0)
		err = restore_leave(&m);
	if (err == 0)
		err = group(r, r->index);
	if (b->adopts)
		prctl(PR_SET_CHILD_SUBREAPER, 0);
	if (err == 0 && own)
		restore_terminal_foreground(r);
	if (err == 0 && !leads && !restore_keeps_session(&t->v[0]))
		restore_terminal_leave(r);
	return err == 0 ? await_ends(r) : err;
}
