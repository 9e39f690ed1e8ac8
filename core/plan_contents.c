/*
 * plan_contents.c - the part of a plan that gives memory its bytes.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "pager.h"
#include "plan.h"
#include "uapi.h"

#define IOV_BYTES (1ull << 30) /* well below what one read may return */

bool
plan_is_paged(const struct host *h, const struct vma *v)
{
	return h->paged && pager_wants(v);
}

static int
pages_of(const struct host *h, uint32_t src)
{
	return src == 0 ? h->pages_fd : h->source_fds[src - 1];
}

void
plan_read(struct plan *pl, const struct host *h, struct plan_reads *rd,
    const struct run *r, uint64_t at)
{
	struct op *op;

	if (rd->n > 0 &&
	    (r == NULL || rd->n == IOV_MAX || rd->total >= IOV_BYTES ||
		r->src != rd->src || r->offset != rd->off + rd->total)) {
		op = plan_op(pl, OP_READ, CHECK_IS, SYS_preadv,
		    (const uint64_t[6]){ (uint64_t)pages_of(h, rd->src),
			plan_data(pl, rd->iov, rd->n * sizeof(rd->iov[0])),
			rd->n, rd->off });
		op->rel = 1 << 1;
		op->want = (int64_t)rd->total;
		rd->n = rd->total = 0;
	}
	if (r == NULL)
		return;
	if (rd->n == 0) {
		rd->off = r->offset;
		rd->src = r->src;
	}
	rd->iov[rd->n].iov_base = (void *)at;
	rd->iov[rd->n++].iov_len = r->end - r->start;
	rd->total += r->end - r->start;
}

void
plan_fill(struct plan *pl, const struct process *p, const struct host *h)
{
	struct plan_reads rd = { .n = 0 };
	size_t v = 0, k = 0;

	plan_what(pl, "pages");
	for (size_t i = 0; i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		if (r->kind != RUN_HELD || r->late)
			continue;
		while (v < p->nvmas && p->vmas[v].end <= r->start)
			v++;
		/* Our own vDSO replaces the image's. */
		if (v == p->nvmas ||
		    (!plan_is_system(&p->vmas[v]) && !plan_is_there(h, v, &k)))
			plan_read(pl, h, &rd, r, r->start);
	}
	plan_read(pl, h, &rd, NULL, 0);
}

/* Its memory is mapped. */
void
plan_pager_begin(struct plan *pl, const struct host *h)
{
	plan_what(pl, "userfaultfd");
	plan_op(pl, OP_UFFD, CHECK_OK, SYS_userfaultfd,
	    (const uint64_t[6]){ (uint64_t)h->uffd_fd });
}

/* From here on what is touched comes. */
void
plan_pager_await(struct plan *pl)
{
	plan_what(pl, "userfaultfd");
	plan_op(pl, OP_TAKEN, CHECK_OK, SYS_close, (const uint64_t[6]){ 0 });
}

void
plan_guards(struct plan *pl, const struct process *p)
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
void
plan_patch(struct plan *pl, const struct host *h)
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
