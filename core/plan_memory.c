/*
 * plan_memory.c - the part of a plan that rebuilds the address space.
 */
#include <errno.h>
#include <limits.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "ctx.h"
#include "plan.h"
#include "uapi.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define PAGE 4096ull
#define IOV_BYTES (1ull << 30) /* well below what one read may return */
#define MAX_PKEY 15
/* Larger private memory than this is not charged to us before it is used. */
#define CHARGE_MAX (1ull << 30)

static bool
is_system_vma(const struct vma *v)
{
	return v->kind == VMA_VDSO || v->kind == VMA_VVAR ||
	       v->kind == VMA_VVAR_VCLOCK || v->kind == VMA_VSYSCALL;
}

bool
plan_is_anonymous_object(const struct vma *v)
{
	return v->kind == VMA_SHARED_ANON && v->shared &&
	       (strncmp(v->path, "/dev/zero", 9) == 0 ||
		   strncmp(v->path, "[anon_shmem:", 12) == 0);
}

bool
plan_writes_file(const struct vma *v)
{
	return v->shared && (v->prot & PROT_WRITE || v->flags & VMA_F_MAYWRITE);
}

static uint64_t
page_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

/* ---- what is kept across the great unmapping ---- */

static uint64_t
add_moved(struct plan *pl, struct range from, uint64_t len, int file, int flags)
{
	struct moved *m;

	m = process_grow(&pl->moved, &pl->nmoved, sizeof(*m));
	if (m == NULL) {
		pl->failed = true;
		return 0;
	}
	m->from = from;
	m->off = pl->data_off;
	m->len = len;
	m->file = file;
	m->flags = flags;
	pl->data_off += len;
	return m->off;
}

static int
check_system_vma(
    struct snap_ctx *cx, const struct vma *v, const struct range *ours)
{
	if (ours->end - ours->start == v->end - v->start)
		return 0;
	return snap_fail(cx, -ENOTSUP,
	    "%s is %llu bytes long in the image and %llu here: restore on the "
	    "kernel that it was taken on",
	    v->path, (unsigned long long)(v->end - v->start),
	    (unsigned long long)(ours->end - ours->start));
}

static const struct range *
ours_of(const struct host *h, const struct vma *v)
{
	switch (v->kind) {
	case VMA_VDSO:
		return &h->vdso;
	case VMA_VVAR:
		return &h->vvar;
	case VMA_VVAR_VCLOCK:
		return &h->vvar_vclock;
	default:
		return NULL;
	}
}

/* The vDSO finds its data by distance: all parts must move alike. */
static int
move_system_vmas(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h)
{
	uint64_t shift = 0, n = 0;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		const struct range *r = ours_of(h, v);
		int err;

		if (r == NULL)
			continue;
		err = check_system_vma(cx, v, r);
		if (err < 0)
			return err;
		if (n++ > 0 && v->start - r->start != shift)
			return snap_fail(cx, -ENOTSUP,
			    "maps:%zu: %s is laid out differently by this "
			    "kernel",
			    i + 1, v->path);
		shift = v->start - r->start;
		add_moved(pl, *r, v->end - v->start, -1, 0);
	}
	return 0;
}

/* A mapping that is not charged for has all its memory so. */
static int
object_flags(const struct process *p, int file)
{
	for (size_t i = 0; i < p->nvmas; i++)
		if (p->vmas[i].file == file &&
		    p->vmas[i].flags & VMA_F_NORESERVE)
			return MAP_NORESERVE;
	return 0;
}

static int
move_objects(struct snap_ctx *cx, struct plan *pl, const struct process *p)
{
	uint64_t *size;
	int err = 0;

	size = calloc(p->nmapfiles + 1, sizeof(*size));
	if (size == NULL)
		return snap_fail(cx, -ENOMEM, "no memory for the plan");
	for (size_t i = 0; i < p->nvmas && err == 0; i++) {
		const struct vma *v = &p->vmas[i];
		uint64_t need = v->offset + (v->end - v->start);

		if (!plan_is_anonymous_object(v) || v->file < 0)
			continue;
		if (need < v->offset || need > LAYOUT_TASK_SIZE)
			err = snap_fail(cx, -EBADMSG,
			    "maps:%zu: offset out of range", i + 1);
		else if (need > size[v->file])
			size[v->file] = need;
	}
	for (size_t f = 0; f < p->nmapfiles && err == 0; f++) {
		if (size[f] == 0)
			continue;
		if (p->mapfiles[f].size > LAYOUT_TASK_SIZE)
			err = snap_fail(cx, -EBADMSG,
			    "shared memory of %llu bytes is more than an "
			    "address space holds",
			    (unsigned long long)p->mapfiles[f].size);
		else if (page_up(p->mapfiles[f].size) > size[f])
			size[f] = page_up(p->mapfiles[f].size);
		if (err == 0)
			add_moved(pl, (struct range){ 0, 0 }, size[f], (int)f,
			    object_flags(p, (int)f));
	}
	free(size);
	return err;
}

int
plan_moved(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h)
{
	int err;

	err = move_system_vmas(cx, pl, p, h);
	if (err == 0)
		err = move_objects(cx, pl, p);
	pl->stacks_off = pl->data_off;
	pl->data_off += p->nthreads * LANE_STACK;
	return err;
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
	if (is_system_vma(v))
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

static int
mmap_flags(const struct vma *v, bool filled)
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
static uint64_t
first_prot(const struct vma *v, bool filled)
{
	if (filled && !(v->prot & PROT_WRITE))
		return PROT_READ | PROT_WRITE;
	return v->prot;
}

static uint64_t
object_offset(const struct plan *pl, int file)
{
	for (size_t i = 0; i < pl->nmoved; i++)
		if (pl->moved[i].file == file)
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
		    object_offset(pl, v->file) + v->offset, 0, len,
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
	    first_prot(v, filled), (uint64_t)mmap_flags(v, filled),
	    (uint64_t)fd, offset);
	op->want = (int64_t)v->start;
}

static void
protect_vma(struct plan *pl, const struct process *p, size_t i, bool filled)
{
	const struct vma *v = &p->vmas[i];
	uint64_t len = v->end - v->start, now;

	now = plan_is_anonymous_object(v) ? PROT_READ | PROT_WRITE
					  : first_prot(v, filled);
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

		if (ours_of(h, v) == NULL || pl->failed)
			continue;
		plan_what(pl, "maps:%zu", i + 1);
		op = PLAN_CALL(pl, CHECK_IS, SYS_mremap, pl->moved[k++].off,
		    v->end - v->start, v->end - v->start,
		    MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
		op->rel = 1 << 0;
		op->want = (int64_t)v->start;
	}
}

/* ---- filling ---- */

/* Reads that follow one another in `pages` are one operation. */
static void
fill(struct plan *pl, const struct process *p, const struct host *h)
{
	struct iovec iov[IOV_MAX];
	uint64_t off = 0, total = 0;
	size_t n = 0, v = 0;

	plan_what(pl, "pages");
	for (size_t i = 0; i <= p->nruns; i++) {
		const struct run *r = i < p->nruns ? &p->runs[i] : NULL;
		struct op *op;

		if (r != NULL && r->kind != RUN_HELD)
			continue;
		while (r != NULL && v < p->nvmas && p->vmas[v].end <= r->start)
			v++;
		/* Our own vDSO replaces the image's. */
		if (r != NULL && v < p->nvmas && is_system_vma(&p->vmas[v]))
			continue;
		if (n > 0 && (r == NULL || n == IOV_MAX || total >= IOV_BYTES ||
				 r->offset != off + total)) {
			op = plan_op(pl, OP_READ, CHECK_IS, SYS_preadv,
			    (const uint64_t[6]){ (uint64_t)h->pages_fd,
				plan_data(pl, iov, n * sizeof(iov[0])), n,
				off });
			op->rel = 1 << 1;
			op->want = (int64_t)total;
			n = total = 0;
		}
		if (r == NULL)
			break;
		if (n == 0)
			off = r->offset;
		iov[n].iov_base = (void *)r->start;
		iov[n++].iov_len = r->end - r->start;
		total += r->end - r->start;
	}
}

static void
guard_pages(struct plan *pl, const struct process *p)
{
	plan_what(pl, "pagemap");
	for (size_t i = 0; i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		if (r->kind == RUN_GUARD)
			PLAN_CALL(pl, CHECK_OK, SYS_madvise, r->start,
			    r->end - r->start, UAPI_MADV_GUARD_INSTALL);
	}
}

/* Before memory is protected: what the image has pages of is writable. */
static void
patch(struct plan *pl, const struct host *h)
{
	plan_what(pl, "environ");
	for (size_t i = 0; i < h->npatches; i++) {
		const struct patch *q = &h->patches[i];

		plan_op(pl, OP_COPY, CHECK_OK, -1,
		    (const uint64_t[6]){
			q->at, plan_data(pl, q->bytes, q->len), q->len })
		    ->rel = 1 << 1;
	}
}

/* ---- advice, names, locks ---- */

static void
advise(struct plan *pl, const struct process *p, bool before)
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
		{ VMA_F_DONTCOPY, MADV_DONTFORK, false },
		{ VMA_F_WIPEONFORK, MADV_WIPEONFORK, false },
		{ VMA_F_DONTDUMP, MADV_DONTDUMP, false },
		{ VMA_F_MERGEABLE, MADV_MERGEABLE, false },
	};

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (is_system_vma(v) || v->flags & VMA_F_DROPPABLE)
			continue;
		plan_what(pl, "maps:%zu", i + 1);
		for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++)
			if (v->flags & all[k].flag && all[k].before == before)
				PLAN_CALL(pl, CHECK_NOTE, SYS_madvise, v->start,
				    v->end - v->start, all[k].advice);
	}
}

static void
name_vmas(struct plan *pl, const struct process *p)
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
		if (v->flags & VMA_F_LOCKED && !is_system_vma(v))
			PLAN_CALL(pl, CHECK_NOTE, SYS_mlock2, v->start,
			    v->end - v->start,
			    v->flags & VMA_F_LOCKONFAULT ? MLOCK_ONFAULT : 0);
		if (v->flags & VMA_F_SEALED && !is_system_vma(v))
			PLAN_CALL(pl, CHECK_NOTE, SYS_mseal, v->start,
			    v->end - v->start, 0);
	}
}

/* Keys are given out from 1 up; those between are allocated with them. */
static void
allocate_pkeys(struct plan *pl, const struct process *p)
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
static void
set_mm_map(struct plan *pl, const struct process *p, const struct host *h)
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
		plan_what(pl, k == 0 ? "status: brk, arguments" : "exe");
		PLAN_CALL(pl, k == 0 ? CHECK_OK : CHECK_NOTE, SYS_prctl,
		    PR_SET_MM, PR_SET_MM_MAP, at, sizeof(m), 0)
		    ->rel = 1 << 2;
	}
}

/* ---- all of it ---- */

static int
for_each_vma(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h, bool protect)
{
	size_t run = 0;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		bool filled;
		int err;

		if (!protect && (err = check_vma(cx, p, i)) < 0)
			return err;
		if (is_system_vma(v))
			continue;
		run = runs_of(p, v, run);
		filled = has_contents(p, v, run);
		if (protect)
			protect_vma(pl, p, i, filled);
		else
			map_vma(pl, p, h, i, filled);
	}
	return 0;
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
	plan_op(pl, OP_CLEAR, CHECK_OK, -1, (const uint64_t[6]){ 0 });
	PLAN_CALL(
	    pl, CHECK_NOTE, SYS_prctl, PR_SET_THP_DISABLE, p->thp_disable);
	err = for_each_vma(cx, pl, p, h, false);
	if (err < 0)
		return err;
	move_back(pl, p, h);
	advise(pl, p, true);
	fill(pl, p, h);
	patch(pl, h);
	allocate_pkeys(pl, p);
	for_each_vma(cx, pl, p, h, true);
	guard_pages(pl, p);
	advise(pl, p, false);
	name_vmas(pl, p);
	set_mm_map(pl, p, h);
	return 0;
}
