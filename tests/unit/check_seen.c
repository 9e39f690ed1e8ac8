/*
 * check_seen.c - what was seen in a scan, and then in part again, beside a map
 * of bytes; and what a scan of real memory sees that builds on the one before,
 * beside one that looks at all of it.
 */
#include <check.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pagemap.h"
#include "tracker.h"
#include "uapi.h"
#include "unit.h"

#define N 200u
#define W UAPI_PAGE_IS_WRITTEN

static unsigned seed = 1;

static unsigned
rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

/* ---- pure ---- */

/* 0: nothing is there. */
static void
fill(struct seen *s, uint64_t bytes[N])
{
	unsigned at = 0, start, end;
	uint64_t is;

	memset(bytes, 0, N * sizeof(*bytes));
	while (at < N) {
		start = at + rnd(3) * rnd(9);
		end = start + 1 + rnd(15);
		is = 4u << rnd(3) | (rnd(2) ? W : 0);
		if (end > N)
			break;
		ck_assert_int_eq(seen_add(s, start, end, is), 0);
		for (unsigned i = start; i < end; i++)
			bytes[i] = is;
		at = end;
	}
}

static void
same(const struct seen *s, const uint64_t bytes[N])
{
	uint64_t at = 0;

	for (size_t i = 0; i < s->n; i++) {
		ck_assert_uint_lt(s->v[i].start, s->v[i].end);
		ck_assert_uint_le(at, s->v[i].start);
		for (; at < s->v[i].start; at++)
			ck_assert_uint_eq(bytes[at], 0);
		for (; at < s->v[i].end; at++)
			ck_assert_uint_eq(bytes[at], s->v[i].is);
	}
	for (; at < N; at++)
		ck_assert_uint_eq(bytes[at], 0);
}

/* What was looked at again, as `fresh` has it: only there it has anything. */
static void
look_again(struct spans *again, struct seen *fresh, uint64_t bytes[N],
    unsigned start, unsigned end)
{
	unsigned at = start, to, part;
	uint64_t is;

	while (at < end) {
		at += rnd(20);
		to = at + 1 + rnd(12);
		if (to > end)
			break;
		ck_assert_int_eq(spans_add(again, at, to), 0);
		for (; at < to; at = part) {
			part = at + 1 + rnd(to - at);
			is = rnd(3) == 0 ? 0 : 4u << rnd(3) | W;
			if (is != 0)
				ck_assert_int_eq(
				    seen_add(fresh, at, part, is), 0);
			for (unsigned i = at; i < part; i++)
				bytes[i] = is;
		}
	}
}

START_TEST(as_bytes)
{
	uint64_t bytes[N];
	unsigned start, end;

	for (int round = 0; round < 500; round++) {
		struct seen now = { 0 }, before = { 0 }, fresh = { 0 };
		struct spans again = { 0 };

		fill(&before, bytes);
		same(&before, bytes);
		start = rnd(N);
		end = start + 1 + rnd(N - start);
		for (unsigned i = 0; i < N; i++)
			bytes[i] = i < start || i >= end ? 0 : bytes[i] & ~W;
		look_again(&again, &fresh, bytes, start, end);
		ck_assert_int_eq(
		    seen_renew(&now, &before, start, end, &again, &fresh), 0);
		same(&now, bytes);
		spans_fini(&again);
		seen_fini(&now);
		seen_fini(&before);
		seen_fini(&fresh);
	}
}
END_TEST

START_TEST(first)
{
	struct seen s = { 0 };

	ck_assert_uint_eq(seen_first(&s, 5), 0);
	ck_assert_int_eq(seen_add(&s, 2, 4, 8), 0);
	ck_assert_int_eq(seen_add(&s, 4, 5, 16), 0);
	ck_assert_int_eq(seen_add(&s, 7, 9, 16), 0);
	ck_assert_uint_eq(s.n, 3);
	ck_assert_uint_eq(seen_first(&s, 0), 0);
	ck_assert_uint_eq(seen_first(&s, 3), 0);
	ck_assert_uint_eq(seen_first(&s, 4), 1);
	ck_assert_uint_eq(seen_first(&s, 5), 2);
	ck_assert_uint_eq(seen_first(&s, 9), 3);
	seen_fini(&s);
}
END_TEST

/* ---- real memory ---- */

#define PAGE 4096ul
#define PAGES 3000u
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

struct memory {
	struct tracker_kernel k;
	struct vma v;
	char *at;
	int file;
	bool guards[PAGES];
	bool written[PAGES];
	struct seen before;
};

static int
userfaultfd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UAPI_UFFD_FEATURE_WP_ASYNC |
			    UAPI_UFFD_FEATURE_WP_UNPOPULATED,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
open_memory(struct memory *m, bool of_file)
{
	struct pagemap pm;

	*m = (struct memory){ .file = -1 };
	m->k.uffd = userfaultfd();
	ck_assert_int_ge(m->k.uffd, 0);
	ck_assert_int_eq(pagemap_open(NULL, getpid(), &pm), 0);
	m->k.pagemap = pm.fd;
	m->k.guard = pm.guard;
	if (of_file) {
		m->file = memfd_create("check_seen", MFD_CLOEXEC);
		ck_assert_int_eq(ftruncate(m->file, PAGES * PAGE), 0);
	}
	m->at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
	    of_file ? MAP_PRIVATE : MAP_PRIVATE | MAP_ANONYMOUS, m->file, 0);
	ck_assert_ptr_ne(m->at, MAP_FAILED);
	m->v = (struct vma){
		.start = (uintptr_t)m->at,
		.end = (uintptr_t)m->at + PAGES * PAGE,
		.kind = of_file ? VMA_FILE : VMA_ANON,
	};
}

static void
close_memory(struct memory *m)
{
	munmap(m->at, PAGES * PAGE);
	seen_fini(&m->before);
	close(m->k.pagemap);
	close(m->k.uffd);
	if (m->file >= 0)
		close(m->file);
}

static void
write_to(struct memory *m, unsigned page, unsigned n)
{
	for (; n-- > 0; page++)
		if (!m->guards[page]) {
			m->at[page * PAGE + rnd(PAGE)]++;
			m->written[page] = true;
		}
}

static void
read_from(struct memory *m, unsigned page, unsigned n)
{
	for (; n-- > 0; page++)
		if (!m->guards[page])
			(void)*(volatile char *)(m->at + page * PAGE);
}

static void
guard(struct memory *m, unsigned page, unsigned n)
{
	bool on = rnd(2);

	if (madvise(m->at + page * PAGE, n * PAGE,
		on ? GUARD_INSTALL : GUARD_REMOVE) != 0)
		return;
	memset(m->guards + page, on, n * sizeof(*m->guards));
	memset(m->written + page, 0, n * sizeof(*m->written));
}

/* What is there is elsewhere then. */
static void
move_away(struct memory *m, unsigned page, unsigned n)
{
	char *at = mremap(m->at + page * PAGE, n * PAGE, n * PAGE,
	    MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	if (at == MAP_FAILED)
		return;
	munmap(at, n * PAGE);
	memset(m->guards + page, 0, n * sizeof(*m->guards));
	memset(m->written + page, 0, n * sizeof(*m->written));
}

static void
change(struct memory *m)
{
	static const int advices[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_FREE,
		MADV_PAGEOUT, MADV_HUGEPAGE, UAPI_MADV_COLLAPSE,
		MADV_NOHUGEPAGE };
	unsigned page = rnd(PAGES);
	unsigned n = 1 + rnd(rnd(4) == 0 ? PAGES - page : 1);
	int advice = advices[rnd(7)];
	char *at = m->at + page * PAGE;

	switch (rnd(8)) {
	case 0:
		if (madvise(at, n * PAGE, advice) == 0 &&
		    (advice == MADV_DONTNEED || advice == MADV_FREE))
			memset(m->written + page, 0, n * sizeof(*m->written));
		break;
	case 1:
		read_from(m, page, n);
		break;
	case 2:
		/* Of a file Linux 6.18 tries it for ever. */
		if (m->file < 0)
			guard(m, page, n);
		break;
	case 3:
		mprotect(at, n * PAGE, PROT_NONE);
		mprotect(at, n * PAGE, PROT_READ | PROT_WRITE);
		break;
	case 4:
		if (rnd(4) == 0 && m->file < 0)
			move_away(m, page, n);
		else if (rnd(4) == 0 && m->file >= 0)
			(void)fallocate(m->file,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    (off_t)(page * PAGE), (off_t)(n * PAGE));
		break;
	default:
		write_to(m, page, n);
	}
}

/*
 * As far as an image is concerned.  What is not there of a file is the file's, or
 * but a mark of the kernel's, which a whole scan cannot tell from what is swapped.
 */
static uint64_t
kind(const struct memory *m, const struct seen_range *r)
{
	if (m->file >= 0 && (r->is & UAPI_PAGE_IS_PRESENT) == 0)
		return UAPI_PAGE_IS_FILE;
	return r->is &
	       (UAPI_PAGE_IS_PFNZERO | UAPI_PAGE_IS_GUARD | UAPI_PAGE_IS_FILE);
}

/* Of huge pages that it splits the kernel makes zero pages, if they are zero. */
static bool
became_zero(const struct memory *m, uint64_t start, uint64_t end)
{
	const char *at = m->at + (start - m->v.start);

	for (uint64_t i = 0; i < end - start; i++)
		if (at[i] != 0)
			return false;
	return true;
}

static void
same_kinds(
    const struct memory *m, const struct seen *now, const struct seen *all)
{
	size_t i = 0, k = 0;
	uint64_t at = 0, end;

	while (i < now->n && k < all->n) {
		const struct seen_range *x = &now->v[i], *y = &all->v[k];

		ck_assert_uint_eq(x->start > at ? x->start : at,
		    y->start > at ? y->start : at);
		if (at < x->start)
			at = x->start;
		end = x->end < y->end ? x->end : y->end;
		if (kind(m, x) != kind(m, y)) {
			ck_assert_uint_eq(kind(m, x), 0);
			ck_assert_uint_eq(kind(m, y), UAPI_PAGE_IS_PFNZERO);
			ck_assert(became_zero(m, at, end));
		}
		i += x->end == end;
		k += y->end == end;
		at = end;
	}
	ck_assert_uint_eq(i, now->n);
	ck_assert_uint_eq(k, all->n);
}

static void
scan(struct memory *m, const struct seen *before, struct spans *dirty,
    struct tracker_seen *now)
{
	ck_assert_int_eq(tracker_scan_vma(&m->k, &m->v, before, dirty, now), 0);
	ck_assert(!now->odd);
}

static void
check_scan(struct memory *m)
{
	struct tracker_seen now = { 0 }, all = { 0 };
	struct spans dirty = { 0 }, rest = { 0 };
	uint64_t end;

	scan(m, m->before.n == 0 ? NULL : &m->before, &dirty, &now);
	for (unsigned i = 0; i < PAGES; i++)
		if (m->written[i] && !spans_contain(&dirty,
					 m->v.start + i * PAGE, m->v.end, &end))
			ck_abort_msg("page %u was written", i);
	memset(m->written, 0, sizeof(m->written));
	scan(m, NULL, &rest, &all);
	same_kinds(m, &now.seen, &all.seen);
	/* Of a file what is not there counts each time. */
	ck_assert(m->file >= 0 || rest.n == 0);
	spans_fini(&dirty);
	spans_fini(&rest);
	seen_fini(&all.seen);
	seen_fini(&m->before);
	m->before = now.seen;
}

/*
 * As many ranges as the kernel tells in one call and in two, and some more or
 * less: each is told once, in order, whether it was written or not.
 */
START_TEST(many_ranges)
{
	struct tracker_seen now, again;
	struct spans dirty, none;
	struct memory m;

	if (!tracker_kernel_can())
		return;
	open_memory(&m, false);
	madvise(m.at, PAGES * PAGE, MADV_NOHUGEPAGE);
	ck_assert_int_eq(tracker_watch(m.k.uffd, &m.v), 0);
	for (unsigned n = 1; n < PAGES / 2; n++) {
		now = again = (struct tracker_seen){ 0 };
		dirty = none = (struct spans){ 0 };
		m.at[2 * n * PAGE]++;
		if (n % 100 > 20 && n % 512 > 4 && n % 512 < 508)
			continue;
		scan(&m, NULL, &dirty, &now);
		scan(&m, NULL, &none, &again);
		ck_assert_uint_eq(none.n, 0);
		ck_assert_uint_eq(now.seen.n, n);
		ck_assert_uint_eq(again.seen.n, n);
		for (unsigned i = 0; i < n; i++) {
			ck_assert_uint_eq(now.seen.v[i].start,
			    m.v.start + 2 * (i + 1) * PAGE);
			ck_assert_uint_eq(
			    again.seen.v[i].start, now.seen.v[i].start);
		}
		spans_fini(&dirty);
		seen_fini(&now.seen);
		seen_fini(&again.seen);
	}
	close_memory(&m);
}
END_TEST

static void
real(bool of_file)
{
	struct memory m;

	if (!tracker_kernel_can() || !tracker_kernel_tells_holes())
		return;
	open_memory(&m, of_file);
	for (int round = 0; round < 400; round++) {
		for (unsigned n = rnd(30); n > 0; n--)
			change(&m);
		check_scan(&m);
	}
	close_memory(&m);
}

START_TEST(anonymous)
{
	real(false);
}
END_TEST

START_TEST(of_a_file)
{
	real(true);
}
END_TEST

/*
 * Of a process that runs: what was mapped anew is found in the middle, when much
 * was told.  All counts as written, and nothing is told twice.
 */
START_TEST(mapped_anew)
{
	struct tracker_seen now = { 0 };
	struct spans dirty = { 0 };
	struct memory m;

	if (!tracker_kernel_can())
		return;
	open_memory(&m, false);
	write_to(&m, 0, PAGES);
	check_scan(&m);
	for (unsigned i = 0; i < PAGES - 100; i += 2)
		write_to(&m, i, 1);
	ck_assert_ptr_ne(
	    mmap(m.at + (PAGES - 50) * PAGE, PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
	    MAP_FAILED);
	write_to(&m, PAGES - 50, 1);
	/* The end of the one below. */
	ck_assert_int_eq(spans_add(&dirty, m.v.start - PAGE, m.v.start), 0);
	scan(&m, NULL, &dirty, &now);
	ck_assert_uint_eq(dirty.n, 1);
	ck_assert_uint_eq(dirty.v[0].start, m.v.start - PAGE);
	ck_assert_uint_eq(dirty.v[0].end, m.v.end);
	for (size_t i = 0; i < now.seen.n; i++)
		ck_assert_uint_eq(now.seen.v[i].start,
		    i == 0 ? m.v.start : now.seen.v[i - 1].end);
	spans_fini(&dirty);
	seen_fini(&now.seen);
	close_memory(&m);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("seen");
	TCase *tc = tcase_create("seen");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, as_bytes);
	tcase_add_test(tc, first);
	tcase_add_test(tc, many_ranges);
	tcase_add_test(tc, anonymous);
	tcase_add_test(tc, of_a_file);
	tcase_add_test(tc, mapped_anew);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
