/*
 * gather_habits.c - how the kernel treats a thread where that is another way
 * than usual: from which nodes it takes memory for it, what it does on its
 * memory errors, which instructions it lets it use.
 */
#include <asm/prctl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "gather_thread.h"
#include "heal.h"
#include "numa.h"

/* ---- asking ---- */

void
habits_ask(struct frozen *z, size_t i, struct habit_asks *a)
{
	uint64_t nodes;

	a->tsc = heal_data(z, i, sizeof(int));
	a->numa = heal_data(z, i, sizeof(int));
	nodes = heal_data(z, i, sizeof(((struct numa *)0)->nodes));

	a->memory_error =
	    heal_try(z, i, SYS_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0);
	a->no_tsc = heal_try(z, i, SYS_prctl, PR_GET_TSC, a->tsc, 0, 0, 0);
	a->cpuid = heal_try(z, i, SYS_arch_prctl, ARCH_GET_CPUID, 0, 0, 0, 0);
	a->io_flusher =
	    heal_try(z, i, SYS_prctl, PR_GET_IO_FLUSHER, 0, 0, 0, 0);
	for (unsigned k = 0; k < 3; k++)
		a->speculation[k] = heal_try(
		    z, i, SYS_prctl, PR_GET_SPECULATION_CTRL, k, 0, 0, 0);
	a->policy =
	    heal_try(z, i, SYS_get_mempolicy, a->numa, nodes, NUMA_NODES, 0, 0);
}

/* ---- what was answered ---- */

/* The L1D cache is flushed for those who asked for it; the rest is the reverse. */
static uint32_t
speculation(int64_t v, bool flush)
{
	const uint64_t usual = flush ? PR_SPEC_DISABLE : PR_SPEC_ENABLE;
	uint64_t set = (uint64_t)v & ~PR_SPEC_PRCTL;

	if (v < 0 || ((uint64_t)v & PR_SPEC_PRCTL) == 0 || set == usual)
		return 0;
	return (uint32_t)set;
}

static int
take_numa(const struct frozen *z, size_t i, const struct habit_asks *a,
    struct process *p, struct thread *t)
{
	struct numa *n = &t->habits.numa;
	char what[32];

	if (heal_result(z, i, a->policy) != 0)
		return 0;
	memcpy(&n->mode, heal_answer(z, a->numa), sizeof(n->mode));
	memcpy(n->nodes, heal_answer(z, a->numa + 16), sizeof(n->nodes));
	if (numa_known(n))
		return 0;
	snprintf(what, sizeof(what), "thread %d", (int)t->tid);
	n->mode = 0;
	return process_unsupported(p, what,
	    "its NUMA policy is of a kind that is not known: it comes back "
	    "without");
}

int
habits_take(const struct frozen *z, size_t i, const struct habit_asks *a,
    struct process *p, struct thread *t)
{
	struct habits *h = &t->habits;
	int64_t v = heal_result(z, i, a->memory_error);
	int tsc;

	if (v == PR_MCE_KILL_EARLY || v == PR_MCE_KILL_LATE)
		h->memory_error = v == PR_MCE_KILL_EARLY ? 1 : 2;
	memcpy(&tsc, heal_answer(z, a->tsc), sizeof(tsc));
	h->no_tsc = heal_result(z, i, a->no_tsc) == 0 && tsc == PR_TSC_SIGSEGV;
	h->no_cpuid = heal_result(z, i, a->cpuid) == 0;
	h->io_flusher = heal_result(z, i, a->io_flusher) == 1;
	for (unsigned k = 0; k < 3; k++)
		h->speculation[k] =
		    speculation(heal_result(z, i, a->speculation[k]), k == 2);
	return take_numa(z, i, a, p, t);
}
