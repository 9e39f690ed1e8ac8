#include "freeze.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze_seccomp.h"
#include "heal.h"
#include "hold.h"
#include "proc.h"
#include "proc_task.h"
#include "seccomp.h"
#include "stubs.h"

#define USER64_CS 0x33

/* How long a tracer that is none of ours is looked at before it is believed. */
#define STRANGER_NS 20000000u

/* How long a thread that was asleep may take to stop before others do. */
#define FRAGILE_NS 500000u

/* How long our code may take to reap the child that it made, at a failure. */
#define REAP_NS 1000000000u

/* How long one that was killed may take to end. */
#define BURY_NS 5000000000u

/* ---- may it be frozen at all? ---- */

static int
check_status(struct snap_ctx *cx, pid_t pid, const struct proc_status *st)
{
	if (st->tgid == getpid())
		return snap_fail(cx, -EDEADLK,
		    "process %d: a process cannot checkpoint itself", (int)pid);
	if (st->tgid != pid)
		return snap_fail(cx, -ESRCH, "%d is a thread of process %d",
		    (int)pid, (int)st->tgid);
	if (st->state == 'Z' || st->state == 'X')
		return snap_fail(cx, -ESRCH,
		    st->threads > 1 ? "process %d: its main thread has ended"
				    : "process %d has ended (it is a zombie)",
		    (int)pid);
	if (st->tracer != 0)
		return snap_fail(cx, -EBUSY,
		    "process %d is traced by process %d already", (int)pid,
		    (int)st->tracer);
	return 0;
}

static int
read_status_once(struct snap_ctx *cx, pid_t pid, struct proc_status *st)
{
	int err = proc_task_status(pid, 0, st);

	return err == 0 ? 0 : proc_task_fail(cx, pid, "status", err);
}

/*
 * With only a stranger as the tracer: one of ours is no hindrance.  It may end
 * between being read and being looked up, so a stranger is one that stays.
 */
static int
read_status(struct snap_ctx *cx, pid_t pid, struct proc_status *st)
{
	uint64_t end = now_ns() + STRANGER_NS;
	unsigned naps = 0;
	int err;

	for (;;) {
		err = read_status_once(cx, pid, st);
		if (err == 0 && st->tracer != 0 &&
		    tracee_tracer_is_ours(st->tracer))
			st->tracer = 0;
		if (err != 0 || st->tracer == 0 || now_ns() > end)
			return err;
		nap(&naps);
	}
}

static int
check_process(struct snap_ctx *cx, struct frozen *z)
{
	struct proc_status st;
	struct proc_stat stat;
	bool unfiltered;
	int err;

	err = read_status(cx, z->pid, &st);
	if (err == 0)
		err = check_status(cx, z->pid, &st);
	if (err != 0)
		return err;
	err = proc_task_stat(z->pid, 0, &stat);
	if (err != 0)
		return proc_task_fail(cx, z->pid, "stat", err);
	z->held = hold_is_kept(st.ppid, &unfiltered);
	/* Anybody may have that name: of a filter of his it would be the heir. */
	z->held_filter = unfiltered && st.seccomp_filters == 1;
	z->adopts = st.nspids > 1 || st.nspid == 1;
	z->cancels = (st.sigcgt >> (STUBS_SIGCANCEL - 1) & 1) != 0;
	if (stat.flags & PROC_PF_KTHREAD)
		return snap_fail(
		    cx, -ENOTSUP, "process %d is a kernel thread", (int)z->pid);
	return 0;
}

/* ---- the list of threads ---- */

static struct tracee *
find(struct frozen *z, pid_t tid)
{
	for (size_t i = 0; i < z->n; i++)
		if (z->v[i].tid == tid)
			return &z->v[i];
	return NULL;
}

static void
drop_gone(struct frozen *z)
{
	size_t n = 0;

	for (size_t i = 0; i < z->n; i++)
		if (z->v[i].state != TRACEE_GONE)
			z->v[n++] = z->v[i];
	z->n = n;
}

static int
by_tid(const void *a, const void *b)
{
	pid_t x = ((const struct tracee *)a)->tid;
	pid_t y = ((const struct tracee *)b)->tid;

	return (x > y) - (x < y);
}

static void
sort(struct frozen *z)
{
	for (size_t i = 1; i < z->n; i++)
		if (z->v[i].tid == z->pid) {
			struct tracee t = z->v[0];

			z->v[0] = z->v[i];
			z->v[i] = t;
		}
	if (z->n > 1)
		qsort(z->v + 1, z->n - 1, sizeof(*z->v), by_tid);
}

/* ---- seizing ---- */

#define UNTRACED_MAX 50 /* less than a millisecond of naps */

/* Who traces this thread: 0 nobody, -1 it cannot be told. */
static pid_t
tracer_of(const struct frozen *z, pid_t tid)
{
	struct proc_status st;

	return proc_task_status(z->pid, tid, &st) == 0 ? st.tracer : -1;
}

/*
 * Refused with EPERM: is it worth trying again?  Yes while another checkpoint
 * of the same process is being taken or cleared away, by a thread of ours; and
 * if it has just ended with that, which shows as no tracer at all.  Several may
 * come and go one after the other, so only many such looks without a tracer of
 * ours in between mean that it is refused.
 */
static bool
comes_free(const struct frozen *z, pid_t tid, unsigned *untraced)
{
	pid_t tracer = tracer_of(z, tid);

	if (tracer > 0 && tracee_tracer_is_ours(tracer)) {
		*untraced = 0;
		return true;
	}
	return tracer >= 0 && ++*untraced < UNTRACED_MAX;
}

/* Why was it refused?  EPERM means several things. */
static int
seize_failed(struct snap_ctx *cx, const struct frozen *z, pid_t tid, int err)
{
	struct proc_status st;

	if (err == ESRCH)
		return snap_fail(cx, -ESRCH, "process %d is gone", (int)z->pid);
	err = read_status(cx, z->pid, &st);
	if (err == 0)
		err = check_status(cx, z->pid, &st);
	if (err == 0 && tracer_of(z, tid) > 0)
		return snap_fail(cx, -ETIMEDOUT,
		    "process %d: another checkpoint of it is being taken",
		    (int)z->pid);
	if (err == 0)
		err = snap_fail(cx, -EPERM,
		    "process %d: the kernel does not allow thread %d to be "
		    "traced",
		    (int)z->pid, (int)tid);
	return err;
}

/* Has this thread ended, or begun to? */
static bool
ended(const struct frozen *z, pid_t tid)
{
	struct proc_stat st;

	return proc_task_stat(z->pid, tid, &st) != 0 || st.state == 'Z' ||
	       st.state == 'X';
}

/* What is better seen of a thread while it still runs. */
static int
look_early(struct snap_ctx *cx, struct frozen *z, struct tracee *t)
{
	if (z->begun != 0)
		return 0;
	if (early_read(&z->early, z->pid, t->tid) != 0)
		return snap_fail(cx, -ENOMEM, "no memory");
	calls_sample(z->pid, t->tid, &z->clock, &t->sample);
	return 0;
}

/*
 * Not PTRACE_O_EXITKILL: if we crash, the user keeps the process.  Seizing
 * does not stop a thread.  The main thread is seized first, and whoever has it
 * has all: so one thread of ours waits for another and never two for each
 * other.
 */
static int
seize(struct snap_ctx *cx, struct frozen *z, pid_t tid)
{
	struct tracee *t = process_grow(&z->v, &z->n, sizeof(*t));
	unsigned naps = 0, untraced = 0;
	int err;

	if (t == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	t->tid = tid;
	do {
		if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0)
			return look_early(cx, z, t);
		err = errno;
		if (err != EPERM || !comes_free(z, tid, &untraced))
			break;
		nap(&naps);
	} while (now_ns() < z->deadline);
	t->state = TRACEE_GONE;
	drop_gone(z);
	if (tid != z->pid && ended(z, tid))
		return 0;
	return seize_failed(cx, z, tid, err);
}

/*
 * Seize the threads that are not yet; *more if there were any.  Then list
 * again: one may have been born between two readings of task/.  A frozen
 * process creates none.
 */
static int
seize_new(struct snap_ctx *cx, struct frozen *z, bool *more)
{
	char path[32];
	struct dirent *e;
	int err = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)z->pid);
	d = opendir(path);
	if (d == NULL)
		return snap_fail(cx, -ESRCH, "process %d is gone", (int)z->pid);
	*more = false;
	while (err == 0 && (e = readdir(d)) != NULL) {
		pid_t tid;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		tid = (pid_t)strtol(e->d_name, NULL, 10);
		if (find(z, tid) != NULL)
			continue;
		*more = true;
		err = seize(cx, z, tid);
	}
	closedir(d);
	return err;
}

/* ---- stopping ---- */

static int
would_not_stop(struct snap_ctx *cx, const struct frozen *z, pid_t tid)
{
	char name[48], *wchan = NULL;
	struct proc_stat st;

	if (proc_task_stat(z->pid, tid, &st) != 0)
		st.state = '?';
	snprintf(name, sizeof(name), "task/%d/wchan", (int)tid);
	if (proc_try(z->pid, name, &wchan, NULL) != 0)
		wchan = NULL;
	snap_fail(cx, -ETIMEDOUT,
	    "process %d: thread %d did not stop within %u ms (state %c, in "
	    "%s)",
	    (int)z->pid, (int)tid, cx->opt.freeze_timeout_ms, st.state,
	    wchan != NULL && wchan[0] != '0' ? wchan : "user code");
	free(wchan);
	return -ETIMEDOUT;
}

static int
hide_eintr(struct tracee *t)
{
	int err;

	err = tracee_getregs(t, &t->regs);
	if (err == 0 && t->regs.cs == USER64_CS && calls_hide_eintr(&t->regs))
		err = tracee_setregs(t, &t->regs);
	t->settled |= err == 0;
	return err;
}

/*
 * The very first thing that happens to a stopped thread: from here on our
 * death costs it nothing.
 */
static int
just_stopped(struct snap_ctx *cx, struct frozen *z, struct tracee *t)
{
	bool known = t->settled;
	int err;

	err = hide_eintr(t);
	if (err == 0 && t->regs.cs != USER64_CS)
		return snap_fail(cx, -ENOTSUP,
		    "process %d: thread %d runs 32-bit code", (int)z->pid,
		    (int)t->tid);
	if (!known)
		calls_stopped(&t->sample);
	z->group_stopped |= t->group_stopped;
	return err;
}

/*
 * Has it stopped?  0 or, when the process cannot be frozen, -errno.  *changed
 * if the set of threads is another now, because one has called exec(2).
 */
static int
settle(struct snap_ctx *cx, struct frozen *z, struct tracee *t, bool *changed)
{
	int err;

	err = tracee_poll_interrupted(t);
	if (err == 0 && t->state == TRACEE_STOPPED)
		err = just_stopped(cx, z, t);
	if (err == 0 || (err != -ESRCH && err != -ECHILD))
		return err;
	*changed |= err == -ECHILD || t->tid == z->pid;
	t->state = TRACEE_GONE;
	return 0;
}

/*
 * Wait for every thread that runs, each being looked after as soon as it has
 * stopped, whichever is the first.
 */
static int
wait_all(struct snap_ctx *cx, struct frozen *z)
{
	bool changed = false;
	pid_t running = 0;
	unsigned naps = 0;
	int err;

	do {
		if (running != 0 && now_ns() > z->deadline)
			return would_not_stop(cx, z, running);
		if (running != 0)
			nap(&naps);
		running = 0;
		for (size_t i = 0; i < z->n; i++) {
			struct tracee *t = &z->v[i];

			if (t->state != TRACEE_RUNNING)
				continue;
			err = settle(cx, z, t, &changed);
			if (err != 0)
				return err;
			if (t->state == TRACEE_RUNNING)
				running = t->tid;
		}
	} while (running != 0);
	drop_gone(z);
	return changed ? -EAGAIN : 0;
}

/* All are stopped.  A thread that we no longer trace would say so here. */
static int
read_masks(struct frozen *z)
{
	for (size_t i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];

		if (ptrace(PTRACE_GETSIGMASK, t->tid,
			(void *)sizeof(t->sigmask), &t->sigmask) < 0)
			return errno == ESRCH ? -EAGAIN : -errno;
	}
	return 0;
}

/*
 * A thread in a call that answers EINTR whenever it is interrupted would see
 * that if we died before just_stopped(): the kernel has no other way of
 * stopping it.  So these come one at a time, with nothing else in between.
 */
static int
stop_fragile(struct snap_ctx *cx, struct frozen *z)
{
	bool changed = false;
	int err = 0;

	for (size_t i = 0; i < z->n && err == 0; i++) {
		struct tracee *t = &z->v[i];
		uint64_t end;

		if (t->state != TRACEE_RUNNING || !t->sample.fragile)
			continue;
		/* If it does something else by now, or ends: later. */
		t->sample.fragile = false;
		end = now_ns() + FRAGILE_NS;
		tracee_interrupt(t);
		do {
			err = settle(cx, z, t, &changed);
			if (err == 0 && t->state == TRACEE_RUNNING)
				sched_yield();
		} while (
		    err == 0 && t->state == TRACEE_RUNNING && now_ns() < end);
	}
	return changed ? -EAGAIN : err;
}

static void
begin(struct frozen *z)
{
	early_sort(&z->early);
	/* Naps are to be no longer than they should be. */
	z->slack = prctl(PR_GET_TIMERSLACK);
	prctl(PR_SET_TIMERSLACK, 1);
	z->begun = now_ns();
	clock_gettime(CLOCK_REALTIME, &z->time);
}

static int
stop_running(struct snap_ctx *cx, struct frozen *z)
{
	int err;

	if (z->begun == 0)
		begin(z);
	err = stop_fragile(cx, z);
	if (err != 0)
		return err;
	/* One that has ended is found by the wait. */
	for (size_t i = 0; i < z->n; i++)
		if (z->v[i].state == TRACEE_RUNNING)
			tracee_interrupt(&z->v[i]);
	return wait_all(cx, z);
}

static bool
all_stopped(const struct frozen *z)
{
	for (size_t i = 0; i < z->n; i++)
		if (z->v[i].state != TRACEE_STOPPED)
			return false;
	return true;
}

/*
 * After an exec, look at every thread again: under the main thread's number
 * there may be another one now, whose registers are others.
 */
static void
look_again(struct frozen *z)
{
	drop_gone(z);
	for (size_t i = 0; i < z->n; i++)
		z->v[i].state = TRACEE_RUNNING;
}

static int
freeze_threads(struct snap_ctx *cx, struct frozen *z)
{
	bool more = true;
	int err;

	for (;;) {
		err = seize_new(cx, z, &more);
		if (err != 0)
			return err;
		if (find(z, z->pid) == NULL)
			return snap_fail(
			    cx, -ESRCH, "process %d is gone", (int)z->pid);
		if (more || !all_stopped(z))
			err = stop_running(cx, z);
		else if ((err = read_masks(z)) == 0)
			return 0;
		if (err != 0 && err != -EAGAIN)
			return snap_fail(cx, err, "process %d: freeze: %s",
			    (int)z->pid, strerror(-err));
		if (now_ns() > z->deadline)
			return snap_fail(cx, -ETIMEDOUT,
			    "process %d would not freeze: its threads come "
			    "and go",
			    (int)z->pid);
		if (err == -EAGAIN)
			look_again(z);
	}
}

int
freeze(struct snap_ctx *cx, pid_t pid, struct frozen **out)
{
	struct frozen *z = calloc(1, sizeof(*z));
	int err;

	if (z == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	z->pid = pid;
	z->mem = -1;
	z->deadline = now_ns() + (uint64_t)cx->opt.freeze_timeout_ms * 1000000u;
	err = check_process(cx, z);
	if (err == 0)
		err = freeze_seccomp_may(cx, z);
	if (err == 0)
		err = freeze_threads(cx, z);
	if (err == 0) {
		sort(z);
		for (size_t i = 0; i < z->n; i++)
			calls_confirm(
			    pid, z->v[i].tid, &z->v[i].regs, &z->v[i].sample);
		frozen_step(cx, z, "frozen");
		z->mem = proc_open(cx, pid, "mem", O_RDWR);
		err = z->mem < 0 ? z->mem : freeze_seccomp(cx, z);
	}
	if (err != 0) {
		thaw(cx, z);
		return err;
	}
	*out = z;
	return 0;
}

/* ---- letting go ---- */

/* Does it run in code of ours that has a child to reap? */
static bool
busy_making(struct frozen *z, const struct tracee *t)
{
	return z->heal != NULL && t == &z->v[heal_caller(z)] &&
	       !heal_reaped(z, now_ns() + REAP_NS);
}

/*
 * One that still runs can only be released when it has stopped.  This is a
 * failure being undone: it is given a moment, but nobody is kept waiting.  One
 * that would see EINTR, and was not interrupted yet, is better left alone: the
 * kernel lets go of it when this thread of ours ends.
 */
static void
stop_again(struct frozen *z)
{
	uint64_t deadline = now_ns() + 100000000;

	for (size_t i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];

		if (t->state != TRACEE_RUNNING || t->sample.fragile ||
		    busy_making(z, t) || tracee_interrupt(t) != 0)
			continue;
		if (tracee_wait_interrupted(t, deadline) != 0)
			continue;
		/* It may have gone home by itself since it moved. */
		t->went_home = t->away && !heal_contains_thread(z, t);
		t->away = t->away && !t->went_home;
		t->settled = t->away;
	}
}

static void
release(struct frozen *z)
{
	if (z->mem >= 0)
		close(z->mem);
	if (z->slack > 0)
		prctl(PR_SET_TIMERSLACK, z->slack);
	early_free(&z->early);
	filters_free(&z->filters);
	free(z->v);
	free(z);
}

uint64_t
thaw(struct snap_ctx *cx, struct frozen *z)
{
	struct hurry hurry;
	uint64_t end;

	if (z == NULL)
		return 0;
	stop_again(z);
	heal_abandon(cx, z);
	stubs_settle(z);
	hurry_begin(&hurry);
	for (size_t i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];

		if (t->state != TRACEE_STOPPED)
			continue;
		if (!t->settled)
			hide_eintr(t);
		tracee_home(t);
		/* Where it stopped to take a signal, it still has to. */
		ptrace(PTRACE_DETACH, t->tid, NULL,
		    (void *)(long)tracee_signal(t));
	}
	hurry_end(&hurry);
	end = now_ns();
	if (z->begun != 0)
		frozen_step(cx, z, "thawed");
	end -= z->begun != 0 ? z->begun : end;
	release(z);
	return end / 1000;
}

/* A thread that has ended is a zombie until its tracer has heard of it. */
void
frozen_bury(struct frozen *z)
{
	uint64_t deadline;

	if (z == NULL)
		return;
	deadline = now_ns() + BURY_NS;
	for (size_t i = z->n; i-- > 0;)
		while (tracee_wait(&z->v[i], deadline) == 0)
			(void)tracee_resume(&z->v[i], PTRACE_CONT, 0);
	release(z);
}

/* ---- memory ---- */

bool
frozen_read(void *arg, void *buf, size_t len, uint64_t addr)
{
	const struct frozen *z = arg;
	struct iovec here = { buf, len },
		     there = { (void *)(uintptr_t)addr, len };

	return process_vm_readv(z->pid, &here, 1, &there, 1, 0) == (ssize_t)len;
}

/* By way of `mem`, which may write to code too. */
bool
frozen_write(struct frozen *z, uint64_t addr, const void *buf, size_t len)
{
	return pwrite(z->mem, buf, len, (off_t)addr) == (ssize_t)len;
}

void
frozen_step(struct snap_ctx *cx, const struct frozen *z, const char *what)
{
	snap_logf(cx, SNAP_STEP, "process %d: %s: %zu threads, %llu us",
	    (int)z->pid, what, z->n,
	    (unsigned long long)(now_ns() - z->begun) / 1000);
}
