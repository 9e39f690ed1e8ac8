/*
 * plan_process.c - the part of a plan that all threads of a process share:
 * dispositions, limits, pending signals, timers.
 */
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "fdlock.h"
#include "plan.h"
#include "uapi.h"

#ifndef ARCH_REQ_XCOMP_PERM
#define ARCH_REQ_XCOMP_PERM 0x1023
#endif

#define KSIGSET 8 /* bytes of the kernel's sigset_t */

#define THREAD_FLAGS \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
	    CLONE_SYSVSEM | CLONE_PTRACE)

/* ---- before there are threads ---- */

/* All of them: what the image has as default may be ignored here. */
static void
set_dispositions(struct plan *pl, const struct process *p)
{
	for (int sig = 1; sig <= PROCESS_NSIG; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		plan_what(pl, "signals: disposition of signal %d", sig);
		PLAN_CALL(pl, CHECK_OK, SYS_rt_sigaction, (uint64_t)sig,
		    plan_data(
			pl, &p->actions[sig - 1], sizeof(struct ksigaction)),
		    0, KSIGSET)
		    ->rel = 1 << 1;
	}
}

static uint64_t
lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * A hard limit above ours can be had with CAP_SYS_RESOURCE only: first what
 * is always allowed, then a try.
 */
static void
set_rlimit(
    struct plan *pl, const struct process *p, const struct host *h, int which)
{
	static const char *const names[PROCESS_NRLIMITS] = { "cpu", "fsize",
		"data", "stack", "core", "rss", "nproc", "nofile", "memlock",
		"as", "locks", "sigpending", "msgqueue", "nice", "rtprio",
		"rttime" };
	struct rlimit64 want = { p->rlimits[which].cur, p->rlimits[which].max };
	struct rlimit64 may = { lesser(want.rlim_cur, h->rlimits[which].max),
		lesser(want.rlim_max, h->rlimits[which].max) };

	may.rlim_cur = lesser(may.rlim_cur, may.rlim_max);
	plan_what(pl, "status: limit %s", names[which]);
	PLAN_CALL(pl, CHECK_OK, SYS_prlimit64, 0, (uint64_t)which,
	    plan_data(pl, &may, sizeof(may)), 0)
	    ->rel = 1 << 2;
	if (want.rlim_max > may.rlim_max)
		PLAN_CALL(pl, CHECK_NOTE, SYS_prlimit64, 0, (uint64_t)which,
		    plan_data(pl, &want, sizeof(want)), 0)
		    ->rel = 1 << 2;
}

/*
 * Memory is locked under the larger of the two limits; the number of threads
 * is limited when they are all there.
 */
static void
set_limits_and_lock(
    struct plan *pl, const struct process *p, const struct host *h)
{
	bool raise =
	    p->rlimits[RLIMIT_MEMLOCK].cur > h->rlimits[RLIMIT_MEMLOCK].cur;

	for (int i = 0; i < PROCESS_NRLIMITS; i++)
		if (i != RLIMIT_NPROC && i != RLIMIT_MEMLOCK)
			set_rlimit(pl, p, h, i);
	if (raise)
		set_rlimit(pl, p, h, RLIMIT_MEMLOCK);
	plan_memory_late(pl, p);
	if (!raise)
		set_rlimit(pl, p, h, RLIMIT_MEMLOCK);
}

void
plan_process(struct plan *pl, const struct process *p, const struct host *h)
{
	set_dispositions(pl, p);
	plan_what(pl, "status: personality");
	PLAN_CALL(pl, CHECK_OK, SYS_personality, p->personality);
	plan_what(pl, "status: subreaper");
	PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_SET_CHILD_SUBREAPER,
	    p->child_subreaper);
	set_limits_and_lock(pl, p, h);
	plan_habits_process(pl, p);
	if (p->xfeatures & 1ull << PLAN_XFEATURE_TILEDATA) {
		plan_what(pl, "regs: AMX tiles");
		PLAN_CALL(pl, CHECK_OK, SYS_arch_prctl, ARCH_REQ_XCOMP_PERM,
		    PLAN_XFEATURE_TILEDATA);
	}
}

/* ---- threads ---- */

/* CLONE_PTRACE: they belong to our tracer from birth, without an event. */
void
plan_clones(struct plan *pl, const struct process *p, const struct host *h)
{
	for (size_t i = 1; i < p->nthreads; i++) {
		struct clone_args ca = {
			.flags = THREAD_FLAGS,
			.stack = pl->stacks_off + i * LANE_STACK,
			/* The loop puts two words above its top. */
			.stack_size = LANE_STACK - 2 * sizeof(uint64_t),
		};
		int32_t tid = p->threads[i].tid;
		uint64_t at;

		if (!h->new_pid) {
			ca.set_tid = plan_data(pl, &tid, sizeof(tid));
			ca.set_tid_size = 1;
		}
		at = plan_data(pl, &ca, sizeof(ca));
		plan_reloc(pl, at + offsetof(struct clone_args, stack));
		if (!h->new_pid)
			plan_reloc(
			    pl, at + offsetof(struct clone_args, set_tid));
		plan_what(pl, "thread %d", tid);
		plan_op(pl, OP_CLONE, CHECK_OK, SYS_clone3,
		    (const uint64_t[6]){ at, i })
		    ->rel = 1 << 0;
	}
}

/*
 * A process loses its record locks on a file when it closes any descriptor of
 * it: so after the last such close.
 */
static void
lock_again(struct plan *pl, const struct process *p)
{
	struct fdlock *v;
	ssize_t n = fdlock_posix(p, &v);

	if (n < 0) {
		pl->failed = true;
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		plan_what(pl, "fdinfo/%d: lock", v[i].fd);
		PLAN_CALL(pl, CHECK_OK, SYS_fcntl, (uint64_t)v[i].fd, F_SETLK,
		    plan_data(pl, &v[i].lock, sizeof(v[i].lock)))
		    ->rel = 1 << 2;
	}
	free(v);
}

/* ---- when all threads are there, with all our rights ---- */

void
plan_process_late(
    struct plan *pl, const struct process *p, const struct host *h)
{
	plan_what(pl, "signals: pending");
	for (size_t i = 0; i < p->pending.n; i++) {
		const siginfo_t *si = &p->pending.v[i];
		struct op *op;

		if (si->si_signo == SIGKILL || si->si_signo == SIGSTOP)
			continue;
		op = PLAN_CALL(pl, CHECK_OK, SYS_rt_sigqueueinfo, 0,
		    (uint64_t)si->si_signo, plan_data(pl, si, sizeof(*si)));
		op->tid = 1 << 0;
		op->rel = 1 << 2;
	}
	set_rlimit(pl, p, h, RLIMIT_NPROC);
	plan_what(pl, "descriptors");
	PLAN_CALL(pl, CHECK_OK, SYS_close_range, (uint64_t)h->fd_first,
	    h->fd_end > 0 ? (uint64_t)h->fd_end - 1 : ~0u, 0);
	lock_again(pl, p);
}

/* ---- the end: nothing here needs rights ---- */

static size_t
lane_of(const struct process *p, pid_t tid)
{
	for (size_t i = 0; i < p->nthreads; i++)
		if (p->threads[i].tid == tid)
			return i;
	return 0;
}

static void
create_timer(
    struct plan *pl, const struct process *p, const struct posix_timer *t)
{
	/* The kernel's struct sigevent, which libc's has no name for. */
	struct {
		uint64_t value;
		int32_t signo, notify, tid;
		int32_t pad[11];
	} ev = { .value = t->sigval,
		.signo = t->signo,
		.notify = t->notify,
		.tid = t->tid };
	uint64_t at = plan_data(pl, &ev, sizeof(ev));
	struct op *op;

	plan_what(pl, "timers: %d", t->id);
	if (t->notify == SIGEV_THREAD_ID) {
		op = plan_op(pl, OP_SWAP, CHECK_OK, -1,
		    (const uint64_t[6]){
			at + 16, (uint32_t)t->tid, lane_of(p, t->tid) });
		op->rel = 1 << 0;
		op->tid = 1 << 2;
	}
	op = plan_op(pl, OP_TIMER, CHECK_IS, SYS_timer_create,
	    (const uint64_t[6]){ (uint64_t)(int64_t)t->clockid, at });
	op->rel = 1 << 1;
	op->want = t->id;
}

static struct timespec
timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000) };
}

/* Rounded up: what was armed must not become 0, which disarms. */
static struct timeval
timeval_of(uint64_t ns)
{
	uint64_t us = ns / 1000 + (ns % 1000 != 0);

	return (struct timeval){ .tv_sec = (time_t)(us / 1000000),
		.tv_usec = (suseconds_t)(us % 1000000) };
}

static void
create_timers(struct plan *pl, const struct process *p)
{
	if (p->ntimers == 0)
		return;
	plan_what(pl, "timers");
	PLAN_CALL(pl, CHECK_ANY, SYS_prctl, UAPI_PR_TIMER_CREATE_RESTORE_IDS, 1,
	    0, 0, 0);
	for (size_t i = 0; i < p->ntimers; i++)
		create_timer(pl, p, &p->timers[i]);
	PLAN_CALL(pl, CHECK_ANY, SYS_prctl, UAPI_PR_TIMER_CREATE_RESTORE_IDS, 0,
	    0, 0, 0);
}

static void
arm_timers(struct plan *pl, const struct process *p)
{
	for (size_t i = 0; i < p->ntimers; i++) {
		const struct posix_timer *t = &p->timers[i];
		struct itimerspec its = { timespec_of(t->interval),
			timespec_of(t->value) };

		plan_what(pl, "timers: %d", t->id);
		if (t->value != 0)
			PLAN_CALL(pl, CHECK_OK, SYS_timer_settime,
			    (uint64_t)t->id, 0,
			    plan_data(pl, &its, sizeof(its)), 0)
			    ->rel = 1 << 2;
	}
	for (int i = 0; i < 3; i++) {
		struct itimerval itv = { timeval_of(p->itimers[i].interval),
			timeval_of(p->itimers[i].value) };

		plan_what(pl, "timers: interval timer %d", i);
		if (p->itimers[i].value != 0)
			PLAN_CALL(pl, CHECK_OK, SYS_setitimer, (uint64_t)i,
			    plan_data(pl, &itv, sizeof(itv)), 0)
			    ->rel = 1 << 1;
	}
}

/*
 * Every change of credentials makes the process non-dumpable: so that is set
 * when all threads have theirs.
 */
void
plan_epilogue(struct plan *pl, const struct process *p)
{
	create_timers(pl, p);
	plan_what(pl, "threads");
	plan_op(pl, OP_BARRIER, CHECK_OK, -1, (const uint64_t[6]){ 0 });
	plan_what(pl, "status: dumpable");
	PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_SET_DUMPABLE, p->dumpable == 1);
	arm_timers(pl, p);
}
