#include "written.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "freeze.h"
#include "mapped.h"
#include "memory.h"
#include "numa_areas.h"
#include "twin.h"
#include "uapi.h"
#include "vma.h"
#include "written_ahead.h"
#include "written_read.h"

#define PAGE 4096ull

/*
 * What a page costs: to be looked at by a fork, and to be copied.  What else
 * there is to do takes about as long in both ways.
 */
#define FORK_NS 50u
#define COPY_NS 1200u

#define MORE (4u << 20)

/* ---- what is there ---- */

int
written_add(struct written *w, size_t first, uint64_t start, uint64_t end,
    uint64_t categories)
{
	uint64_t pages = (end - start) / PAGE;

	if ((categories & UAPI_PAGE_IS_HUGE) == 0)
		w->resident += pages;
	if ((categories & UAPI_PAGE_IS_GUARD) != 0)
		return process_add_run(w->p, first, start, end, RUN_GUARD);
	if ((categories & (UAPI_PAGE_IS_FILE | UAPI_PAGE_IS_PFNZERO)) != 0)
		return 0;
	if ((categories & UAPI_PAGE_IS_WRITTEN) != 0)
		w->written_bytes += end - start;
	return process_add_run(w->p, first, start, end, RUN_HELD);
}

static int
find_in_vma(
    struct written *w, const struct seen *seen, const struct vma *v, size_t *i)
{
	size_t first = w->p->nruns;
	int err = 0;

	while (*i < seen->n && seen->v[*i].end <= v->start)
		++*i;
	for (; err == 0 && *i < seen->n && seen->v[*i].start < v->end; ++*i) {
		const struct seen_range *r = &seen->v[*i];

		err = written_add(w, first,
		    r->start > v->start ? r->start : v->start,
		    r->end < v->end ? r->end : v->end, r->is);
		/* Two VMAs that touch may be in one range. */
		if (r->end > v->end)
			break;
	}
	return err;
}

void
written_fini(struct written *w)
{
	spans_fini(&w->fresh);
}

int
written_find(struct written *w, const struct seen *seen, bool odd)
{
	size_t i = 0;
	int err = 0;

	w->odd = odd;
	for (size_t k = 0; !odd && err == 0 && k < w->p->nvmas; k++)
		err = find_in_vma(w, seen, &w->p->vmas[k], &i);
	return err;
}

bool
written_is_shorter(const struct written *w, uint64_t bytes)
{
	return !w->odd && bytes / PAGE * COPY_NS < w->resident * FORK_NS;
}

/*
 * The part of a run at `at` that is written, from *from to *to; both are its end
 * if there is none.  Both are in order, so the spans are gone through once: *k
 * moves on.
 */
static void
next_written(const struct run *r, uint64_t at, const struct spans *dirty,
    size_t *k, uint64_t *from, uint64_t *to)
{
	const struct span *s;

	while (*k < dirty->n && dirty->v[*k].end <= at)
		(*k)++;
	*from = *to = r->end;
	if (*k == dirty->n || dirty->v[*k].start >= r->end)
		return;
	s = &dirty->v[*k];
	*from = s->start > at ? s->start : at;
	*to = s->end < r->end ? s->end : r->end;
}

int
written_spans(
    const struct process *p, const struct spans *dirty, struct spans *held)
{
	uint64_t from, to;
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nruns; i++)
		for (uint64_t at = p->runs[i].start;
		     err == 0 && p->runs[i].kind == RUN_HELD &&
		     at < p->runs[i].end;
		     at = to) {
			next_written(&p->runs[i], at, dirty, &k, &from, &to);
			if (from < to)
				err = spans_add(held, from, to);
		}
	return err;
}

/* ---- copying ---- */

void
written_room_open(struct written_room *room, uint64_t expected)
{
	/* And some that may be written meanwhile, in whole chunks. */
	uint64_t more = expected / 4 < MORE ? expected / 4 : MORE;
	size_t size =
	    (expected + more) / WRITTEN_CHUNK * WRITTEN_CHUNK + WRITTEN_CHUNK;

	*room = (struct written_room){ .fd = -1 };
	room->fd = memfd_create("snapfs-written", MFD_CLOEXEC);
	if (room->fd < 0 || ftruncate(room->fd, (off_t)size) < 0)
		return;
	room->map = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_POPULATE, room->fd, 0);
	if (room->map == MAP_FAILED)
		room->map = NULL;
	else
		room->size = size;
}

void
written_room_close(struct written_room *room)
{
	if (room->map != NULL)
		munmap(room->map, room->size);
	if (room->fd >= 0)
		close(room->fd);
	*room = (struct written_room){ .fd = -1 };
}

/* What has no place yet gets one behind all others, in order. */
static int
list_left(const struct ahead *a, struct reading *rd)
{
	uint64_t free = a->at[a->slots.n], at, to, place;
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; i < a->left.n; i++) {
		const struct span *s = &a->left.v[i];

		for (at = s->start; err == 0 && at < s->end; at = to) {
			place = ahead_place(a, &k, at, s->end, &to);
			if (place == UINT64_MAX) {
				place = free;
				free += to - at;
			}
			err = reading_add(rd, at, to, place);
		}
	}
	return err;
}

int
written_copy(
    struct snap_ctx *cx, struct frozen *z, struct process *p, struct ahead *a)
{
	const struct readable of = { z->pid, z->mem };
	struct reading rd = { 0 };
	int err = a->room.fd < 0 ? -ENOMEM : 0;

	if (err == 0)
		err = mapped_collect_frozen(cx, z->pid, NULL, p);
	if (err == 0)
		err = list_left(a, &rd);
	if (err == 0)
		err = reading_do(cx, &of, &rd, &a->room);
	reading_fini(&rd);
	return err;
}

/* What is made of a process's runs. */
struct runs {
	struct process q; /* only runs */
	const struct ahead *a;
	size_t slot;   /* for ahead_place() */
	uint64_t free; /* as in list_left() */
};

static int
add_run(struct runs *rs, uint64_t start, uint64_t end, enum run_kind kind,
    uint64_t place)
{
	struct run *r = process_grow(&rs->q.runs, &rs->q.nruns, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->start = start;
	r->end = end;
	r->kind = kind;
	r->src_fd = rs->a->room.fd;
	r->src_off = place;
	return 0;
}

static int
take_written(struct runs *rs, uint64_t start, uint64_t end)
{
	uint64_t at, to, place;
	int err = 0;

	for (at = start; err == 0 && at < end; at = to) {
		place = ahead_place(rs->a, &rs->slot, at, end, &to);
		if (place == UINT64_MAX) {
			place = rs->free;
			rs->free += to - at;
		}
		err = add_run(rs, at, to, RUN_HELD, place);
	}
	return err;
}

static int
take_run(struct runs *rs, const struct run *r, size_t *k)
{
	uint64_t at = r->start, from, to;
	int err = 0;

	while (err == 0 && at < r->end) {
		next_written(r, at, &rs->a->written, k, &from, &to);
		if (from > at)
			err = add_run(rs, at, from, RUN_PARENT, 0);
		if (err == 0 && from < to)
			err = take_written(rs, from, to);
		at = to;
	}
	return err;
}

int
written_runs(struct process *p, struct ahead *a)
{
	struct runs rs = { .a = a, .free = a->at[a->slots.n] };
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		if (r->kind == RUN_HELD)
			err = take_run(&rs, r, &k);
		else
			err = process_add_run(
			    &rs.q, rs.q.nruns, r->start, r->end, r->kind);
	}
	free(p->runs);
	p->runs = rs.q.runs;
	p->nruns = rs.q.nruns;
	p->frozen_fd = a->room.fd;
	a->room.fd = -1;
	return err;
}

/* ---- of the process as it goes on ---- */

/* Bytes of the copy, if they are in it. */
static void
put(const struct process *p, uint64_t at, const void *bytes, size_t n)
{
	for (size_t i = 0; i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		if (r->kind == RUN_HELD && r->start <= at && at + n <= r->end)
			(void)contents_write(p->frozen_fd, bytes, n,
			    r->src_off + (at - r->start));
	}
}

/* As twin_forget_cpu(): what is not in the copy is as its parent has it. */
static void
forget_cpu(const struct process *p)
{
	struct rseq_blank blank = RSEQ_BLANK;

	for (size_t i = 0; i < p->nthreads; i++) {
		uint64_t at = p->threads[i].rseq;

		if (at == 0 || at > UINT64_MAX - RSEQ_NODE - RSEQ_HALF)
			continue;
		put(p, at, &blank.cpu_id_start, RSEQ_HALF);
		put(p, at + RSEQ_NODE, &blank.node_id, RSEQ_HALF);
	}
}

const struct vma *
written_differs(
    const struct process *p, const struct vma_flags *before, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		uint64_t was = 0;

		while (k < n && before[k].end <= v->start)
			k++;
		if (k < n && before[k].start <= v->start)
			was = before[k].flags;
		if (((v->flags ^ was) & VMA_F_CHANGING) != 0)
			return v;
	}
	return NULL;
}

static int
stale(struct snap_ctx *cx, const struct vma *v, const char *what)
{
	return snap_fail(cx, -ESTALE, "vma %lx-%lx: its %s changed",
	    (unsigned long)v->start, (unsigned long)v->end, what);
}

/* A file may have been unmapped before it was looked at. */
static int
same_files(struct snap_ctx *cx, const struct process *p)
{
	struct process *q = process_new();
	const struct vma *u;
	int err = q == NULL ? -ENOMEM : memory_collect_vmas(cx, p->pid, q);

	for (size_t i = 0; err == 0 && i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (v->ino == 0)
			continue;
		u = vma_find(q, v->start);
		if (u == NULL || u->start != v->start || u->end != v->end ||
		    u->offset != v->offset || u->ino != v->ino ||
		    u->minor != v->minor || u->major != v->major)
			err = stale(cx, v, "file");
	}
	process_free(q);
	return err;
}

static int
by_place(const void *a, const void *b)
{
	const struct span *s = a, *t = b;

	return s->start < t->start ? -1 : s->start > t->start;
}

/* What of the room no run has is given back. */
static int
give_back(const struct process *p)
{
	struct span *v = calloc(p->nruns + 1, sizeof(*v));
	uint64_t at = 0;
	size_t n = 0;
	int err = 0;

	if (v == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < p->nruns; i++) {
		const struct run *r = &p->runs[i];

		if (r->kind == RUN_HELD)
			v[n++] = (struct span){ r->src_off,
				r->src_off + (r->end - r->start) };
	}
	qsort(v, n, sizeof(*v), by_place);
	for (size_t i = 0; err == 0 && i < n; at = v[i++].end)
		if (v[i].start > at &&
		    fallocate(p->frozen_fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
			(off_t)(v[i].start - at)) < 0)
			err = -errno;
	if (err == 0 && ftruncate(p->frozen_fd, (off_t)at) < 0)
		err = -errno;
	free(v);
	return err;
}

int
written_settle(struct snap_ctx *cx, struct process *p,
    const struct vma_flags *before, size_t n)
{
	const struct vma *v;
	int err;

	err = give_back(p);
	if (err < 0)
		return err;
	forget_cpu(p);
	err = mapped_collect_late(cx, p->pid, p);
	if (err == 0)
		err = memory_collect_running_flags(cx, p);
	if (err == 0)
		err = numa_areas_collect_frozen(cx, p);
	if (err == 0)
		err = same_files(cx, p);
	if (err < 0)
		return err;
	for (size_t i = 0; i < p->nvmas; i++)
		if (p->vmas[i].numa != NULL)
			return stale(cx, &p->vmas[i], "NUMA policy");
	v = written_differs(p, before, n);
	return v == NULL ? 0 : stale(cx, v, "flags");
}
