/*
 * check_written.c - increments without a twin: what is there, what of it is
 * copied, whether that is shorter, and flags that changed.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze.h"
#include "uapi.h"
#include "written.h"
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

static struct frozen
myself(void)
{
	memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	return (struct frozen){ .pid = getpid(),
		.mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC) };
}

/* Ranges that are not neighbours, each page with bytes of its own. */
static uint64_t
fill(struct reading *rd)
{
	uint64_t at = (uintptr_t)memory, sum = 0, len;

	srand(5);
	for (int i = 0; i < MANY; i++) {
		len = i % 100 == 7 ? 300 : 1 + (unsigned)rand() % 4;
		for (uint64_t k = 0; k < len * 4096; k += 512)
			*(uint64_t *)(uintptr_t)(at + k) = at + k;
		ck_assert_int_eq(reading_add(rd, at, at + len * 4096), 0);
		at += (len + 1 + (unsigned)rand() % 9) * 4096;
		sum += len * 4096;
	}
	ck_assert_uint_le(at, (uintptr_t)memory + memory_size);
	return sum;
}

/* With a room for all, for a part, and for nothing. */
START_TEST(read_all)
{
	static const uint64_t rooms[] = { 64 << 20, 3 << 20, 0 };
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct frozen z = myself();
	struct reading rd = { 0 };
	uint64_t size = fill(&rd), off = 0;
	struct written_room room;
	char *got = malloc(size);

	ck_assert_uint_eq(rd.size, size);
	/* What it may not read itself is read all the same. */
	ck_assert_int_eq(mprotect(memory, 40 << 12, PROT_NONE), 0);
	written_room_open(&room, rooms[_i]);
	ck_assert_int_eq(reading_do(cx, &z, &rd, &room), 0);
	ck_assert_int_eq(pread(room.fd, got, size, 0), (ssize_t)size);
	ck_assert_int_eq(mprotect(memory, 40 << 12, PROT_READ), 0);
	for (size_t i = 0; i < rd.n; off += rd.v[i++].iov_len)
		ck_assert_int_eq(
		    memcmp(got + off, rd.v[i].iov_base, rd.v[i].iov_len), 0);
	ck_assert_uint_eq(off, size);
	written_room_close(&room);
	reading_fini(&rd);
	free(got);
	close(z.mem);
	munmap(memory, memory_size);
	snap_ctx_free(cx);
}
END_TEST

START_TEST(read_hole)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct frozen z = myself();
	struct reading rd = { 0 };
	struct written_room room;
	char text[64];
	void *at;

	(void)fill(&rd);
	at = rd.v[rd.n / 2].iov_base;
	ck_assert_int_eq(munmap(at, 4096), 0);
	written_room_open(&room, rd.size);
	ck_assert_int_eq(reading_do(cx, &z, &rd, &room), -EIO);
	snprintf(text, sizeof(text), "at %lx:", (unsigned long)(uintptr_t)at);
	ck_assert_ptr_ne(strstr(snap_error(cx), text), NULL);
	written_room_close(&room);
	reading_fini(&rd);
	close(z.mem);
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
	tcase_add_loop_test(t, read_all, 0, 3);
	tcase_add_test(t, read_hole);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
