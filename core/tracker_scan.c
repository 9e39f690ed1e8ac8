/*
 * tracker_scan.c - which pages of a mapping were written, and what is there.
 *
 * The kernel has a short way for those who ask only what was written, 0.2 ms for
 * a GiB, and a long one for those who ask more, some times that.  On the short
 * one a page that is not there is written, too.  So where it is known what was
 * there at the scan before, the short one is gone all along, and the long one
 * only through what it told; all else is as it was.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "pagemap.h"
#include "tracker.h"
#include "uapi.h"

#define PAGE 4096ull

/* The long way is not longer than the short one and then a call for a part. */
#define SMALL (64 * PAGE)

/* To ask anew costs as much as to go on over so much. */
#define GAP (512 * PAGE)

/* To tell a file's pages the kernel looks at each; that of more takes long. */
#define FILE_MAX (256ull << 20)

#define WRITTEN UAPI_PAGE_IS_WRITTEN
#define THERE (UAPI_PAGE_IS_PRESENT | UAPI_PAGE_IS_SWAPPED)

struct scan {
	const struct tracker_kernel *k;
	const struct vma *v;
	struct spans *dirty; /* NULL: all is, and not told */
	struct seen *seen;   /* NULL: only what was written */
};

typedef int take_fn(struct scan *s, const struct uapi_page_region *r);

static int
ask(struct scan *s, struct uapi_pm_scan_arg a, uint64_t start, uint64_t end,
    take_fn *take)
{
	struct uapi_page_region v[UAPI_PAGEMAP_REGIONS];
	int n, err;

	a.size = sizeof(a);
	a.flags |= UAPI_PM_SCAN_CHECK_WPASYNC;
	a.end = end;
	a.vec = (uintptr_t)v;
	a.vec_len = UAPI_PAGEMAP_REGIONS;
	for (uint64_t at = start; at < end; at = a.walk_end) {
		a.start = at;
		n = ioctl(s->k->pagemap, UAPI_PAGEMAP_SCAN, &a);
		if (n < 0)
			return -errno;
		if (a.walk_end <= at)
			return -EIO;
		for (int i = 0; i < n; i++) {
			err = take(s, &v[i]);
			if (err < 0)
				return err;
		}
	}
	return 0;
}

/* ---- the short way ---- */

static int
take_written(struct scan *s, const struct uapi_page_region *r)
{
	return spans_add(s->dirty, r->start, r->end);
}

/* Nothing is changed. */
int
tracker_scan_written(int pagemap, const struct vma *v, struct spans *written)
{
	struct tracker_kernel k = { .pagemap = pagemap };
	struct scan s = { .k = &k, .v = v, .dirty = written };
	const struct uapi_pm_scan_arg a = {
		.category_mask = WRITTEN,
		.return_mask = WRITTEN,
	};

	return ask(&s, a, v->start, v->end, take_written);
}

/* ---- the long way ---- */

/*
 * A page of a file that is neither there nor written may be but a mark of the
 * kernel's, where a protected page was: its parent does not hold that.  To count
 * it as written is right for both.
 */
static uint64_t
real_categories(const struct scan *s, const struct uapi_page_region *r)
{
	if (s->dirty == NULL ||
	    (s->seen != NULL && s->v->kind == VMA_FILE &&
		(r->categories & UAPI_PAGE_IS_PRESENT) == 0))
		return r->categories | WRITTEN;
	return r->categories;
}

static int
take_region(struct scan *s, const struct uapi_page_region *r)
{
	uint64_t is = real_categories(s, r);
	int err = 0;

	if (s->dirty != NULL && (is & WRITTEN) != 0)
		err = spans_add(s->dirty, r->start, r->end);
	if (err == 0 && s->seen != NULL)
		err = seen_add(s->seen, r->start, r->end, is);
	return err;
}

/*
 * Tell and protect again what was written; with `all`, tell what was not, too.
 * Only pages that are there are asked for: else the kernel puts a mark where
 * none is, which then looks like a page that is swapped out.
 */
static int
look(struct scan *s, uint64_t start, uint64_t end, bool all)
{
	struct uapi_pm_scan_arg a = {
		.flags = UAPI_PM_SCAN_WP_MATCHING,
		.category_mask = all ? 0 : WRITTEN,
		.category_anyof_mask = THERE,
		.return_mask = WRITTEN,
	};

	/* Of anonymous memory nothing is a file's. */
	if (s->seen != NULL)
		a.return_mask |=
		    THERE | UAPI_PAGE_IS_PFNZERO | UAPI_PAGE_IS_HUGE |
		    s->k->guard |
		    (s->v->kind == VMA_FILE ? UAPI_PAGE_IS_FILE : 0);
	return ask(s, a, start, end, take_region);
}

static int
look_at_all(struct scan *s)
{
	return look(s, s->v->start, s->v->end, s->seen != NULL);
}

/* ---- both ---- */

/*
 * Of a file, what was a page of the process's own may have become a mark: see
 * above.  So that is looked at each time.
 */
static int
add_own(const struct vma *v, const struct seen *before, struct spans *again)
{
	struct spans own = { 0 };
	int err = 0;

	for (size_t i = seen_first(before, v->start);
	     err == 0 && i < before->n && before->v[i].start < v->end; i++) {
		const struct seen_range *r = &before->v[i];

		/* One may begin or end in another VMA. */
		if ((r->is & UAPI_PAGE_IS_FILE) == 0)
			err = spans_add(&own,
			    r->start > v->start ? r->start : v->start,
			    r->end < v->end ? r->end : v->end);
	}
	if (err == 0 && own.n > 0)
		err = spans_unite(again, &own);
	spans_fini(&own);
	return err;
}

/* Through these, with what is between them if that is little. */
static int
look_again(struct scan *s, const struct spans *again)
{
	uint64_t start, end;
	int err = 0;

	for (size_t i = 0; err == 0 && i < again->n;) {
		start = again->v[i].start;
		end = again->v[i].end;
		while (++i < again->n && again->v[i].start - end <= GAP)
			end = again->v[i].end;
		err = look(s, start, end, s->v->kind == VMA_FILE);
	}
	return err;
}

/* What somebody wrote in between, who is not frozen, counts as well. */
static int
add_seen(struct spans *again, const struct seen *fresh)
{
	struct spans more = { 0 };
	int err = 0;

	for (size_t i = 0; err == 0 && i < fresh->n; i++)
		err = spans_add(&more, fresh->v[i].start, fresh->v[i].end);
	if (err == 0)
		err = spans_unite(again, &more);
	spans_fini(&more);
	return err;
}

static int
look_where_written(struct scan *s, const struct seen *before)
{
	struct seen *now = s->seen, fresh = { 0 };
	struct spans again = { 0 };
	int err;

	err = tracker_scan_written(s->k->pagemap, s->v, &again);
	if (err == 0 && s->v->kind == VMA_FILE)
		err = add_own(s->v, before, &again);
	s->seen = &fresh;
	if (err == 0)
		err = look_again(s, &again);
	s->seen = now;
	if (err == 0 && fresh.n > 0)
		err = add_seen(&again, &fresh);
	if (err == 0)
		err = seen_renew(
		    now, before, s->v->start, s->v->end, &again, &fresh);
	seen_fini(&fresh);
	spans_fini(&again);
	return err;
}

/* What was told of a VMA is taken back. */
struct mark {
	size_t dirty, seen;
	struct span last_dirty;
	struct seen_range last_seen;
};

static struct mark
mark(const struct spans *dirty, const struct seen *seen)
{
	struct mark m = { .dirty = dirty->n, .seen = seen->n };

	if (m.dirty > 0)
		m.last_dirty = dirty->v[m.dirty - 1];
	if (m.seen > 0)
		m.last_seen = seen->v[m.seen - 1];
	return m;
}

static void
back_to(const struct mark *m, struct spans *dirty, struct seen *seen)
{
	dirty->n = m->dirty;
	if (m->dirty > 0)
		dirty->v[m->dirty - 1] = m->last_dirty;
	seen->n = m->seen;
	if (m->seen > 0)
		seen->v[m->seen - 1] = m->last_seen;
}

int
tracker_scan_vma(const struct tracker_kernel *k, const struct vma *v,
    const struct seen *before, struct spans *dirty, struct tracker_seen *now)
{
	struct scan s = { k, v, dirty, &now->seen };
	const struct mark begin = mark(dirty, &now->seen);
	uint64_t size = v->end - v->start;
	int err;

	if (v->kind == VMA_FILE && size > FILE_MAX)
		now->odd = true;
	if (now->odd)
		s.seen = NULL;
	/* What another tracker has registered can be scanned, and is not ours. */
	if (k->fresh)
		err = -EPERM;
	else
		err = s.seen == NULL || before == NULL || size <= SMALL
			  ? look_at_all(&s)
			  : look_where_written(&s, before);
	if (err != -EPERM)
		return err;
	/* If it is not frozen it may be more than one VMA by now. */
	back_to(&begin, dirty, &now->seen);
	err = tracker_watch(k->uffd, v);
	s.dirty = NULL;
	if (err == 0)
		err = look_at_all(&s);
	/* Of this kind it can never be; then all of it counts, each time. */
	if (err == -EINVAL)
		now->odd = true;
	if (err == -EINVAL || err == 0)
		return spans_add(dirty, v->start, v->end);
	/* ENOMEM is what the kernel says of a memory that nobody has any more. */
	return err == -EPERM || err == -ENOMEM ? -ESRCH : err;
}
