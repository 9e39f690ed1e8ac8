/*
 * plan_thread.c - the part of a plan that each thread does for itself.
 */
#include <linux/prctl.h>
#include <linux/rseq.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "plan.h"

#define XSAVE_HEADER 512 /* its offset */
#define IOPRIO_WHO_PROCESS 1
#define SS_AUTODISARM_BIT (1u << 31)

/* sched_setattr(2)'s, first version: not in this libc. */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Is this memory that the new process may write?  (Not asked of mapped files:
 * they may be shorter than their mapping.) */
static bool
writable(const struct process *p, uint64_t at, uint64_t len)
{
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (at >= v->start && at < v->end)
			return v->prot & PROT_WRITE && !v->shared &&
			       len <= v->end - at;
	}
	return false;
}

static void
set_scheduling(struct plan *pl, const struct thread *t)
{
	struct attr a = {
		.size = sizeof(a),
		.policy = t->sched_policy,
		.flags = t->sched_flags,
		.nice = t->nice,
		.priority = t->sched_priority,
		.runtime = t->sched_runtime,
		.deadline = t->sched_deadline,
		.period = t->sched_period,
	};

	plan_what(pl, "thread %d: affinity", t->tid);
	if (t->affinity_len > 0)
		PLAN_CALL(pl, CHECK_NOTE, SYS_sched_setaffinity, 0,
		    t->affinity_len,
		    plan_data(pl, t->affinity, t->affinity_len))
		    ->rel = 1 << 2;
	plan_what(pl, "thread %d: nice", t->tid);
	PLAN_CALL(pl, CHECK_NOTE, SYS_setpriority, PRIO_PROCESS, 0,
	    (uint64_t)(int64_t)t->nice);
	plan_what(pl, "thread %d: scheduling policy", t->tid);
	PLAN_CALL(pl, CHECK_NOTE, SYS_sched_setattr, 0,
	    plan_data(pl, &a, sizeof(a)), 0)
	    ->rel = 1 << 1;
	plan_what(pl, "thread %d: I/O priority", t->tid);
	if (t->ioprio != 0)
		PLAN_CALL(pl, CHECK_NOTE, SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		    t->ioprio);
	plan_what(pl, "thread %d: timer slack", t->tid);
	if (t->timerslack != 0)
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, PR_SET_TIMERSLACK,
		    t->timerslack);
}

/*
 * The kernel looks at rseq_cs at the next return to user space, where the
 * thread is not in the section that was meant: a thread that was in one has
 * been moved to its abort handler when it was frozen.
 */
static void
register_rseq(struct plan *pl, const struct process *p, const struct thread *t)
{
	if (t->rseq == 0)
		return;
	plan_what(pl, "thread %d: rseq", t->tid);
	if (writable(p, t->rseq, t->rseq_len))
		plan_op(pl, OP_STORE, CHECK_OK, -1,
		    (const uint64_t[6]){
			t->rseq + offsetof(struct rseq, rseq_cs), 0 });
	PLAN_CALL(pl, CHECK_OK, SYS_rseq, t->rseq, t->rseq_len, 0, t->rseq_sig);
}

/* The main thread has that of whoever makes it, until it is told otherwise. */
static void
set_altstack(struct plan *pl, const struct thread *t, size_t lane)
{
	bool has = t->altstack_size != 0 && !(t->altstack_flags & SS_DISABLE);
	stack_t ss = { .ss_flags = SS_DISABLE };

	plan_what(pl, "thread %d: alternate stack", t->tid);
	if (has)
		ss = (stack_t){
			.ss_sp = (void *)t->altstack_sp,
			.ss_size = t->altstack_size,
			.ss_flags =
			    (int)(t->altstack_flags & SS_AUTODISARM_BIT),
		};
	if (has || lane == 0)
		PLAN_CALL(pl, CHECK_OK, SYS_sigaltstack,
		    plan_data(pl, &ss, sizeof(ss)), 0)
		    ->rel = 1 << 0;
}

static void
set_addresses(
    struct plan *pl, const struct process *p, size_t lane, const struct host *h)
{
	const struct thread *t = &p->threads[lane];

	plan_what(pl, "thread %d: robust list", t->tid);
	if (t->robust_list != 0)
		PLAN_CALL(pl, CHECK_OK, SYS_set_robust_list, t->robust_list,
		    t->robust_len);
	plan_what(pl, "thread %d: tid address", t->tid);
	PLAN_CALL(pl, CHECK_OK, SYS_set_tid_address, t->clear_child_tid);
	if (h->new_pid && t->clear_child_tid % 4 == 0 &&
	    writable(p, t->clear_child_tid, 4))
		plan_op(pl, OP_SWAP, CHECK_OK, -1,
		    (const uint64_t[6]){
			t->clear_child_tid, (uint32_t)t->tid, lane })
		    ->tid = 1 << 2;
	set_altstack(pl, t, lane);
	register_rseq(pl, p, t);
}

/* Only a thread itself may claim that a signal came from the kernel. */
static void
queue_pending(struct plan *pl, const struct thread *t, size_t lane)
{
	plan_what(pl, "thread %d: pending signals", t->tid);
	for (size_t i = 0; i < t->pending.n; i++) {
		const siginfo_t *si = &t->pending.v[i];
		struct op *op;

		if (si->si_signo == SIGKILL || si->si_signo == SIGSTOP)
			continue;
		op = PLAN_CALL(pl, CHECK_OK, SYS_rt_tgsigqueueinfo, 0, lane,
		    (uint64_t)si->si_signo, plan_data(pl, si, sizeof(*si)));
		op->tid = 1 << 0 | 1 << 1;
		op->rel = 1 << 3;
	}
}

/* The header of the state says what of it is not initial. */
static bool
uses_tiles(const struct thread *t)
{
	uint64_t used;

	if (t->xsave_len < XSAVE_HEADER + sizeof(used))
		return false;
	memcpy(&used, t->xsave + XSAVE_HEADER, sizeof(used));
	return used & 1ull << PLAN_XFEATURE_TILEDATA;
}

void
plan_thread(
    struct plan *pl, const struct process *p, size_t lane, const struct host *h)
{
	const struct thread *t = &p->threads[lane];

	plan_what(pl, "thread %d: name", t->tid);
	PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_SET_NAME,
	    plan_data(pl, t->comm, sizeof(t->comm)))
	    ->rel = 1 << 1;
	set_addresses(pl, p, lane, h);
	set_scheduling(pl, t);
	plan_habits_thread(pl, t);
	queue_pending(pl, t, lane);
	if (uses_tiles(t)) {
		plan_what(pl, "thread %d: AMX tiles", t->tid);
		plan_op(pl, OP_TILES, CHECK_OK, -1, (const uint64_t[6]){ 0 });
	}
	plan_seccomp(pl, p, t, h);
	plan_what(pl, "thread %d: uid %u, gid %u", t->tid, t->creds.euid,
	    t->creds.egid);
	plan_creds(pl, &t->creds, h);
}
