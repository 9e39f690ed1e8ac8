#include "pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "uapi.h"

/* Bits of an entry of the file. */
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE (1ull << 61)
#define ENTRY_GUARD (1ull << 58)

#define PAGE 4096u
#define HUGE (2u << 20)
#define NENTRIES 8192

/*
 * Neither the file's nor the zero page, but present, swapped or (a guard page
 * counts as swapped) guarded.  Returns the number of regions; *at moves on.
 */
static int
scan(const struct pagemap *pm, uint64_t *at, uint64_t end,
    struct uapi_page_region *v, size_t n, uint64_t max_pages)
{
	struct uapi_pm_scan_arg a = {
		.size = sizeof(a),
		.start = *at,
		.end = end,
		.vec = (uintptr_t)v,
		.vec_len = n,
		.max_pages = max_pages,
		.category_inverted = UAPI_PAGE_IS_FILE | UAPI_PAGE_IS_PFNZERO,
		.category_mask = UAPI_PAGE_IS_FILE | UAPI_PAGE_IS_PFNZERO,
		.category_anyof_mask =
		    UAPI_PAGE_IS_PRESENT | UAPI_PAGE_IS_SWAPPED | pm->guard,
		.return_mask =
		    pm->guard != 0 ? pm->guard : UAPI_PAGE_IS_PFNZERO,
	};
	int r;

	do {
		r = ioctl(pm->fd, UAPI_PAGEMAP_SCAN, &a);
	} while (r < 0 && errno == EINTR);
	*at = a.walk_end;
	return r < 0 ? -errno : r;
}

int
pagemap_open(struct snap_ctx *cx, pid_t pid, struct pagemap *pm)
{
	struct uapi_page_region v[1];
	uint64_t at;

	pm->fd = proc_open(cx, pid, "pagemap", O_RDONLY);
	if (pm->fd < 0)
		return pm->fd;
	/* an empty range tells what the kernel understands */
	at = PAGE;
	pm->guard = UAPI_PAGE_IS_GUARD;
	pm->scan = scan(pm, &at, PAGE, v, 1, 0) >= 0;
	if (!pm->scan) {
		at = PAGE;
		pm->guard = 0;
		pm->scan = scan(pm, &at, PAGE, v, 1, 0) >= 0;
	}
	return 0;
}

void
pagemap_close(struct pagemap *pm)
{
	if (pm->fd >= 0)
		close(pm->fd);
	pm->fd = -1;
}

static int
fail(struct snap_ctx *cx, int err)
{
	return snap_fail(cx, err, "reading the pagemap: %s", strerror(-err));
}

static int
runs_by_scan(
    const struct pagemap *pm, uint64_t at, uint64_t end, struct process *p)
{
	struct uapi_page_region v[UAPI_PAGEMAP_REGIONS];
	size_t first = p->nruns;
	int n, err = 0;

	while (at < end && err == 0) {
		uint64_t before = at;

		n = scan(pm, &at, end, v, UAPI_PAGEMAP_REGIONS, 0);
		if (n < 0)
			return n;
		if (at <= before && n == 0)
			return -EIO;
		for (int i = 0; i < n && err == 0; i++)
			err = process_add_run(p, first, v[i].start, v[i].end,
			    v[i].categories & pm->guard ? RUN_GUARD : RUN_HELD);
	}
	return err;
}

/* The number of entries read from *at on, which moves; 0 at the end. */
static ssize_t
entries(const struct pagemap *pm, uint64_t at, uint64_t end, uint64_t *v)
{
	uint64_t want = (end - at) / PAGE;
	ssize_t n;

	if (want > NENTRIES)
		want = NENTRIES;
	do {
		n = pread(pm->fd, v, want * 8, (off_t)(at / PAGE * 8));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n / 8;
}

static bool
entry_kind(uint64_t e, enum run_kind *kind)
{
	*kind = e & ENTRY_GUARD ? RUN_GUARD : RUN_HELD;
	return (e & (ENTRY_PRESENT | ENTRY_SWAPPED)) != 0 &&
	       (e & ENTRY_FILE) == 0;
}

static int
runs_by_entries(
    const struct pagemap *pm, uint64_t at, uint64_t end, struct process *p)
{
	uint64_t v[NENTRIES];
	size_t first = p->nruns;
	enum run_kind kind;
	ssize_t n;

	while (at < end) {
		n = entries(pm, at, end, v);
		if (n <= 0)
			return n == 0 ? -EIO : (int)n;
		for (ssize_t i = 0; i < n; i++, at += PAGE)
			if (entry_kind(v[i], &kind) &&
			    process_add_run(p, first, at, at + PAGE, kind) < 0)
				return -ENOMEM;
	}
	return 0;
}

int
pagemap_runs(struct snap_ctx *cx, const struct pagemap *pm, uint64_t start,
    uint64_t end, struct process *p)
{
	int err;

	err = pm->scan ? runs_by_scan(pm, start, end, p)
		       : runs_by_entries(pm, start, end, p);
	return err < 0 ? fail(cx, err) : 0;
}

int
pagemap_huge(
    const struct pagemap *pm, uint64_t start, uint64_t end, struct process *p)
{
	struct uapi_page_region v[UAPI_PAGEMAP_REGIONS];
	struct uapi_pm_scan_arg a = {
		.size = sizeof(a),
		.start = start,
		.end = end,
		.vec = (uintptr_t)v,
		.vec_len = UAPI_PAGEMAP_REGIONS,
		.category_mask = UAPI_PAGE_IS_HUGE,
		.return_mask = UAPI_PAGE_IS_HUGE,
	};
	int n = 0;

	if (!pm->scan || end - start < HUGE)
		return 0;
	for (; a.start < end && n >= 0; a.start = a.walk_end) {
		n = ioctl(pm->fd, UAPI_PAGEMAP_SCAN, &a);
		if (n == 0 && a.walk_end <= a.start)
			break;
		for (int i = 0; i < n; i++) {
			struct part *part =
			    process_grow(&p->huge, &p->nhuge, sizeof(*part));

			if (part == NULL)
				return -ENOMEM;
			*part = (struct part){ v[i].start, v[i].end };
		}
	}
	return 0;
}

int
pagemap_guards(const struct pagemap *pm, uint64_t start, uint64_t end,
    uint64_t *from, uint64_t *to)
{
	struct uapi_page_region r;
	struct uapi_pm_scan_arg a = {
		.size = sizeof(a),
		.start = start,
		.end = end,
		.vec = (uintptr_t)&r,
		.vec_len = 1,
		.category_mask = pm->guard,
		.return_mask = pm->guard,
	};
	int n;

	if (pm->fd < 0 || !pm->scan || pm->guard == 0)
		return 0;
	do
		n = ioctl(pm->fd, UAPI_PAGEMAP_SCAN, &a);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	*from = r.start;
	*to = r.end;
	return 1;
}

int
pagemap_any(
    struct snap_ctx *cx, const struct pagemap *pm, uint64_t start, uint64_t end)
{
	struct uapi_page_region region;
	uint64_t v[NENTRIES];
	enum run_kind kind;
	ssize_t n;

	if (pm->scan) {
		n = scan(pm, &start, end, &region, 1, 1);
		return n < 0 ? fail(cx, (int)n) : n > 0;
	}
	while (start < end) {
		n = entries(pm, start, end, v);
		if (n <= 0)
			return fail(cx, n == 0 ? -EIO : (int)n);
		for (ssize_t i = 0; i < n; i++, start += PAGE)
			if (entry_kind(v[i], &kind))
				return 1;
	}
	return 0;
}
