/*
 * plan_habits.c - the part of a plan that tells the kernel how to treat a
 * process and its threads, where that is another way than usual.
 */
#include <asm/prctl.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#include "numa.h"
#include "plan.h"
#include "uapi.h"

#ifndef ARCH_SET_CPUID
#define ARCH_SET_CPUID 0x1012
#endif

static const uint32_t registrations[] = {
	MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ,
};

/* ---- NUMA ---- */

/* The kernel counts nodes from 1 up, so to speak. */
#define MAXNODE (NUMA_NODES + 1)

static bool
has_nodes(const struct numa *n)
{
	uint64_t any = 0;

	for (size_t i = 0; i < NUMA_WORDS; i++)
		any |= n->nodes[i];
	return any != 0;
}

void
plan_numa_thread(struct plan *pl, const struct thread *t)
{
	const struct numa *n = &t->habits.numa;
	bool nodes = has_nodes(n);

	if (n->mode == 0)
		return;
	plan_what(pl, "thread %d: NUMA policy", t->tid);
	PLAN_CALL(pl, CHECK_NOTE, SYS_set_mempolicy, n->mode,
	    nodes ? plan_data(pl, n->nodes, sizeof(n->nodes)) : 0,
	    nodes ? MAXNODE : 0)
	    ->rel = nodes ? 1 << 1 : 0;
}

void
plan_numa_memory(struct plan *pl, const struct process *p, size_t i)
{
	const struct vma *v = &p->vmas[i];
	bool nodes;

	if (v->numa == NULL || plan_is_system(v))
		return;
	nodes = has_nodes(v->numa);
	plan_what(pl, "maps:%zu: NUMA policy", i + 1);
	PLAN_CALL(pl, CHECK_NOTE, SYS_mbind, v->start, v->end - v->start,
	    v->numa->mode,
	    nodes ? plan_data(pl, v->numa->nodes, sizeof(v->numa->nodes)) : 0,
	    nodes ? MAXNODE : 0, 0)
	    ->rel = nodes ? 1 << 3 : 0;
}

/* ---- a process, before it has other threads ---- */

void
plan_habits_process(struct plan *pl, const struct process *p)
{
	if (p->membarrier != 0)
		plan_what(pl, "status: membarrier");
	for (size_t i = 0; i < sizeof(registrations) / sizeof(registrations[0]);
	     i++)
		if ((p->membarrier & registrations[i]) != 0)
			PLAN_CALL(pl, CHECK_NOTE, SYS_membarrier,
			    registrations[i], 0, 0);
	if (p->memory_merge) {
		plan_what(pl, "status: memory-merge");
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, UAPI_PR_SET_MEMORY_MERGE,
		    1, 0, 0, 0);
	}
	if (p->lock_future != 0) {
		plan_what(pl, "status: lock-future");
		PLAN_CALL(pl, CHECK_NOTE, SYS_mlockall, p->lock_future);
	}
}

/* ---- a thread ---- */

void
plan_habits_thread(struct plan *pl, const struct thread *t)
{
	const struct habits *h = &t->habits;

	plan_numa_thread(pl, t);
	if (h->memory_error != 0) {
		plan_what(pl, "thread %d: memory errors", t->tid);
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, PR_MCE_KILL,
		    PR_MCE_KILL_SET,
		    h->memory_error == 1 ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE,
		    0, 0);
	}
	for (unsigned k = 0; k < 3; k++) {
		if (h->speculation[k] == 0)
			continue;
		plan_what(pl, "thread %d: speculation", t->tid);
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, PR_SET_SPECULATION_CTRL, k,
		    h->speculation[k], 0, 0);
	}
	if (h->io_flusher) {
		plan_what(pl, "thread %d: I/O flusher", t->tid);
		PLAN_CALL(
		    pl, CHECK_NOTE, SYS_prctl, PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	}
	if (h->no_tsc) {
		plan_what(pl, "thread %d: time-stamp counter", t->tid);
		PLAN_CALL(
		    pl, CHECK_NOTE, SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV);
	}
	if (h->no_cpuid) {
		plan_what(pl, "thread %d: CPUID", t->tid);
		PLAN_CALL(pl, CHECK_NOTE, SYS_arch_prctl, ARCH_SET_CPUID, 0);
	}
}
