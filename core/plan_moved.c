/*
 * plan_moved.c - what is kept across the great unmapping: our own vDSO, which
 * becomes the image's, and shared memory that has no file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ctx.h"
#include "plan.h"

#define PAGE 4096ull

/* As the kernel calls it, whatever its key. */
static bool
is_segment(const char *path)
{
	return strncmp(path, "/SYSV", 5) == 0 &&
	       strspn(path + 5, "0123456789abcdef") == 8 &&
	       strcmp(path + 13, " (deleted)") == 0;
}

bool
plan_is_anonymous_object(const struct vma *v)
{
	return v->kind == VMA_SHARED_ANON && v->shared &&
	       (strncmp(v->path, "/dev/zero", 9) == 0 ||
		   strncmp(v->path, "[anon_shmem:", 12) == 0 ||
		   is_segment(v->path));
}

static uint64_t
page_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

bool
plan_is_readonly(const struct process *p, const struct vma *v)
{
	return p->mapfiles[v->file].segment != NULL && !plan_writes_file(v);
}

/* NULL: no memory. */
static struct moved *
add_moved(struct plan *pl, struct range from, uint64_t len, int file)
{
	struct moved *m;

	m = process_grow(&pl->moved, &pl->nmoved, sizeof(*m));
	if (m == NULL) {
		pl->failed = true;
		return NULL;
	}
	m->from = from;
	m->off = pl->data_off;
	m->len = len;
	m->file = file;
	pl->data_off += len;
	return m;
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

const struct range *
plan_ours(const struct host *h, const struct vma *v)
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
		const struct range *r = plan_ours(h, v);
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
		add_moved(pl, *r, v->end - v->start, -1);
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

static void
move_object(struct plan *pl, const struct process *p, int file, uint64_t size)
{
	struct moved *m = add_moved(pl, (struct range){ 0, 0 }, size, file);

	if (m != NULL)
		m->flags = object_flags(p, file);
}

/* A segment that is attached in both ways is kept in both. */
static void
move_segment(struct plan *pl, const struct process *p, int file, uint64_t size)
{
	for (int readonly = 0; readonly < 2; readonly++) {
		struct moved *m;
		bool any = false;

		for (size_t i = 0; i < p->nvmas && !any; i++)
			any = plan_is_anonymous_object(&p->vmas[i]) &&
			      p->vmas[i].file == file &&
			      plan_is_readonly(p, &p->vmas[i]) == readonly;
		if (!any)
			continue;
		m = add_moved(pl, (struct range){ 0, 0 }, size, file);
		if (m != NULL)
			m->readonly = readonly != 0;
	}
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
		if (err == 0 && p->mapfiles[f].segment != NULL)
			move_segment(pl, p, (int)f, size[f]);
		else if (err == 0)
			move_object(pl, p, (int)f, size[f]);
	}
	free(size);
	return err;
}

int
plan_moved(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h)
{
	int err = 0;

	if (h->part != PLAN_INSTANCE)
		err = move_system_vmas(cx, pl, p, h);
	if (err == 0 && h->part != PLAN_INSTANCE)
		err = move_objects(cx, pl, p);
	pl->stacks_off = pl->data_off;
	/* One more for a template's spare. */
	pl->data_off += (p->nthreads + (h->part == PLAN_TEMPLATE)) * LANE_STACK;
	return err;
}
