/*
 * plan_advice.c - the part of a plan that tells the kernel what it should
 * know of memory: advice, names, locks, keys, and where its parts are.
 */
#include <linux/prctl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "plan.h"
#include "uapi.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

void
plan_thp(struct plan *pl, const struct process *p, enum op_check check)
{
	PLAN_CALL(pl, check, SYS_prctl, PR_SET_THP_DISABLE, p->thp_disable,
	    p->thp_disable && p->thp_advised
		? UAPI_PR_THP_DISABLE_EXCEPT_ADVISED
		: 0);
}

void
plan_advise(struct plan *pl, const struct process *p, size_t i, bool before)
{
	static const struct {
		uint64_t flag;
		int advice;
		bool before;
	} all[] = {
		{ VMA_F_HUGEPAGE, MADV_HUGEPAGE, true },
		{ VMA_F_NOHUGEPAGE, MADV_NOHUGEPAGE, true },
		{ VMA_F_SEQ, MADV_SEQUENTIAL, false },
		{ VMA_F_RAND, MADV_RANDOM, false },
		{ VMA_F_DONTDUMP, MADV_DONTDUMP, false },
		{ VMA_F_MERGEABLE, MADV_MERGEABLE, false },
	};

	const struct vma *v = &p->vmas[i];

	if (plan_is_system(v) || v->flags & VMA_F_DROPPABLE)
		return;
	plan_what(pl, "maps:%zu", i + 1);
	for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++)
		if (v->flags & all[k].flag && all[k].before == before)
			PLAN_CALL(pl, CHECK_NOTE, SYS_madvise, v->start,
			    v->end - v->start, all[k].advice);
}

/* What an instance would not get from its template: so not in that one. */
void
plan_unforked(struct plan *pl, const struct process *p)
{
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		uint64_t len = v->end - v->start;

		if (plan_is_system(v) || v->flags & VMA_F_DROPPABLE)
			continue;
		plan_what(pl, "maps:%zu", i + 1);
		if (v->flags & VMA_F_DONTCOPY)
			PLAN_CALL(pl, CHECK_NOTE, SYS_madvise, v->start, len,
			    MADV_DONTFORK);
		if (v->flags & VMA_F_WIPEONFORK)
			PLAN_CALL(pl, CHECK_NOTE, SYS_madvise, v->start, len,
			    MADV_WIPEONFORK);
	}
}

void
plan_names(struct plan *pl, const struct process *p)
{
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		char name[80];
		size_t len = strlen(v->path), skip;

		if (strncmp(v->path, "[anon:", 6) == 0)
			skip = 6;
		else if (strncmp(v->path, "[anon_shmem:", 12) == 0)
			skip = 12;
		else
			continue;
		if (len - skip < 2 || len - skip > sizeof(name))
			continue;
		memcpy(name, v->path + skip, len - skip - 1);
		name[len - skip - 1] = '\0';
		plan_what(pl, "maps:%zu", i + 1);
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, PR_SET_VMA,
		    PR_SET_VMA_ANON_NAME, v->start, v->end - v->start,
		    plan_data(pl, name, len - skip))
		    ->rel = 1 << 4;
	}
}

void
plan_memory_late(struct plan *pl, const struct process *p)
{
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		plan_what(pl, "maps:%zu", i + 1);
		if (v->flags & VMA_F_LOCKED && !plan_is_system(v))
			PLAN_CALL(pl, CHECK_NOTE, SYS_mlock2, v->start,
			    v->end - v->start,
			    v->flags & VMA_F_LOCKONFAULT ? MLOCK_ONFAULT : 0);
		if (v->flags & VMA_F_SEALED && !plan_is_system(v))
			PLAN_CALL(pl, CHECK_NOTE, SYS_mseal, v->start,
			    v->end - v->start, 0);
	}
}

/* Keys are given out from 1 up; those between are allocated with them. */
void
plan_pkeys(struct plan *pl, const struct process *p)
{
	uint32_t last = 0;

	for (size_t i = 0; i < p->nvmas; i++)
		if (p->vmas[i].pkey > last)
			last = p->vmas[i].pkey;
	plan_what(pl, "protection keys");
	for (uint32_t k = 1; k <= last; k++)
		PLAN_CALL(pl, CHECK_IS, SYS_pkey_alloc, 0, 0)->want = k;
}

/*
 * Twice: what /proc/PID/exe shows is changed only with CAP_SYS_ADMIN or
 * CAP_CHECKPOINT_RESTORE, the rest by anyone.
 */
void
plan_mm_map(struct plan *pl, const struct process *p, const struct host *h)
{
	struct prctl_mm_map m = {
		.start_code = p->mm.start_code,
		.end_code = p->mm.end_code,
		.start_data = p->mm.start_data,
		.end_data = p->mm.end_data,
		.start_brk = p->mm.start_brk,
		.brk = p->mm.brk,
		.start_stack = p->mm.start_stack,
		.arg_start = p->mm.arg_start,
		.arg_end = p->mm.arg_end,
		.env_start = p->mm.env_start,
		.env_end = p->mm.env_end,
		.auxv_size = (uint32_t)p->auxv_len,
		.exe_fd = (uint32_t)-1,
	};
	uint64_t auxv, at;

	auxv = plan_data(pl, p->auxv, p->auxv_len);
	m.auxv = (void *)auxv;
	if (p->auxv_len == 0)
		m.auxv = NULL;
	for (int k = 0; k < 2; k++) {
		if (k == 1 && h->exe_fd < 0)
			break;
		if (k == 1)
			m.exe_fd = (uint32_t)h->exe_fd;
		at = plan_data(pl, &m, sizeof(m));
		if (p->auxv_len > 0)
			plan_reloc(
			    pl, at + offsetof(struct prctl_mm_map, auxv));
		plan_what(pl, k == 0 ? "status: brk, arguments"
				     : "what /proc/PID/exe shows");
		PLAN_CALL(pl, k == 0 ? CHECK_OK : CHECK_NOTE, SYS_prctl,
		    PR_SET_MM, PR_SET_MM_MAP, at, sizeof(m), 0)
		    ->rel = 1 << 2;
	}
}
