/*
 * restore_wait.c - while the new process carries out the plan: let its
 * threads go on from where they are born, and learn how it ended.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_tree.h"

/* How often a death is looked for while nothing else can be waited for. */
#define TICK_NS 5000000
#define TICK_OF_TREE_NS 500000 /* they have more to say than that they died */

static int
operation_failed(struct restore *r, uint32_t i)
{
	const struct op *op = &r->area->ops[i];
	const char *what = r->plan->text + r->plan->ops[i].what;
	int err;

	if (op->kind == OP_CLONE && op->ret == -EEXIST) {
		size_t lane = r->plan->ops[i].args[1];

		err = restore_pid_taken(
		    r, r->p->threads[lane].tid, INT32_MAX / 1000);
		if (err < 0)
			return err;
		return snap_fail(r->cx, -EEXIST, "pid %d is in use",
		    (int)r->p->threads[lane].tid);
	}
	if (op->kind == OP_READ && op->ret >= 0)
		return snap_fail(
		    r->cx, -EBADMSG, "pages: shorter than pagemap says");
	err = op->ret < 0 ? (int)op->ret : -ENOTSUP;
	if (op->ret < 0 && op->kind == OP_CALL && op->nr == SYS_mremap)
		return snap_fail(r->cx, err, "%s: mremap: %s%s", what,
		    strerror(-err),
		    strcmp(what, "vdso") == 0 ? " (this kernel seals its vDSO)"
					      : "");
	if (op->ret < 0)
		return snap_fail(r->cx, err, "%s: %s: %s", what,
		    plan_op_name(op), strerror(-err));
	return snap_fail(r->cx, err, "%s: %s gave %lld where %lld was expected",
	    what, plan_op_name(op), (long long)op->ret, (long long)op->want);
}

/* The new process is dead: the reason is in the area, or in its status. */
static int
explain(struct restore *r, int st)
{
	int32_t error = __atomic_load_n(&r->area->error, __ATOMIC_ACQUIRE);
	uint32_t op = __atomic_load_n(&r->area->failed, __ATOMIC_ACQUIRE);

	if (error != 0)
		return snap_fail(r->cx, error, "%.*s",
		    (int)sizeof(r->area->text) - 1, r->area->text);
	if (op > 0 && op <= r->plan->nops)
		return operation_failed(r, op - 1);
	if (WIFSIGNALED(st))
		return snap_fail(r->cx, -EIO,
		    "the new process was killed by signal %d", WTERMSIG(st));
	return snap_fail(r->cx, -EIO, "the new process ended unexpectedly");
}

int
restore_reason(struct restore *r, int err)
{
	if (__atomic_load_n(&r->area->failed, __ATOMIC_ACQUIRE) == 0)
		return err;
	snap_clear(r->cx);
	return explain(r, 0);
}

/* Which process is it?  -1: a thread of one, or none that comes back. */
static int
index_of(const struct restore_tree *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].pid == pid || t->nursery->pids[i] == pid)
			return (int)i;
	return -1;
}

/* Zombies and helpers go their way; they may have to die of a signal. */
static bool
is_passing(const struct restore_tree *t, pid_t pid)
{
	for (size_t i = t->n; i < t->ninfants; i++)
		if (t->nursery->pids[i] == pid)
			return true;
	return false;
}

/* One that passed away must not have failed. */
static int
passed(struct restore_tree *t, pid_t pid)
{
	for (size_t i = t->n; i < t->ninfants; i++) {
		struct restore *r = &t->v[t->infants[i].parent];

		if (t->nursery->pids[i] == pid &&
		    __atomic_load_n(&r->area->error, __ATOMIC_ACQUIRE) != 0)
			return explain(r, 0);
	}
	return 0;
}

/* That it is dead is still to be heard. */
static int
go_on(struct restore_tree *t, pid_t pid, int sig)
{
	if (ptrace(PTRACE_CONT, pid, 0, sig) == 0 || errno == ESRCH)
		return 0;
	return snap_fail(t->cx, -errno, "ptrace: letting %d go on: %s",
	    (int)pid, strerror(errno));
}

/*
 * A stop: 0 or an error.  A SIGSTOP from outside, which cannot be blocked, is
 * kept for the end.
 */
static int
stopped(struct restore_tree *t, pid_t pid, int st)
{
	int i = index_of(t, pid);

	if (st >> 16 == PTRACE_EVENT_STOP) {
		/* If its maker is killed now, nobody else has its number. */
		if (t->nborn < restore_births(t))
			t->born[t->nborn].pid = pid;
		t->nborn++;
		return go_on(t, pid, 0);
	}
	if (is_passing(t, pid))
		return go_on(t, pid, WSTOPSIG(st));
	if (WSTOPSIG(st) == SIGSTOP) {
		if (i >= 0)
			t->v[i].p->group_stopped = true;
		return go_on(t, pid, 0);
	}
	return snap_fail(t->cx, -EBADMSG,
	    "the new process got signal %d while it was restored",
	    WSTOPSIG(st));
}

static struct birth *
birth_of(const struct restore_tree *t, pid_t pid)
{
	const size_t most = restore_births(t);

	for (size_t i = 0; i < most && i < t->nborn; i++)
		if (t->born[i].pid == pid)
			return &t->born[i];
	return NULL;
}

/* The end of one of them: an error, if it was to come back. */
static int
ended(struct restore_tree *t, pid_t pid, int status)
{
	int i = index_of(t, pid);
	struct birth *b;

	if (i >= 0)
		return explain(&t->v[i], status);
	if (is_passing(t, pid))
		return passed(t, pid);
	/* Its maker tells its number in a moment. */
	b = birth_of(t, pid);
	if (b != NULL && !b->lost) {
		b->lost = true;
		b->status = status;
		t->nlost++;
	}
	return 0;
}

/* Those that are known by now. */
static int
look_for_lost(struct restore_tree *t)
{
	const size_t most = restore_births(t);
	int err = 0;

	for (size_t i = 0; err == 0 && i < most && i < t->nborn; i++) {
		struct birth *b = &t->born[i];

		if (!b->lost ||
		    (index_of(t, b->pid) < 0 && !is_passing(t, b->pid)))
			continue;
		b->lost = false;
		t->nlost--;
		err = ended(t, b->pid, b->status);
	}
	return err;
}

/* 1; 0: there was none; or an error. */
static int
next_report(struct restore_tree *t, int flags)
{
	int st, err;
	pid_t w;

	do
		w = waitpid(-1, &st, __WALL | flags);
	while (w < 0 && errno == EINTR);
	if (w < 0)
		return snap_fail(t->cx, -errno,
		    "waiting for the new process: %s", strerror(errno));
	if (w > 0 && w == t->parent && !WIFSTOPPED(st)) {
		t->parent = 0;
		return snap_fail(
		    t->cx, -EIO, "the new process's parent was killed");
	}
	if (w == 0)
		return 0;
	if (WIFSTOPPED(st)) {
		err = stopped(t, w, st);
		return err < 0 ? err : 1;
	}
	if (w == t->opener)
		t->opener = 0;
	err = ended(t, w, st);
	return err < 0 ? err : 1;
}

/* All that they have to say by now. */
static int
hear_all(struct restore_tree *t)
{
	int r;

	while ((r = next_report(t, WNOHANG)) > 0)
		;
	return r == 0 && t->nlost > 0 ? look_for_lost(t) : r;
}

static int
await_births(struct restore_tree *t, size_t n)
{
	const struct timespec tick = { 0, TICK_NS };
	int err = 0;

	while (err >= 0 && t->nborn < n) {
		if (t->nlost == 0) {
			err = next_report(t, 0);
			continue;
		}
		/* Who has lost one may say nothing more. */
		nanosleep(&tick, NULL);
		err = hear_all(t);
	}
	return err < 0 ? err : 0;
}

int
restore_wait_births(struct restore_tree *t)
{
	return await_births(t, restore_births(t));
}

int
restore_wait_uffd(struct restore *r)
{
	struct timespec tick = { 0,
		r->tree->n > 1 ? TICK_OF_TREE_NS : TICK_NS };
	struct area *a = r->area;
	int32_t fd;
	int err;

	for (;;) {
		fd = __atomic_load_n(&a->uffd, __ATOMIC_ACQUIRE);
		if (fd > 0)
			return fd;
		syscall(SYS_futex, &a->uffd, FUTEX_WAIT, 0, &tick, NULL, 0);
		err = hear_all(r->tree);
		if (err < 0)
			return err;
	}
}

/* The lanes of one process; the others are looked after meanwhile. */
static int
await_lanes(struct restore_tree *t, struct area *a)
{
	struct timespec tick = { 0, TICK_NS };
	uint32_t done;
	int err = 0;

	while (err >= 0) {
		done = __atomic_load_n(&a->done, __ATOMIC_ACQUIRE);
		if (done >= a->nlanes)
			return 0;
		syscall(SYS_futex, &a->done, FUTEX_WAIT, done, &tick, NULL, 0);
		err = hear_all(t);
	}
	return err;
}

int
restore_wait(struct restore_tree *t)
{
	size_t n = restore_births(t);
	int err;

	for (size_t i = 0; i < t->n; i++)
		n += t->v[i].plan->nlanes - 1;
	err = await_births(t, n);
	if (err < 0)
		return err;
	for (size_t i = 0; err >= 0 && i < t->n; i++)
		err = await_lanes(t, t->v[i].area);
	/* Until then it has all that the instance has open. */
	while (err >= 0 && t->opener > 0)
		err = next_report(t, 0);
	for (size_t i = 0; i < t->n; i++)
		t->v[i].pid = t->nursery->pids[i];
	return err < 0 ? err : 0;
}
