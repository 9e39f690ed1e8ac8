/*
 * check_infants.c - who of a tree is born of whom, and in which session.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "restore_tree.h"
#include "unit.h"

static struct family family;
static struct restore_tree tree;

static struct process *
process(size_t parent, pid_t pid, pid_t pgid, pid_t sid)
{
	struct process *p = family_add(&family, parent);

	ck_assert_ptr_nonnull(p);
	p->pid = pid;
	p->pgid = pgid;
	p->sid = sid;
	return p;
}

static void
zombie(struct process *p, pid_t pid, pid_t pgid, pid_t sid)
{
	struct zombie *z = process_grow(&p->zombies, &p->nzombies, sizeof(*z));

	z->pid = pid;
	z->pgid = pgid;
	z->sid = sid;
}

static void
set_up(void)
{
	memset(&family, 0, sizeof(family));
	memset(&tree, 0, sizeof(tree));
	tree.family = &family;
	tree.cx = snap_ctx_new(NULL);
}

static void
tear_down(void)
{
	restore_infants_free(&tree);
	family_fini(&family);
	snap_ctx_free(tree.cx);
}

static int
decide(void)
{
	tree.n = family.n;
	return restore_infants(&tree);
}

static const struct infant *
of(pid_t pid)
{
	for (size_t i = 0; i < tree.ninfants; i++)
		if (tree.infants[i].pid == pid)
			return &tree.infants[i];
	ck_abort_msg("no %d", (int)pid);
	return NULL;
}

/* Sessions and groups of the world outside become the first's own. */
START_TEST(of_one_session)
{
	process(0, 100, 90, 80);
	zombie(process(0, 101, 101, 80), 102, 90, 80);
	ck_assert_int_eq(decide(), 0);
	ck_assert_uint_eq(tree.ninfants, 3);
	ck_assert_int_eq(of(101)->sid, 100);
	ck_assert_int_eq(of(101)->pgid, 101);
	ck_assert_int_eq(of(102)->kind, INFANT_ZOMBIE);
	ck_assert_uint_eq(of(102)->parent, 1);
	ck_assert_int_eq(of(102)->pgid, 100);
}
END_TEST

/* Who led a session, or a group, and is no more, is stood in for. */
START_TEST(leaders_gone)
{
	process(0, 100, 100, 100);
	process(0, 101, 50, 50);
	process(0, 102, 60, 100);
	ck_assert_int_eq(decide(), 0);
	ck_assert_uint_eq(tree.ninfants, 5);
	ck_assert_int_eq(of(50)->kind, INFANT_HELPER);
	ck_assert_uint_eq(of(101)->helper, (size_t)(of(50) - tree.infants));
	ck_assert_int_eq(of(60)->kind, INFANT_HELPER);
	ck_assert_int_eq(of(60)->sid, 100);
}
END_TEST

START_TEST(in_a_session_below)
{
	process(0, 100, 100, 100);
	process(0, 101, 101, 102);
	process(0, 102, 102, 102);
	ck_assert_int_eq(decide(), -ENOTSUP);
	ck_assert(strstr(snap_error(tree.cx), "not above it") != NULL);
}
END_TEST

START_TEST(too_many)
{
	struct process *p = process(0, 100, 100, 100);

	for (int i = 0; i < 4 * FAMILY_MAX; i++)
		zombie(p, 200 + i, 100, 100);
	ck_assert_int_eq(decide(), -E2BIG);
	ck_assert(strstr(snap_error(tree.cx), "than there may be") != NULL);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("infants");
	TCase *tc = tcase_create("infants");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, of_one_session);
	tcase_add_test(tc, leaders_gone);
	tcase_add_test(tc, in_a_session_below);
	tcase_add_test(tc, too_many);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
