/*
 * Inherited memory: which parts of VMAs, where they lie, and the plan of it.
 *
 * With UPDATE_GOLDEN in the environment the files are written instead.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ctx.h"
#include "family.h"
#include "inherit.h"
#include "plan.h"

#define GOLDEN TEST_GOLDEN "/"
#define RW (PROT_READ | PROT_WRITE)

static struct snap_ctx *cx;
static struct family tree;
static struct inheritance in;
static struct layout self;

static struct vma *
add_vma(struct process *p, uint64_t start, uint64_t end, uint64_t flags)
{
	struct vma *v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));

	ck_assert_ptr_nonnull(v);
	v->start = start;
	v->end = end;
	v->prot = RW;
	v->kind = VMA_ANON;
	v->file = -1;
	v->path = strdup("");
	v->flags = flags | VMA_F_ACCOUNT;
	return v;
}

/* Of its own, or of the process so many levels above. */
static void
add_run(struct process *p, uint64_t start, uint64_t end, uint32_t up)
{
	struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

	ck_assert_ptr_nonnull(r);
	r->start = start;
	r->end = end;
	r->up = r->src = up;
	r->offset = p->pages_size;
	p->pages_size += end - start;
}

static struct process *
add_process(size_t parent, pid_t pid)
{
	struct process *p = family_add(&tree, parent);

	ck_assert_ptr_nonnull(p);
	p->pid = pid;
	return p;
}

static void
find(void)
{
	ck_assert_msg(
	    inherit_find(cx, &tree, &self, &in) == 0, "%s", snap_error(cx));
}

/* "start-end vma+ ..." with + for what is inherited. */
static const char *
pieces_of(size_t i)
{
	static char s[1024];
	size_t n = 0;

	s[0] = '\0';
	for (size_t k = 0; k < in.of[i].n; k++) {
		const struct piece *c = &in.of[i].v[k];

		n += (size_t)snprintf(s + n, sizeof(s) - n, "%s%lx-%lx %zu%s",
		    k > 0 ? ", " : "", (unsigned long)c->start,
		    (unsigned long)c->end, c->vma, c->inherited ? "+" : "");
		ck_assert_uint_lt(n, sizeof(s));
	}
	return s;
}

static void
setup(void)
{
	cx = snap_ctx_new(NULL);
	ck_assert_ptr_nonnull(cx);
	memset(&tree, 0, sizeof(tree));
	memset(&in, 0, sizeof(in));
	memset(&self, 0, sizeof(self));
	add_process(0, 100);
}

static void
teardown(void)
{
	inherit_free(&in);
	family_fini(&tree);
	snap_ctx_free(cx);
}

/* ---- which parts ---- */

START_TEST(nothing)
{
	struct process *p = add_process(0, 101);

	add_vma(tree.v[0], 0x1000000, 0x1010000, 0);
	add_run(tree.v[0], 0x1000000, 0x1010000, 0);
	add_vma(p, 0x1000000, 0x1010000, 0);
	add_run(p, 0x1000000, 0x1010000, 0);
	find();
	ck_assert_str_eq(pieces_of(0), "");
	ck_assert_str_eq(pieces_of(1), "");
	ck_assert_uint_eq(in.nplaces, 0);
}
END_TEST

START_TEST(whole)
{
	struct process *p = add_process(0, 101);

	add_vma(tree.v[0], 0x800000, 0x801000, 0);
	add_vma(tree.v[0], 0x1000000, 0x1010000, 0);
	add_run(tree.v[0], 0x1000000, 0x1010000, 0);
	add_vma(p, 0x1000000, 0x1010000, 0);
	add_run(p, 0x1002000, 0x1003000, 1);
	find();
	ck_assert_str_eq(pieces_of(0), "1000000-1010000 1");
	ck_assert_str_eq(pieces_of(1), "1000000-1010000 0+");
	ck_assert_uint_eq(in.nplaces, 1);
	ck_assert_uint_eq(in.of[1].v[0].at, 0x1000000);
}
END_TEST

/* The child's goes on at both ends; a grandchild has it in two parts. */
START_TEST(longer)
{
	struct process *p = add_process(0, 101), *q = add_process(1, 102);

	add_vma(tree.v[0], 0x1004000, 0x1008000, 0);
	add_run(tree.v[0], 0x1004000, 0x1008000, 0);
	add_vma(p, 0x1000000, 0x1010000, 0);
	add_run(p, 0x1000000, 0x1001000, 0);
	add_run(p, 0x1004000, 0x1006000, 1);
	add_vma(q, 0x1000000, 0x1007000, 0);
	add_run(q, 0x1000000, 0x1001000, 1);
	add_run(q, 0x1004000, 0x1006000, 2);
	find();
	ck_assert_str_eq(pieces_of(0), "1004000-1008000 0");
	ck_assert_str_eq(pieces_of(1),
	    "1000000-1004000 0, 1004000-1008000 0+, 1008000-1010000 0");
	ck_assert_str_eq(
	    pieces_of(2), "1000000-1004000 0+, 1004000-1007000 0+");
	ck_assert_uint_eq(in.nplaces, 3);
}
END_TEST

START_TEST(unlike)
{
	struct process *p = add_process(0, 101);
	struct vma *v;

	add_vma(tree.v[0], 0x1000000, 0x1010000, VMA_F_HUGEPAGE);
	add_run(tree.v[0], 0x1000000, 0x1010000, 0);
	add_vma(p, 0x1000000, 0x1010000, 0);
	add_run(p, 0x1000000, 0x1010000, 1);
	add_vma(tree.v[0], 0x2000000, 0x2010000, VMA_F_GROWSDOWN);
	add_run(tree.v[0], 0x2000000, 0x2010000, 0);
	add_vma(p, 0x2001000, 0x2010000, VMA_F_GROWSDOWN);
	add_run(p, 0x2001000, 0x2010000, 1);
	add_vma(tree.v[0], 0x3000000, 0x3010000, 0)->shared = true;
	add_run(tree.v[0], 0x3000000, 0x3010000, 0);
	add_vma(p, 0x3000000, 0x3010000, 0)->shared = true;
	add_run(p, 0x3000000, 0x3010000, 1);
	v = add_vma(tree.v[0], 0x4000000, 0x4010000, 0);
	v->kind = VMA_FILE; /* of which nobody knows what it is */
	add_run(tree.v[0], 0x4000000, 0x4010000, 0);
	add_vma(p, 0x4000000, 0x4010000, 0)->kind = VMA_FILE;
	add_run(p, 0x4000000, 0x4010000, 1);
	find();
	ck_assert_str_eq(pieces_of(0), "");
	ck_assert_str_eq(pieces_of(1), "");
}
END_TEST

static void
map_file(struct process *p, struct vma *v, const char *path, uint64_t offset)
{
	struct mapfile *f =
	    process_grow(&p->mapfiles, &p->nmapfiles, sizeof(*f));

	ck_assert_ptr_nonnull(f);
	f->path = strdup(path);
	v->kind = VMA_FILE;
	v->file = (int)p->nmapfiles - 1;
	v->offset = offset;
}

START_TEST(files)
{
	static const struct {
		const char *path;
		uint64_t offset;
	} child[] = { { "/a", 0x1000 }, { "/a", 0x2000 }, { "/b", 0x1000 } };
	struct process *p = add_process(0, 101);

	for (uint64_t i = 0; i < 3; i++) {
		uint64_t at = 0x1000000 * (i + 1);

		map_file(tree.v[0], add_vma(tree.v[0], at, at + 0x2000, 0),
		    "/a", 0x1000);
		add_run(tree.v[0], at, at + 0x2000, 0);
		map_file(p, add_vma(p, at, at + 0x2000, 0), child[i].path,
		    child[i].offset);
		add_run(p, at, at + 0x2000, 1);
	}
	find();
	ck_assert_str_eq(pieces_of(0), "1000000-1002000 0");
	ck_assert_str_eq(pieces_of(1), "1000000-1002000 0+");
}
END_TEST

/* ---- where ---- */

/* Where the agent has something, it lies elsewhere, alike in all. */
START_TEST(in_the_way)
{
	static struct range ours[] = { { 0x10000000, 0x10001000 },
		{ 0x7f0000000000, 0x7f0000001000 } };
	struct process *p = add_process(0, 101);
	uint64_t at;

	self.v = ours;
	self.n = 2;
	add_vma(tree.v[0], 0xff00000, 0x12345000, 0);
	add_run(tree.v[0], 0x10000000, 0x12345000, 0);
	add_vma(tree.v[0], 0x50000000, 0x50001000, 0);
	add_run(tree.v[0], 0x50000000, 0x50001000, 0);
	add_vma(p, 0x10000000, 0x12345000, 0);
	add_run(p, 0x10000000, 0x12345000, 1);
	add_vma(p, 0x50000000, 0x50001000, 0);
	add_run(p, 0x50000000, 0x50001000, 1);
	find();
	ck_assert_uint_eq(in.of[0].n, 2);
	ck_assert_uint_eq(in.of[1].n, 2);
	at = in.of[0].v[0].at;
	ck_assert_uint_ne(at, 0xff00000);
	ck_assert_uint_eq(at % (2 << 20), 0xff00000 % (2 << 20));
	ck_assert_uint_eq(in.of[1].v[0].at, at + 0x100000);
	ck_assert(at > 0x12345000 || at + 0x2445000 < 0xff00000);
	ck_assert(at > 0x50001000 || at + 0x2445000 < 0x50000000);
	ck_assert_uint_eq(in.of[0].v[1].at, 0x50000000);
	ck_assert_uint_eq(in.nplaces, 2);
	ck_assert_uint_lt(in.places[0].start, in.places[1].start);
}
END_TEST

START_TEST(no_room)
{
	static struct range ours[] = { { 0, LAYOUT_TASK_SIZE } };
	struct process *p = add_process(0, 101);

	self.v = ours;
	self.n = 1;
	add_vma(tree.v[0], 0x1000000, 0x1010000, 0);
	add_run(tree.v[0], 0x1000000, 0x1010000, 0);
	add_vma(p, 0x1000000, 0x1010000, 0);
	add_run(p, 0x1000000, 0x1010000, 1);
	ck_assert_int_lt(inherit_find(cx, &tree, &self, &in), 0);
	ck_assert_ptr_nonnull(strstr(snap_error(cx), "address space"));
}
END_TEST

/* ---- plans ---- */

static void
compare(const char *name, const char *text)
{
	static char want[1 << 16];
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", GOLDEN, name);
	if (getenv("UPDATE_GOLDEN") != NULL) {
		f = fopen(path, "w");
		ck_assert_ptr_nonnull(f);
		fputs(text, f);
		fclose(f);
	}
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	want[fread(want, 1, sizeof(want) - 1, f)] = '\0';
	fclose(f);
	ck_assert_str_eq(text, want);
}

static void
plan_is(const char *name, size_t i, bool before, bool paged)
{
	static const int above[] = { 50, 51 };
	struct host h = { .pages_fd = 52, .source_fds = above, .paged = paged };
	struct plan *pl;
	char *text;
	int err;

	h.pieces = in.of[i];
	err = before ? plan_make_inherited(cx, tree.v[i], &h, &pl)
		     : plan_make(cx, tree.v[i], &h, &pl);
	ck_assert_msg(err == 0, "%s", snap_error(cx));
	text = plan_print(pl);
	ck_assert_ptr_nonnull(text);
	/* Of the whole: memory only. */
	if (!before && strstr(text, "# signals") != NULL)
		strstr(text, "rt_sigaction")[0] = '\0';
	compare(name, text);
	free(text);
	plan_free(pl);
}

START_TEST(plans)
{
	static struct range ours[] = { { 0x90000000, 0x90001000 } };
	struct process *q = tree.v[0], *p = add_process(0, 101);

	for (size_t i = 0; i < 2; i++) {
		struct thread *t = process_grow(
		    &tree.v[i]->threads, &tree.v[i]->nthreads, sizeof(*t));

		t->tid = tree.v[i]->pid;
		t->restart.nr = -1;
	}
	self.v = ours;
	self.n = 1;
	add_vma(q, 0x1000000, 0x1010000, VMA_F_HUGEPAGE);
	add_run(q, 0x1000000, 0x1008000, 0);
	add_vma(q, 0x5000000, 0x5002000, 0);
	add_vma(q, 0x90000000, 0x90002000, 0);
	add_run(q, 0x90000000, 0x90002000, 0);
	/* Written, the same, dropped; and grown since. */
	add_vma(p, 0x1000000, 0x1014000, VMA_F_HUGEPAGE);
	add_run(p, 0x1000000, 0x1002000, 0);
	add_run(p, 0x1002000, 0x1004000, 1);
	add_run(p, 0x100f000, 0x1012000, 0);
	add_vma(p, 0x90000000, 0x90002000, 0);
	add_run(p, 0x90000000, 0x90001000, 1);
	find();
	plan_is("inherited-parent", 0, true, false);
	/* No huge page comes to where its pager has something to bring. */
	plan_is("inherited-parent-paged", 0, true, true);
	plan_is("inherited-child", 1, true, false);
	plan_is("inherited-child-restorer", 1, false, false);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("inherit");
	TCase *tc = tcase_create("inherit");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing);
	tcase_add_test(tc, whole);
	tcase_add_test(tc, longer);
	tcase_add_test(tc, unlike);
	tcase_add_test(tc, files);
	tcase_add_test(tc, in_the_way);
	tcase_add_test(tc, no_room);
	tcase_add_test(tc, plans);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
