/*
 * check_written.c - increments without a twin: what is there, what of it is
 * copied, whether that is shorter, and flags that changed.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze.h"
#include "uapi.h"
#include "written.h"
#include "written_ahead.h"
#include "written_read.h"

#define P 4096ull
#define W UAPI_PAGE_IS_WRITTEN
#define HERE UAPI_PAGE_IS_PRESENT

static struct process *
process(void)
{
	struct process *p = process_new();

	ck_assert_ptr_nonnull(p);
	return p;
}

static void
check_run(const struct run *r, uint64_t start, uint64_t end, enum run_kind kind)
{
	ck_assert_uint_eq(r->start, start * P);
	ck_assert_uint_eq(r->end, end * P);
	ck_assert_int_eq(r->kind, kind);
}

static void
add(struct written *w, size_t first, uint64_t start, uint64_t end,
    uint64_t categories)
{
	ck_assert_int_eq(
	    written_add(w, first, start * P, end * P, categories), 0);
}

START_TEST(runs)
{
	struct process *p = process();
	struct written w = { .p = p };

	add(&w, 0, 1, 3, HERE);
	add(&w, 0, 3, 4, HERE | W);
	add(&w, 0, 4, 5, UAPI_PAGE_IS_SWAPPED);
	add(&w, 0, 5, 6, HERE | UAPI_PAGE_IS_PFNZERO);
	add(&w, 0, 6, 8, UAPI_PAGE_IS_SWAPPED | UAPI_PAGE_IS_GUARD | W);
	add(&w, 0, 8, 9, HERE | W);
	/* The next VMA begins where this one ends. */
	add(&w, 3, 9, 12, HERE | W);
	add(&w, 3, 12, 13, HERE | W | UAPI_PAGE_IS_FILE);
	add(&w, 3, 13, 525, HERE | W | UAPI_PAGE_IS_HUGE);
	ck_assert_uint_eq(p->nruns, 5);
	check_run(&p->runs[0], 1, 5, RUN_HELD);
	check_run(&p->runs[1], 6, 8, RUN_GUARD);
	check_run(&p->runs[2], 8, 9, RUN_HELD);
	check_run(&p->runs[3], 9, 12, RUN_HELD);
	check_run(&p->runs[4], 13, 525, RUN_HELD);
	ck_assert_uint_eq(w.written_bytes, (1 + 1 + 3 + 512) * P);
	ck_assert_uint_eq(w.resident, 12);
	process_free(p);
}
END_TEST

static uint64_t
written_bytes(const struct process *p, const struct spans *dirty)
{
	struct spans held = { 0 };
	uint64_t bytes;

	ck_assert_int_eq(written_spans(p, dirty, &held), 0);
	bytes = spans_bytes(&held);
	spans_fini(&held);
	return bytes;
}

START_TEST(bytes)
{
	struct process *p = process();
	struct written w = { .p = p };
	struct spans dirty = { 0 };

	add(&w, 0, 10, 20, HERE);
	add(&w, 0, 20, 22, HERE | UAPI_PAGE_IS_GUARD);
	add(&w, 0, 30, 40, HERE);
	ck_assert_uint_eq(written_bytes(p, &dirty), 0);
	spans_add(&dirty, 0, 5 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), 0);
	spans_add(&dirty, 8 * P, 12 * P);
	spans_add(&dirty, 14 * P, 15 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), 3 * P);
	/* Across what is between, and beyond the end. */
	spans_add(&dirty, 19 * P, 31 * P);
	spans_add(&dirty, 39 * P, 1000 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), (3 + 1 + 1 + 1) * P);
	spans_fini(&dirty);
	spans_add(&dirty, 0, 1000 * P);
	ck_assert_uint_eq(written_bytes(p, &dirty), 20 * P);
	spans_fini(&dirty);
	process_free(p);
}
END_TEST

START_TEST(shorter)
{
	struct written w = { .resident = 262144 };

	ck_assert(written_is_shorter(&w, 0));
	ck_assert(written_is_shorter(&w, 2621 * P));
	ck_assert(!written_is_shorter(&w, 131072 * P));
	w.odd = true;
	ck_assert(!written_is_shorter(&w, 0));
	/* Nothing for a fork to look at. */
	w = (struct written){ 0 };
	ck_assert(!written_is_shorter(&w, P));
}
END_TEST

START_TEST(flags)
{
	struct process *p = process();
	static const struct vma_flags before[] = {
		{ 1 * P, 4 * P, VMA_F_DONTDUMP | VMA_F_NORESERVE },
		{ 4 * P, 6 * P, 0 },
		{ 9 * P, 20 * P, VMA_F_HUGEPAGE },
	};
	static const struct vma vmas[] = {
		{ .start = 1 * P, .end = 2 * P, .flags = VMA_F_DONTDUMP },
		{ .start = 2 * P, .end = 4 * P, .flags = VMA_F_DONTDUMP },
		{ .start = 5 * P, .end = 6 * P, .flags = VMA_F_ACCOUNT },
		{ .start = 6 * P, .end = 8 * P, .flags = 0 },
		{ .start = 10 * P, .end = 30 * P, .flags = VMA_F_HUGEPAGE },
	};
	struct vma *v;

	for (size_t i = 0; i < sizeof(vmas) / sizeof(vmas[0]); i++) {
		v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));
		ck_assert_ptr_nonnull(v);
		*v = vmas[i];
	}
	ck_assert_ptr_null(written_differs(p, before, 3));
	p->vmas[1].flags = 0;
	ck_assert_ptr_eq(written_differs(p, before, 3), &p->vmas[1]);
	p->vmas[1].flags = VMA_F_DONTDUMP | VMA_F_DONTCOPY;
	ck_assert_ptr_eq(written_differs(p, before, 3), &p->vmas[1]);
	p->vmas[1].flags = VMA_F_DONTDUMP;
	/* What is new has to be without. */
	p->vmas[3].flags = VMA_F_WIPEONFORK;
	ck_assert_ptr_eq(written_differs(p, before, 3), &p->vmas[3]);
	p->vmas[3].flags = 0;
	ck_assert_ptr_eq(written_differs(p, before, 2), &p->vmas[4]);
	process_free(p);
}
END_TEST

/* ---- reading, of ourselves ---- */

#define MANY 700 /* ranges, some of more than a chunk */

static unsigned char *memory;
static const size_t memory_size = 96 << 20;

static struct readable
myself(void)
{
	memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	return (struct readable){ getpid(),
		open("/proc/self/mem", O_RDONLY | O_CLOEXEC) };
}

/* Each with bytes of its own, and those that it has the next time. */
static void
write_pages(uint64_t start, uint64_t end, uint64_t time)
{
	for (; start < end; start += 512)
		*(uint64_t *)(uintptr_t)start = start + time;
}

/* Ranges that are not neighbours. */
static uint64_t
fill(struct spans *want)
{
	uint64_t at = (uintptr_t)memory, len;

	srand(5);
	for (int i = 0; i < MANY; i++) {
		len = i % 100 == 7 ? 300 : 1 + (unsigned)rand() % 4;
		write_pages(at, at + len * P, 0);
		ck_assert_int_eq(spans_add(want, at, at + len * P), 0);
		at += (len + 1 + (unsigned)rand() % 9) * P;
	}
	ck_assert_uint_le(at, (uintptr_t)memory + memory_size);
	return spans_bytes(want);
}

/* All of it, one behind the other; or the other way round. */
static void
list(const struct spans *want, bool reverse, struct reading *rd)
{
	uint64_t at = 0, size = spans_bytes(want);

	for (size_t i = 0; i < want->n; i++) {
		uint64_t len = want->v[i].end - want->v[i].start;

		ck_assert_int_eq(
		    reading_add(rd, want->v[i].start, want->v[i].end,
			reverse ? size - at - len : at),
		    0);
		at += len;
	}
}

/* With a room for all, for a part, and for nothing. */
START_TEST(read_all)
{
	static const uint64_t rooms[] = { 64 << 20, 3 << 20, 0 };
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct readable self = myself();
	struct spans want = { 0 };
	struct reading rd = { 0 };
	uint64_t size = fill(&want), off = 0;
	struct written_room room;
	char *got = malloc(size);
	bool reverse = _i >= 3;

	list(&want, reverse, &rd);
	/* What it may not read itself is read all the same. */
	ck_assert_int_eq(mprotect(memory, 40 << 12, PROT_NONE), 0);
	written_room_open(&room, rooms[_i % 3]);
	ck_assert_int_eq(reading_do(cx, &self, &rd, &room), 0);
	ck_assert_int_eq(pread(room.fd, got, size, 0), (ssize_t)size);
	ck_assert_int_eq(mprotect(memory, 40 << 12, PROT_READ), 0);
	for (size_t i = 0; i < want.n; i++) {
		size_t len = want.v[i].end - want.v[i].start;

		off += len;
		ck_assert_int_eq(
		    memcmp(got + (reverse ? size - off : off - len),
			(void *)(uintptr_t)want.v[i].start, len),
		    0);
	}
	ck_assert_uint_eq(off, size);
	written_room_close(&room);
	reading_fini(&rd);
	spans_fini(&want);
	free(got);
	close(self.mem);
	munmap(memory, memory_size);
	snap_ctx_free(cx);
}
END_TEST

START_TEST(read_hole)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct readable self = myself();
	struct spans want = { 0 };
	struct reading rd = { 0 };
	struct written_room room;
	char text[64];
	uint64_t at;

	written_room_open(&room, fill(&want));
	list(&want, false, &rd);
	at = want.v[want.n / 2].start;
	ck_assert_int_eq(munmap((void *)(uintptr_t)at, P), 0);
	ck_assert_int_eq(reading_do(cx, &self, &rd, &room), -EIO);
	snprintf(text, sizeof(text), "at %lx:", (unsigned long)at);
	ck_assert_ptr_ne(strstr(snap_error(cx), text), NULL);
	written_room_close(&room);
	reading_fini(&rd);
	spans_fini(&want);
	close(self.mem);
	munmap(memory, memory_size);
	snap_ctx_free(cx);
}
END_TEST

/* ---- ahead ---- */

/* The run that has this page. */
static const struct run *
run_of(const struct process *p, uint64_t at)
{
	for (size_t i = 0; i < p->nruns; i++)
		if (p->runs[i].start <= at && at < p->runs[i].end)
			return &p->runs[i];
	return NULL;
}

/*
 * Copied ahead is what is wanted, but for a hole; then a third of it is written
 * again, one range goes, and what lies between two is written, too.
 */
START_TEST(ahead)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = process();
	struct readable self = myself();
	struct frozen z = { .pid = self.pid, .mem = self.mem };
	struct spans want = { 0 }, dirty = { 0 }, held = { 0 };
	struct written w = { .p = p, .nth = 8 };
	uint64_t hole, gone, start = (uintptr_t)memory, end, got;
	struct ahead *a;

	(void)fill(&want);
	end = want.v[want.n - 1].end;
	hole = want.v[100].start;
	gone = want.v[200].start;
	ck_assert_int_eq(munmap((void *)(uintptr_t)hole, P), 0);
	a = ahead_new(&want);
	ck_assert_ptr_nonnull(a);
	ck_assert_int_eq(ahead_copy(cx, a, self.pid, &want, 7), 0);
	ck_assert_int_eq(spans_contain(&a->good, hole, hole + P, &got), 0);
	ck_assert_uint_ge(spans_bytes(&a->good),
	    spans_bytes(&want) - 300 * P); /* a piece is read as a whole */
	ck_assert_ptr_eq(
	    mmap((void *)(uintptr_t)hole, P, PROT_READ | PROT_WRITE,
		MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	    (void *)(uintptr_t)hole);
	write_pages(hole, hole + P, 1);
	for (size_t i = 0; i < want.n; i++) {
		uint64_t from = want.v[i].start, to = want.v[i].end;

		if (i == 150) /* and on, where there was nothing */
			to += P;
		if (i % 3 == 0) {
			write_pages(from, to, 1);
			ck_assert_int_eq(spans_add(&w.fresh, from, to), 0);
		}
		if (from != gone)
			ck_assert_int_eq(spans_add(&dirty, from, to), 0);
	}
	ck_assert_int_eq(ahead_renew(a, &w), 0);
	/* All of it is there but one range; what was written is to be copied. */
	ck_assert_int_eq(process_add_run(p, 0, start, gone, RUN_HELD), 0);
	ck_assert_int_eq(
	    process_add_run(p, 0, want.v[200].end, end + 9 * P, RUN_HELD), 0);
	ck_assert_int_eq(written_spans(p, &dirty, &held), 0);
	ck_assert_int_gt(ahead_settle(a, &held), 0);
	ck_assert_int_eq(written_copy(cx, &z, p, a), 0);
	ck_assert_int_eq(written_runs(p, a), 0);
	for (uint64_t at = start; at < end + 9 * P; at += P) {
		const struct run *r = run_of(p, at);

		if (at >= gone && at < want.v[200].end) {
			ck_assert_ptr_null(r);
			continue;
		}
		ck_assert_ptr_nonnull(r);
		if (spans_contain(&dirty, at, at + P, &got) == 0) {
			ck_assert_int_eq(r->kind, RUN_PARENT);
			continue;
		}
		ck_assert_int_eq(r->kind, RUN_HELD);
		ck_assert_int_eq(r->src_fd, p->frozen_fd);
		ck_assert_int_eq(pread(r->src_fd, &got, sizeof(got),
				     (off_t)(r->src_off + (at - r->start))),
		    sizeof(got));
		ck_assert_uint_eq(got, *(uint64_t *)(uintptr_t)at);
	}
	ahead_free(a);
	spans_fini(&want);
	spans_fini(&dirty);
	written_fini(&w);
	process_free(p);
	close(self.mem);
	munmap(memory, memory_size);
	snap_ctx_free(cx);
}
END_TEST

/* A scan that nobody told of: then nothing is known. */
START_TEST(ahead_of_another)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct readable self = myself();
	struct spans want = { 0 };
	struct written w = { .nth = 9 };
	struct ahead *a;

	(void)fill(&want);
	a = ahead_new(&want);
	ck_assert_ptr_nonnull(a);
	ck_assert_int_eq(ahead_copy(cx, a, self.pid, &want, 7), 0);
	ck_assert_uint_eq(spans_bytes(&a->good), spans_bytes(&want));
	ck_assert_int_eq(ahead_renew(a, &w), 0);
	ck_assert_uint_eq(spans_bytes(&a->good), 0);
	ahead_free(a);
	spans_fini(&want);
	close(self.mem);
	munmap(memory, memory_size);
	snap_ctx_free(cx);
}
END_TEST

/*
 * A page that nobody brings, as one of a file system whose server is silent: it
 * is not waited for for ever.
 */
START_TEST(ahead_hangs)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct readable self = myself();
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct spans want = { 0 };
	struct ahead *a;

	ck_assert_int_ge(uffd, 0);
	reg.range.start = (uintptr_t)memory;
	reg.range.len = memory_size;
	ck_assert_int_eq(ioctl(uffd, UFFDIO_API, &api), 0);
	ck_assert_int_eq(ioctl(uffd, UFFDIO_REGISTER, &reg), 0);
	ck_assert_int_eq(
	    spans_add(&want, reg.range.start, reg.range.start + P), 0);
	a = ahead_new(&want);
	ck_assert_ptr_nonnull(a);
	ck_assert_int_eq(ahead_copy(cx, a, self.pid, &want, 7), -ETIMEDOUT);
	ck_assert_uint_eq(a->slots.n, 0);
	ck_assert_uint_eq(a->good.n, 0);
	ck_assert_int_ge(a->room.fd, 0);
	ahead_free(a);
	spans_fini(&want);
	/* This is the end of its waiting. */
	close(uffd);
	close(self.mem);
	munmap(memory, memory_size);
	snap_ctx_free(cx);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("written");
	TCase *t = tcase_create("written");
	SRunner *r;
	int failed;

	tcase_add_test(t, runs);
	tcase_add_test(t, bytes);
	tcase_add_test(t, shorter);
	tcase_add_test(t, flags);
	tcase_add_loop_test(t, read_all, 0, 6);
	tcase_add_test(t, read_hole);
	tcase_add_test(t, ahead);
	tcase_add_test(t, ahead_of_another);
	tcase_add_test(t, ahead_hangs);
	tcase_set_timeout(t, 30);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
