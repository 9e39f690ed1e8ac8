/*
 * What of a tree's memory may come when it runs already.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ctx.h"
#include "late.h"
#include "unit.h"

#define P 0x1000ull
#define AT 0x1000000ull

static struct snap_ctx *cx;
static struct family tree;
static struct inheritance in;
static struct layout self;
static uint64_t soon;

static struct process *
add_process(size_t parent, uint64_t npages, uint64_t flags)
{
	struct process *p = family_add(&tree, parent);
	struct vma *v;

	ck_assert_ptr_nonnull(p);
	p->pid = 100 + (pid_t)tree.n;
	v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));
	ck_assert_ptr_nonnull(v);
	v->start = AT;
	v->end = AT + npages * P;
	v->prot = PROT_READ | PROT_WRITE;
	v->kind = VMA_ANON;
	v->file = -1;
	v->path = strdup("");
	v->flags = flags | VMA_F_ACCOUNT;
	return p;
}

/* Pages [from, to), its own or of the process so many levels above. */
static struct run *
add_run(struct process *p, uint64_t from, uint64_t to, uint32_t up)
{
	struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

	ck_assert_ptr_nonnull(r);
	r->start = AT + from * P;
	r->end = AT + to * P;
	r->up = up;
	r->offset = r->src_off = from * P;
	return r;
}

static void
find(void)
{
	ck_assert_int_eq(inherit_find(cx, &tree, &self, &in), 0);
	ck_assert_int_eq(late_find(&tree, &in, &soon), 0);
}

/* "0-4 late, 4-6, ..." */
static const char *
runs_of(size_t i)
{
	static char s[512];
	const struct process *p = tree.v[i];
	size_t n = 0;

	s[0] = '\0';
	for (size_t k = 0; k < p->nruns; k++) {
		const struct run *r = &p->runs[k];

		ck_assert_uint_eq(r->offset, r->start - AT);
		ck_assert_uint_eq(r->src_off, r->offset);
		n += (size_t)snprintf(s + n, sizeof(s) - n, "%s%d-%d%s",
		    k > 0 ? ", " : "", (int)((r->start - AT) / P),
		    (int)((r->end - AT) / P), r->late ? " late" : "");
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
}

static void
teardown(void)
{
	inherit_free(&in);
	family_fini(&tree);
	snap_ctx_free(cx);
}

/* A program below a shell has nothing of it. */
START_TEST(alone)
{
	add_run(add_process(0, 16, 0), 0, 16, 0);
	add_run(add_process(0, 16, 0), 2, 8, 0);
	find();
	ck_assert_str_eq(runs_of(0), "0-16 late");
	ck_assert_str_eq(runs_of(1), "2-8 late");
	ck_assert_uint_eq(soon, 0);
	ck_assert_uint_eq(late_bytes(tree.v[0]), 16 * P);
	late_none(tree.v[0]);
	ck_assert_str_eq(runs_of(0), "0-16");
}
END_TEST

/* What the child has from its parent is there in both, the rest is not. */
START_TEST(forked)
{
	struct process *p;

	add_run(add_process(0, 16, 0), 0, 16, 0);
	p = add_process(0, 16, 0);
	add_run(p, 0, 4, 1);
	add_run(p, 4, 6, 0);
	add_run(p, 6, 8, 1);
	add_run(p, 10, 12, 0);
	find();
	ck_assert_str_eq(runs_of(0), "0-4, 4-6 late, 6-8, 8-16 late");
	ck_assert_str_eq(runs_of(1), "0-4, 4-6 late, 6-8, 10-12 late");
	ck_assert_uint_eq(soon, 6 * P);
}
END_TEST

/* A grandchild's is there in all above it; each of the children counts. */
START_TEST(deep)
{
	struct process *p;

	add_run(add_process(0, 16, 0), 0, 16, 0);
	p = add_process(0, 16, 0);
	add_run(p, 0, 2, 1);
	add_run(p, 2, 8, 0);
	p = add_process(1, 16, 0);
	add_run(p, 0, 1, 2);
	add_run(p, 3, 4, 1);
	p = add_process(0, 16, 0);
	add_run(p, 8, 9, 1);
	find();
	ck_assert_str_eq(runs_of(0), "0-2, 2-8 late, 8-9, 9-16 late");
	ck_assert_str_eq(runs_of(1), "0-2, 2-3 late, 3-4, 4-8 late");
	ck_assert_str_eq(runs_of(2), "0-1, 3-4");
	ck_assert_str_eq(runs_of(3), "8-9");
}
END_TEST

/* What the parent had it has for a moment only: that it has now may be late. */
START_TEST(former)
{
	struct process *p;

	add_run(add_process(0, 16, 0), 0, 16, 0);
	p = add_process(0, 16, 0);
	add_run(p, 0, 4, 1)->former = true;
	add_run(p, 4, 8, 1);
	find();
	ck_assert_str_eq(runs_of(0), "0-4 late, 4-8, 8-16 late");
	ck_assert_str_eq(runs_of(1), "0-4, 4-8");
}
END_TEST

/* It cannot be what fork(2) made, so each reads, or gets, its own. */
START_TEST(unlike)
{
	struct process *p;

	add_run(add_process(0, 16, 0), 0, 16, 0);
	p = add_process(0, 16, VMA_F_GROWSDOWN);
	add_run(p, 0, 4, 1);
	find();
	ck_assert_str_eq(runs_of(0), "0-16 late");
	ck_assert_str_eq(runs_of(1), "0-4 late");
}
END_TEST

/* Guards are not held; files, and what is wiped, no pager can bring. */
START_TEST(unwanted)
{
	struct process *p = add_process(0, 16, 0);

	add_run(p, 0, 4, 0)->kind = RUN_GUARD;
	add_run(p, 4, 5, 0);
	p = add_process(0, 16, VMA_F_WIPEONFORK);
	add_run(p, 0, 4, 0);
	p = add_process(0, 16, 0);
	p->vmas[0].kind = VMA_FILE;
	add_run(p, 0, 4, 0);
	find();
	ck_assert_str_eq(runs_of(0), "0-4, 4-5 late");
	ck_assert_str_eq(runs_of(1), "0-4");
	ck_assert_str_eq(runs_of(2), "0-4");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("late");
	TCase *t = tcase_create("late");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, alone);
	tcase_add_test(t, forked);
	tcase_add_test(t, deep);
	tcase_add_test(t, former);
	tcase_add_test(t, unlike);
	tcase_add_test(t, unwanted);
	suite_add_tcase(s, t);
	return unit_run(s);
}
