/*
 * plan_memory.c - the part of a plan that rebuilds the address space.
 */
#include <errno.h>
#include <linux/mman.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "ctx.h"
#include "plan.h"
#include "uapi.h"

#define MAX_PKEY 15
/* Larger private memory than this is not charged to us before it is used. */
#define CHARGE_MAX (1ull << 30)

bool
plan_is_system(const struct vma *v)
{
	return v->kind == VMA_VDSO || v->kind == VMA_VVAR ||
	       v->kind == VMA_VVAR_VCLOCK || v->kind == VMA_VSYSCALL;
}

bool
plan_writes_file(const struct vma *v)
{
	return v->shared && (v->prot & PROT_WRITE || v->flags & VMA_F_MAYWRITE);
}

/* ---- mapping ---- */

static int
check_vma(struct snap_ctx *cx, const struct process *p, size_t i)
{
	static const struct {
		uint64_t flag;
		const char *why;
	} bad[] = {
		{ VMA_F_SHADOWSTACK, "shadow stacks are not supported" },
		{ VMA_F_SYNC, "synchronous (MAP_SYNC) mappings are not "
			      "supported" },
		{ VMA_F_IO, "device memory cannot be restored" },
	};
	const struct vma *v = &p->vmas[i];

	if (v->kind == VMA_OTHER)
		return snap_fail(cx, -ENOTSUP,
		    "maps:%zu: a mapping of %s cannot be restored", i + 1,
		    v->path);
	if (plan_is_system(v))
		return 0;
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		if (v->flags & bad[k].flag)
			return snap_fail(
			    cx, -ENOTSUP, "maps:%zu: %s", i + 1, bad[k].why);
	if (v->kind != VMA_ANON && v->file < 0)
		return snap_fail(cx, -EBADMSG,
		    "maps:%zu: nothing says what file this is", i + 1);
	if (v->pkey > MAX_PKEY)
		return snap_fail(cx, -EBADMSG,
		    "maps:%zu: protection key %u is out of range", i + 1,
		    v->pkey);
	if (v->end > LAYOUT_TASK_SIZE)
		return snap_fail(cx, -ENOTSUP,
		    "maps:%zu: above the addresses that are handled", i + 1);
	return 0;
}

/* The first run that ends above v->start: runs are sorted as VMAs are. */
static size_t
runs_of(const struct process *p, const struct vma *v, size_t from)
{
	while (from < p->nruns && p->runs[from].end <= v->start)
		from++;
	return from;
}

static bool
has_contents(const struct process *p, const struct vma *v, size_t run)
{
	for (; run < p->nruns && p->runs[run].start < v->end; run++)
		if (p->runs[run].kind == RUN_HELD)
			return true;
	return false;
}

int
plan_mmap_flags(const struct vma *v, bool filled)
{
	int flags = MAP_FIXED_NOREPLACE;

	if (v->flags & VMA_F_DROPPABLE)
		flags |= UAPI_MAP_DROPPABLE;
	else
		flags |= v->shared ? MAP_SHARED : MAP_PRIVATE;
	if (v->kind == VMA_ANON)
		flags |= MAP_ANONYMOUS;
	if (v->flags & VMA_F_GROWSDOWN)
		flags |= MAP_GROWSDOWN;
	if (v->flags & VMA_F_NORESERVE)
		flags |= MAP_NORESERVE;
	if (filled && !(v->flags & VMA_F_ACCOUNT) && !v->shared &&
	    v->end - v->start > CHARGE_MAX)
		flags |= MAP_NORESERVE;
	return flags;
}

/* While it is filled, memory is writable and never executable. */
uint64_t
plan_first_prot(const struct vma *v, bool filled)
{
	if (filled && !(v->prot & PROT_WRITE))
		return PROT_READ | PROT_WRITE;
	return v->prot;
}

static uint64_t
object_offset(
    const struct plan *pl, const struct process *p, const struct vma *v)
{
	for (size_t i = 0; i < pl->nmoved; i++)
		if (pl->moved[i].file == v->file &&
		    pl->moved[i].readonly == plan_is_readonly(p, v))
			return pl->moved[i].off;
	return 0;
}

static void
map_vma(struct plan *pl, const struct process *p, const struct host *h,
    size_t i, bool filled)
{
	const struct vma *v = &p->vmas[i];
	uint64_t len = v->end - v->start, offset = 0;
	int64_t fd = -1;
	struct op *op;

	plan_what(pl, "maps:%zu", i + 1);
	if (plan_is_anonymous_object(v)) {
		/* From length 0: another mapping of the same memory. */
		op = PLAN_CALL(pl, CHECK_IS, SYS_mremap,
		    object_offset(pl, p, v) + v->offset, 0, len,
		    MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
		op->rel = 1 << 0;
		op->want = (int64_t)v->start;
		return;
	}
	if (v->kind != VMA_ANON) {
		fd = plan_writes_file(v) ? h->rw_file_fds[v->file]
					 : h->file_fds[v->file];
		offset = v->offset;
	}
	op = PLAN_CALL(pl, CHECK_IS, SYS_mmap, v->start, len,
	    plan_first_prot(v, filled), (uint64_t)plan_mmap_flags(v, filled),
	    (uint64_t)fd, offset);
	op->want = (int64_t)v->start;
}

static void
protect_vma(struct plan *pl, const struct process *p, size_t i, bool filled)
{
	const struct vma *v = &p->vmas[i];
	uint64_t len = v->end - v->start, now;

	if (!plan_is_anonymous_object(v))
		now = plan_first_prot(v, filled);
	else
		now =
		    plan_is_readonly(p, v) ? PROT_READ : PROT_READ | PROT_WRITE;
	plan_what(pl, "maps:%zu", i + 1);
	if (v->pkey != 0)
		PLAN_CALL(pl, CHECK_OK, SYS_pkey_mprotect, v->start, len,
		    v->prot, v->pkey);
	else if (now != v->prot)
		PLAN_CALL(pl, CHECK_OK, SYS_mprotect, v->start, len, v->prot);
}

static void
move_back(struct plan *pl, const struct process *p, const struct host *h)
{
	size_t k = 0;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		struct op *op;

		if (plan_ours(h, v) == NULL || pl->failed)
			continue;
		plan_what(pl, "maps:%zu", i + 1);
		op = PLAN_CALL(pl, CHECK_IS, SYS_mremap, pl->moved[k++].off,
		    v->end - v->start, v->end - v->start,
		    MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
		op->rel = 1 << 0;
		op->want = (int64_t)v->start;
	}
}

/* ---- all of it ---- */

enum pass {
	MAP_PAGED, /* what a pager fills */
	MAP_REST,
	PROTECT,
};

/* Advice and policy before there are pages: what these are taken from. */
static void
make_vma(struct plan *pl, const struct process *p, const struct host *h,
    size_t i, size_t *k, bool filled)
{
	if (plan_is_there(h, i, k))
		plan_bring_home(pl, h, i, *k);
	else
		map_vma(pl, p, h, i, filled);
	plan_advise(pl, p, i, true);
	plan_numa_memory(pl, p, i);
}

static int
for_each_vma(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h, enum pass pass)
{
	size_t run = 0, k = 0;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		bool filled;
		int err;

		if (pass != PROTECT && (err = check_vma(cx, p, i)) < 0)
			return err;
		if (plan_is_system(v))
			continue;
		run = runs_of(p, v, run);
		filled = has_contents(p, v, run);
		if (pass == PROTECT)
			protect_vma(pl, p, i, filled);
		else if (plan_is_paged(h, v) == (pass == MAP_PAGED))
			make_vma(pl, p, h, i, &k, filled);
	}
	return 0;
}

/* What a pager brings first: it begins while the rest is mapped and read. */
static int
map_all(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h)
{
	int err = 0;

	if (h->paged) {
		err = for_each_vma(cx, pl, p, h, MAP_PAGED);
		plan_pager_begin(pl, h);
	}
	if (err == 0)
		err = for_each_vma(cx, pl, p, h, MAP_REST);
	return err;
}

int
plan_memory(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h)
{
	int err;

	plan_what(pl, "vdso");
	for (size_t i = 0; i < pl->nmoved; i++) {
		const struct moved *m = &pl->moved[i];

		if (m->file < 0)
			PLAN_CALL(pl, CHECK_OK, SYS_mremap, m->from.start,
			    m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			    m->off)
			    ->rel = 1 << 4;
	}
	plan_what(pl, "memory");
	plan_clear(pl, h);
	err = map_all(cx, pl, p, h);
	if (err < 0)
		return err;
	/*
	 * When what a pager brings is registered: zeros of a huge page must not
	 * be there before (plan_inherited.c).
	 */
	plan_what(pl, "memory");
	plan_thp(pl, p, CHECK_NOTE);
	move_back(pl, p, h);
	plan_numa_thread(pl, &p->threads[0]);
	plan_fill(pl, p, h);
	if (h->paged)
		plan_pager_await(pl);
	plan_patch(pl, h);
	plan_pkeys(pl, p);
	for_each_vma(cx, pl, p, h, PROTECT);
	plan_guards(pl, p);
	for (size_t i = 0; i < p->nvmas; i++)
		plan_advise(pl, p, i, false);
	plan_names(pl, p);
	plan_mm_map(pl, p, h);
	return 0;
}
