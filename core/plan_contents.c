/*
 * plan_contents.c - the part of a plan that gives memory its bytes.
 */
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "pager.h"
#include "plan.h"
#include "uapi.h"

#define IOV_BYTES (1ull << 30) /* well below what one read may return */

/* Our own vDSO replaces the image's. */
static bool
is_read(const struct host *h, const struct vma *v)
{
	return !plan_is_system(v) && !(h->paged && pager_wants(v));
}

static int
pages_of(const struct host *h, uint32_t up)
{
	return up == 0 ? h->pages_fd : h->above_fds[up - 1];
}

/* Reads that follow one another in `pages` are one operation. */
void
plan_fill(struct plan *pl, const struct process *p, const struct host *h)
{
	struct iovec iov[IOV_MAX];
	uint64_t off = 0, total = 0;
	size_t n = 0, v = 0;
	uint32_t up = 0;

	plan_what(pl, "pages");
	for (size_t i = 0; i <= p->nruns; i++) {
		const struct run *r = i < p->nruns ? &p->runs[i] : NULL;
		struct op *op;

		if (r != NULL && r->kind != RUN_HELD)
			continue;
		while (r != NULL && v < p->nvmas && p->vmas[v].end <= r->start)
			v++;
		if (r != NULL && v < p->nvmas && !is_read(h, &p->vmas[v]))
			continue;
		if (n > 0 && (r == NULL || n == IOV_MAX || total >= IOV_BYTES ||
				 r->up != up || r->offset != off + total)) {
			op = plan_op(pl, OP_READ, CHECK_IS, SYS_preadv,
			    (const uint64_t[6]){ (uint64_t)pages_of(h, up),
				plan_data(pl, iov, n * sizeof(iov[0])), n,
				off });
			op->rel = 1 << 1;
			op->want = (int64_t)total;
			n = total = 0;
		}
		if (r == NULL)
			break;
		if (n == 0) {
			off = r->offset;
			up = r->up;
		}
		iov[n].iov_base = (void *)r->start;
		iov[n++].iov_len = r->end - r->start;
		total += r->end - r->start;
	}
}

/* From here on what was not read comes when it is touched. */
void
plan_pager(struct plan *pl, const struct host *h)
{
	plan_what(pl, "userfaultfd");
	if (h->paged)
		plan_op(pl, OP_UFFD, CHECK_OK, SYS_userfaultfd,
		    (const uint64_t[6]){ (uint64_t)h->uffd_fd });
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
