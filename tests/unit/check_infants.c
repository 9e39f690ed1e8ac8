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

static void
refused(int err, const char *part)
{
	ck_assert_int_eq(decide(), err);
	ck_assert_msg(strstr(snap_error(tree.cx), part) != NULL, "%s",
	    snap_error(tree.cx));
}

static const struct infant *
made_by(pid_t pid)
{
	return &tree.infants[of(pid)->helper];
}

/* A brother that leads it makes it, one below does so for whoever adopts. */
START_TEST(led_by_others)
{
	process(0, 100, 100, 100);
	process(0, 101, 101, 102);
	process(0, 102, 102, 102);
	process(2, 103, 103, 103);
	process(0, 104, 104, 103);
	ck_assert_int_eq(decide(), 0);
	ck_assert_ptr_eq(made_by(101), of(102));
	ck_assert(!of(101)->adopted);
	ck_assert_ptr_eq(made_by(104), of(103));
	ck_assert(of(104)->adopted && of(100)->adopts);
	ck_assert_uint_eq(tree.nadopted, 1);
}
END_TEST

/* A zombie leads it; one that is stood in for has children at two places. */
START_TEST(led_by_the_dead)
{
	struct process *p;

	process(0, 100, 100, 100);
	p = process(0, 101, 100, 100);
	zombie(p, 102, 102, 102);
	process(0, 103, 103, 102);
	process(0, 104, 104, 50);
	process(1, 105, 105, 50);
	ck_assert_int_eq(decide(), 0);
	ck_assert_ptr_eq(made_by(103), of(102));
	ck_assert(of(103)->adopted);
	ck_assert_uint_eq(of(50)->parent, 1);
	ck_assert_ptr_eq(made_by(105), of(50));
	ck_assert(!of(105)->adopted && of(104)->adopted);
}
END_TEST

START_TEST(led_from_elsewhere)
{
	process(0, 100, 100, 100);
	process(0, 101, 100, 100);
	process(0, 102, 102, 102);
	process(1, 103, 103, 102);
	refused(-ENOTSUP, "not below its parent");
}
END_TEST

/* What no kernel can have come to. */
START_TEST(led_from_below)
{
	process(0, 100, 100, 100);
	process(0, 101, 101, 102);
	process(1, 102, 102, 102);
	refused(-EBADMSG, "led from below it");
}
END_TEST

START_TEST(led_by_no_leader)
{
	process(0, 100, 100, 100);
	process(0, 101, 101, 102);
	process(0, 102, 102, 100);
	refused(-EBADMSG, "in another itself");
}
END_TEST

/* It goes to the lowest above, so there can be one only. */
START_TEST(two_adopt)
{
	process(0, 100, 100, 100);
	process(0, 101, 100, 100);
	process(1, 102, 102, 102);
	process(2, 103, 103, 103);
	process(0, 104, 104, 103);
	process(1, 105, 105, 103);
	refused(-ENOTSUP, "adopts others");
}
END_TEST

/* A group's leader is gone, or has gone elsewhere. */
START_TEST(groups_without)
{
	struct process *p = process(0, 100, 100, 100);

	zombie(p, 101, 60, 50);
	process(0, 102, 103, 100);
	process(0, 103, 102, 100);
	ck_assert_int_eq(decide(), 0);
	ck_assert_uint_eq(of(60)->helper, of(101)->helper);
	ck_assert(of(60)->heads && of(102)->heads && of(103)->heads);
	ck_assert(!of(101)->heads);
}
END_TEST

/* ---- tables ---- */

static void
shares(size_t i, enum share k, pid_t with)
{
	family.v[i]->share[k] = with;
}

static size_t
place_of(pid_t pid)
{
	for (size_t i = 0; i + 1 < tree.ninfants; i++)
		if (tree.infants[tree.births[i]].pid == pid)
			return i;
	return SIZE_MAX;
}

START_TEST(tables_of_nobody)
{
	process(0, 100, 100, 100);
	process(0, 101, 100, 100);
	ck_assert_int_eq(decide(), 0);
	ck_assert(!tree.shares);
	ck_assert_uint_eq(of(101)->need[SHARE_FDS], 0);
	ck_assert_uint_eq(of(100)->own[SHARE_FS], 0);
}
END_TEST

/* 102 has it from 100 by way of 101, which has its own with 104. */
START_TEST(tables_passed_on)
{
	process(0, 100, 100, 100);
	process(0, 101, 100, 100);
	process(1, 104, 100, 100);
	process(1, 102, 100, 100);
	shares(3, SHARE_FDS, 100);
	shares(2, SHARE_FDS, 101);
	shares(1, SHARE_FS, 100);
	ck_assert_int_eq(decide(), 0);
	ck_assert(tree.shares);
	ck_assert_uint_eq(of(100)->own[SHARE_FDS], 1);
	ck_assert_uint_eq(of(101)->need[SHARE_FDS], 1);
	ck_assert_uint_eq(of(101)->own[SHARE_FDS], 2);
	ck_assert_uint_eq(of(102)->need[SHARE_FDS], 1);
	ck_assert_uint_eq(of(104)->need[SHARE_FDS], 2);
	ck_assert_uint_lt(place_of(102), place_of(104));
	ck_assert_uint_eq(of(101)->need[SHARE_FS], 1);
	ck_assert_uint_eq(of(102)->need[SHARE_FS], 0);
}
END_TEST

/* Two pairs of brothers: their parent has one table after the other. */
START_TEST(tables_of_brothers)
{
	process(0, 100, 100, 100);
	for (pid_t pid = 101; pid <= 105; pid++)
		process(0, pid, 100, 100);
	shares(3, SHARE_FDS, 101);
	shares(4, SHARE_FDS, 102);
	shares(5, SHARE_FDS, 100);
	ck_assert_int_eq(decide(), 0);
	ck_assert_uint_eq(place_of(101), 0);
	ck_assert_uint_eq(place_of(103), 1);
	ck_assert_uint_eq(place_of(102), 2);
	ck_assert_uint_eq(place_of(104), 3);
	ck_assert_uint_eq(place_of(105), 4);
}
END_TEST

/* 101 would have to be born with two. */
START_TEST(tables_of_two)
{
	process(0, 100, 100, 100);
	process(0, 101, 100, 100);
	process(0, 102, 100, 100);
	process(1, 103, 100, 100);
	process(1, 104, 100, 100);
	shares(3, SHARE_FDS, 100);
	shares(4, SHARE_FDS, 102);
	refused(-ENOTSUP, "cannot be shared again");
}
END_TEST

/* One is left for the other, and would be needed once more. */
START_TEST(tables_by_turns)
{
	process(0, 100, 100, 100);
	for (pid_t pid = 101; pid <= 104; pid++)
		process(0, pid, 100, 100);
	shares(3, SHARE_FDS, 101);
	shares(4, SHARE_FDS, 102);
	shares(2, SHARE_FS, 101);
	shares(4, SHARE_FS, 103);
	refused(-ENOTSUP, "cannot be shared again");
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
	tcase_add_test(tc, led_by_others);
	tcase_add_test(tc, led_by_the_dead);
	tcase_add_test(tc, led_from_elsewhere);
	tcase_add_test(tc, led_from_below);
	tcase_add_test(tc, led_by_no_leader);
	tcase_add_test(tc, two_adopt);
	tcase_add_test(tc, groups_without);
	tcase_add_test(tc, tables_of_nobody);
	tcase_add_test(tc, tables_passed_on);
	tcase_add_test(tc, tables_of_brothers);
	tcase_add_test(tc, tables_of_two);
	tcase_add_test(tc, tables_by_turns);
	tcase_add_test(tc, too_many);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
