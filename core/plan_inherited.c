/*
 * plan_inherited.c - the parts of a plan that concern memory which a process
 * has from its parent, or hands on to its children: put into place before it
 * has any, and left there by the restorer.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "ctx.h"
#include "plan.h"

/* ---- in the restorer ---- */

bool
plan_is_there(const struct host *h, size_t vma, size_t *k)
{
	while (*k < h->pieces.n && h->pieces.v[*k].vma < vma)
		(*k)++;
	return *k < h->pieces.n && h->pieces.v[*k].vma == vma;
}

static int
by_start(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

void
plan_clear(struct plan *pl, const struct host *h)
{
	struct range *keep = calloc(h->pieces.n + 1, sizeof(*keep));
	struct op *op;
	size_t n = 0;

	if (keep == NULL) {
		pl->failed = true;
		return;
	}
	for (size_t i = 0; i < h->pieces.n; i++) {
		const struct piece *c = &h->pieces.v[i];

		keep[i].start = c->at;
		keep[i].end = c->at + (c->end - c->start);
	}
	qsort(keep, h->pieces.n, sizeof(*keep), by_start);
	for (size_t i = 0; i < h->pieces.n; i++) {
		if (n > 0 && keep[n - 1].end == keep[i].start)
			keep[n - 1].end = keep[i].end;
		else
			keep[n++] = keep[i];
	}
	op = plan_op(pl, OP_CLEAR, CHECK_OK, -1, (const uint64_t[6]){ 0, n });
	if (n > 0) {
		op->args[0] = plan_data(pl, keep, n * sizeof(*keep));
		op->rel = 1 << 0;
	}
	free(keep);
}

void
plan_bring_home(struct plan *pl, const struct host *h, size_t vma, size_t k)
{
	plan_what(pl, "maps:%zu", vma + 1);
	for (; k < h->pieces.n && h->pieces.v[k].vma == vma; k++) {
		const struct piece *c = &h->pieces.v[k];
		uint64_t len = c->end - c->start;
		struct op *op;

		if (c->at == c->start)
			continue;
		op = PLAN_CALL(pl, CHECK_IS, SYS_mremap, c->at, len, len,
		    MREMAP_MAYMOVE | MREMAP_FIXED, c->start);
		op->want = (int64_t)c->start;
	}
}

/* ---- before it ---- */

/* Over the place that is kept free for it, or over what the parent has. */
static void
map_piece(struct plan *pl, const struct process *p, const struct host *h,
    const struct piece *c)
{
	const struct vma *v = &p->vmas[c->vma];
	int flags = plan_mmap_flags(v, true) & ~MAP_FIXED_NOREPLACE;
	uint64_t len = c->end - c->start, offset = 0;
	int64_t fd = -1;
	struct op *op;

	if (v->kind != VMA_ANON) {
		fd = h->file_fds[v->file];
		offset = v->offset + (c->start - v->start);
	}
	plan_what(pl, "maps:%zu", c->vma + 1);
	op = PLAN_CALL(pl, CHECK_IS, SYS_mmap, c->at, len,
	    plan_first_prot(v, true), (uint64_t)(flags | MAP_FIXED),
	    (uint64_t)fd, offset);
	op->want = (int64_t)c->at;
	if (v->flags & VMA_F_HUGEPAGE)
		PLAN_CALL(
		    pl, CHECK_ANY, SYS_madvise, c->at, len, MADV_HUGEPAGE);
	if (v->flags & VMA_F_NOHUGEPAGE)
		PLAN_CALL(
		    pl, CHECK_ANY, SYS_madvise, c->at, len, MADV_NOHUGEPAGE);
}

static void
drop(struct plan *pl, const struct piece *c, uint64_t from, uint64_t to)
{
	if (from < to)
		PLAN_CALL(pl, CHECK_OK, SYS_madvise, c->at + (from - c->start),
		    to - from, MADV_DONTNEED);
}

/*
 * What the parent has and the child does not, or will have from its pager: `run`
 * is the first beyond.
 */
static void
drop_rest(
    struct plan *pl, const struct process *p, const struct piece *c, size_t run)
{
	uint64_t at = c->start;

	plan_what(pl, "maps:%zu", c->vma + 1);
	for (; run < p->nruns && p->runs[run].start < c->end; run++) {
		const struct run *r = &p->runs[run];

		if (r->kind != RUN_HELD || r->late)
			continue;
		drop(pl, c, at, r->start);
		if (r->end > at)
			at = r->end;
	}
	drop(pl, c, at, c->end);
}

static void
read_piece(struct plan *pl, const struct process *p, const struct host *h,
    const struct piece *c, size_t run, struct plan_reads *rd)
{
	for (; run < p->nruns && p->runs[run].start < c->end; run++) {
		struct run r = p->runs[run];

		if (r.kind != RUN_HELD || r.late ||
		    (c->inherited && inherit_is_same(&r)))
			continue;
		if (r.start < c->start) {
			r.offset += c->start - r.start;
			r.start = c->start;
		}
		if (r.end > c->end)
			r.end = c->end;
		plan_read(pl, h, rd, &r, c->at + (r.start - c->start));
	}
}

static void
fill_pieces(struct plan *pl, const struct process *p, const struct host *h)
{
	struct plan_reads rd = { .n = 0 };
	size_t run = 0;

	for (size_t i = 0; i < h->pieces.n; i++) {
		const struct piece *c = &h->pieces.v[i];

		while (run < p->nruns && p->runs[run].end <= c->start)
			run++;
		if (c->inherited)
			drop_rest(pl, p, c, run);
		else
			map_piece(pl, p, h, c);
	}
	plan_what(pl, "pages");
	run = 0;
	for (size_t i = 0; i < h->pieces.n; i++) {
		const struct piece *c = &h->pieces.v[i];

		while (run < p->nruns && p->runs[run].end <= c->start)
			run++;
		read_piece(pl, p, h, c, run, &rd);
	}
	plan_read(pl, h, &rd, NULL, 0);
}

int
plan_make_inherited(struct snap_ctx *cx, const struct process *p,
    const struct host *h, struct plan **out)
{
	struct plan *pl = calloc(1, sizeof(*pl));

	*out = NULL;
	if (pl == NULL)
		return snap_fail(cx, -ENOMEM, "no memory for the plan");
	plan_begin_lane(pl);
	plan_what(pl, "memory");
	/*
	 * What is read here must not bring zeros in a huge page to where the
	 * pager has still to put something.  plan_memory() sets it
	 * right when that is registered.
	 */
	if (h->paged)
		PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_SET_THP_DISABLE, 1);
	else
		plan_thp(pl, p, CHECK_ANY);
	fill_pieces(pl, p, h);
	plan_end_lane(pl);
	if (pl->failed) {
		plan_free(pl);
		return snap_fail(cx, -ENOMEM, "no memory for the plan");
	}
	*out = pl;
	return 0;
}
