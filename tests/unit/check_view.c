/*
 * Readers and their checkpoints: when a view begins, when it ends, and who is
 * told.  No process is touched: time is a number, a checkpoint an address.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include <linux/capability.h>

#include "unit.h"
#include "view.h"

static struct view_table table;
static struct view *dropped[16];
static unsigned ndropped, nunused;

static const struct proc_id alice = { 100, 1 }, bob = { 200, 1 };
static const struct proc_id target = { 7, 1 }, other = { 8, 1 };
static const struct view_creds creds = { .uid = 1000, .gid = 1000 };
static const struct snap_checkpoint_info info = { .pid = 7, .twin = 9 };

#define CP ((struct snap_checkpoint *)&table)
#define JOB ((struct job *)&table)

static void
drop(void *arg, struct view *v)
{
	ck_assert_ptr_eq(arg, &table);
	dropped[ndropped++] = v;
}

static void
unused(void *arg, struct reader *r)
{
	ck_assert_ptr_eq(arg, &table);
	ck_assert(LIST_EMPTY(&r->views));
	nunused++;
}

static void
set_up(void)
{
	table = (struct view_table){
		.max = 3,
		.max_named = 2,
		.linger_ms = 5000,
		.drop = drop,
		.reader_unused = unused,
		.arg = &table,
	};
	view_table_init(&table);
	ndropped = nunused = 0;
}

/* Every checkpoint that was to be dropped is; then nothing is left. */
static void
tear_down(void)
{
	view_end_all(&table);
	for (unsigned i = 0; i < ndropped; i++)
		view_dropped(&table, dropped[i]);
	ck_assert_uint_eq(table.ntaken, 0);
	ck_assert_uint_eq(table.nviews, 0);
	ck_assert(TAILQ_EMPTY(&table.views));
	ck_assert(TAILQ_EMPTY(&table.named));
}

static struct view *
begin(struct proc_id reader, struct proc_id of, uint64_t now)
{
	struct view *v = view_get(&table, reader, of, now);

	ck_assert_ptr_nonnull(v);
	view_taking(&table, v, &creds, now);
	v->job = JOB;
	return v;
}

static struct view *
taken(struct proc_id reader, struct proc_id of, uint64_t now)
{
	struct view *v = begin(reader, of, now);

	view_taken(&table, v, CP, &info, now);
	ck_assert_int_eq(v->state, VIEW_TAKEN);
	return v;
}

START_TEST(each_reader_its_own)
{
	struct view *a = view_get(&table, alice, target, 0);
	struct view *b = view_get(&table, bob, target, 0);

	ck_assert_ptr_ne(a, b);
	ck_assert_uint_ne(a->gen, b->gen);
	ck_assert_ptr_eq(view_get(&table, alice, target, 1), a);
	ck_assert_ptr_eq(view_find(&table, bob, target), b);
	ck_assert_ptr_null(view_find(&table, bob, other));
	ck_assert_ptr_eq(view_find_gen(&table, b->gen), b);
	ck_assert_ptr_null(view_find_gen(&table, b->gen + 1));
}
END_TEST

START_TEST(a_pid_used_again_is_another)
{
	struct proc_id later = { alice.pid, alice.start + 1 };
	struct proc_id later_target = { target.pid, target.start + 1 };
	struct view *a = taken(alice, target, 0);

	ck_assert_ptr_ne(view_get(&table, later, target, 0), a);
	ck_assert_ptr_ne(view_get(&table, alice, later_target, 0), a);
	/* The reader goes on reading the process that has gone. */
	ck_assert_ptr_eq(view_find_pid(&table, alice, target.pid), a);
	ck_assert_ptr_null(view_find_pid(&table, bob, target.pid));
}
END_TEST

START_TEST(unused_for_the_linger_time)
{
	taken(alice, target, 1000);
	ck_assert_int_eq(view_expire(&table, 1000), 5001);
	ck_assert_int_eq(view_expire(&table, 5999), 2);
	ck_assert_uint_eq(ndropped, 0);
	ck_assert_int_eq(view_expire(&table, 6000), -1);
	ck_assert_uint_eq(ndropped, 1);
	ck_assert_uint_eq(nunused, 1);
	ck_assert_ptr_null(view_find(&table, alice, target));
}
END_TEST

START_TEST(open_is_not_unused)
{
	struct view *v = taken(alice, target, 0);

	view_open(&table, v, 0);
	ck_assert_int_gt(view_expire(&table, 100000), 0);
	ck_assert_uint_eq(ndropped, 0);
	view_close(&table, v, 100000);
	/* From the close on it is. */
	ck_assert_int_eq(view_expire(&table, 104999), 2);
	ck_assert_uint_eq(ndropped, 0);
	view_expire(&table, 105000);
	ck_assert_uint_eq(ndropped, 1);
}
END_TEST

START_TEST(a_reserved_view_expires_without_a_drop)
{
	view_get(&table, alice, target, 0);
	view_expire(&table, 5000);
	ck_assert_uint_eq(ndropped, 0);
	ck_assert_uint_eq(table.nviews, 0);
}
END_TEST

START_TEST(the_reader_exits)
{
	struct view *a = taken(alice, target, 0);
	struct view *open = taken(alice, other, 0);

	view_open(&table, open, 0);
	view_reader_gone(&table, a->reader);
	ck_assert_uint_eq(ndropped, 1);
	ck_assert_ptr_eq(dropped[0], a);
	/* A descriptor was passed on: it holds its view, and no other. */
	ck_assert_int_eq(open->state, VIEW_TAKEN);
	ck_assert_ptr_null(view_find(&table, alice, other));
	ck_assert_ptr_eq(view_find_gen(&table, open->gen), open);
	view_close(&table, open, 1);
	ck_assert_uint_eq(ndropped, 2);
	ck_assert_uint_eq(nunused, 1);
}
END_TEST

START_TEST(the_reader_exits_while_it_is_taken)
{
	struct view *v = begin(alice, target, 0);

	view_use(v); /* a waiting request */
	view_reader_gone(&table, v->reader);
	ck_assert_int_eq(v->state, VIEW_TAKING);
	view_taken(&table, v, CP, &info, 1);
	ck_assert_uint_eq(ndropped, 0);
	view_unuse(&table, v);
	ck_assert_uint_eq(ndropped, 1);
}
END_TEST

START_TEST(ended_while_in_use)
{
	struct view *v = taken(alice, target, 0);

	view_use(v);
	view_end(&table, v);
	ck_assert_uint_eq(ndropped, 0);
	ck_assert_ptr_null(view_find_gen(&table, v->gen));
	view_unuse(&table, v);
	ck_assert_uint_eq(ndropped, 1);
}
END_TEST

START_TEST(a_failure_is_tried_again)
{
	struct view *v = begin(alice, target, 0);

	view_use(v);
	view_failed(&table, v, -EBUSY, 1);
	ck_assert_int_eq(v->state, VIEW_RESERVED);
	ck_assert_uint_eq(table.ntaken, 0);
	view_unuse(&table, v);
	ck_assert_ptr_eq(taken(alice, target, 2), v);
	ck_assert_uint_eq(table.ntaken, 1);
}
END_TEST

START_TEST(one_that_does_not_freeze_is_not_tried_for_each_file)
{
	struct view *v = begin(alice, target, 0);

	view_failed(&table, v, -ETIMEDOUT, 2000);
	ck_assert_int_eq(view_recent_error(v, 2000), -ETIMEDOUT);
	ck_assert_int_eq(view_recent_error(v, 2999), -ETIMEDOUT);
	ck_assert_int_eq(view_recent_error(v, 3000), 0);
	begin(alice, target, 3000);
	view_failed(&table, v, -EBUSY, 3000);
	ck_assert_int_eq(view_recent_error(v, 3000), 0);
}
END_TEST

START_TEST(a_failure_after_the_end)
{
	struct view *v = begin(alice, target, 0);

	view_use(v);
	view_end(&table, v);
	view_failed(&table, v, -EBUSY, 1);
	view_unuse(&table, v); /* frees it */
	ck_assert_uint_eq(ndropped, 0);
	ck_assert_uint_eq(table.ntaken, 0);
}
END_TEST

START_TEST(listing_again_begins_anew)
{
	struct view *v = view_get(&table, alice, target, 0), *w;
	uint32_t gen = v->gen;

	/* The first listing reserves the generation that is read then. */
	view_open(&table, v, 0);
	ck_assert_ptr_eq(view_list_top(&table, v, 0), v);
	view_close(&table, v, 0);
	v = taken(alice, target, 1);
	ck_assert_uint_eq(v->gen, gen);

	view_open(&table, v, 2);
	w = view_list_top(&table, v, 2);
	ck_assert_ptr_ne(w, v);
	ck_assert_uint_ne(w->gen, gen);
	ck_assert_int_eq(w->state, VIEW_RESERVED);
	ck_assert_uint_eq(w->nopen, 1);
	ck_assert_uint_eq(ndropped, 1);
	view_close(&table, w, 3);
}
END_TEST

START_TEST(listing_with_a_file_open_keeps)
{
	struct view *v = taken(alice, target, 0);

	view_open(&table, v, 0);
	view_open(&table, v, 1);
	ck_assert_ptr_eq(view_list_top(&table, v, 1), v);
	ck_assert_int_eq(v->state, VIEW_TAKEN);
	view_close(&table, v, 2);
	view_close(&table, v, 2);
}
END_TEST

START_TEST(room_is_made_by_the_same_reader_first)
{
	struct view *a = taken(alice, target, 0);
	struct view *b = taken(bob, target, 10);
	struct view *c = taken(bob, other, 20);
	struct proc_id third = { 9, 1 };
	struct view *v = view_get(&table, bob, third, 30);

	/* Not the least recently used one, which is another's. */
	ck_assert(view_make_room(&table, v, 30));
	ck_assert_int_eq(a->state, VIEW_TAKEN);
	ck_assert_int_eq(b->state, VIEW_ENDED);
	ck_assert_int_eq(c->state, VIEW_TAKEN);
}
END_TEST

START_TEST(room_is_not_made_in_the_middle_of_a_copy)
{
	struct proc_id carol = { 300, 1 };
	struct view *a = taken(alice, target, 0), *v;

	view_open(&table, taken(alice, other, 0), 0);
	view_open(&table, taken(bob, target, 0), 0);
	v = view_get(&table, carol, target, 0);
	ck_assert(!view_make_room(&table, v, 999));
	ck_assert_int_eq(a->state, VIEW_TAKEN);
	ck_assert(view_make_room(&table, v, 1000));
	ck_assert_int_eq(a->state, VIEW_ENDED);
	view_taking(&table, v, &creds, 1000);
	ck_assert(!view_make_room(&table, v, 100000));
	view_failed(&table, v, -EBUSY, 0);
	TAILQ_FOREACH (v, &table.views, by_use)
		v->nopen = 0;
}
END_TEST

START_TEST(generations_come_round)
{
	struct view *a, *b;

	table.last_gen = NODE_MAX_GEN - 1;
	a = view_get(&table, alice, target, 0);
	b = view_get(&table, bob, target, 0);
	ck_assert_uint_eq(a->gen, NODE_MAX_GEN);
	ck_assert_uint_eq(b->gen, 1);
	table.last_gen = NODE_MAX_GEN - 1;
	ck_assert_uint_eq(view_get(&table, bob, other, 0)->gen, 2);
}
END_TEST

#define PTRACE (1u << CAP_SYS_PTRACE)
#define USER(u, g, c) .uid = u, .gid = g, .caps = c

static const struct {
	struct view_creds caller, taken;
	bool covers;
} covers[] = {
	{ { USER(1000, 1000, 0) }, { USER(1000, 1000, 0) }, true },
	{ { USER(1000, 1000, 0) }, { USER(1001, 1000, 0) }, false },
	{ { USER(1000, 1000, 0) }, { USER(1000, 1001, 0) }, false },
	/* Taken with more than the uid: having it is needed. */
	{ { USER(1000, 1000, 0) }, { USER(1000, 1000, PTRACE) }, false },
	{ { USER(0, 0, 0) }, { USER(0, 0, PTRACE) }, false },
	{ { USER(1000, 1000, PTRACE) }, { USER(0, 0, 0) }, true },
	{ { USER(1000, 1000, 1u << CAP_SYS_ADMIN) }, { USER(0, 0, 0) }, false },
	/* Another user namespace: another uid, whatever its number. */
	{ { USER(1000, 1000, 0), .userns = 7 }, { USER(1000, 1000, 0) },
	    false },
	{ { USER(1000, 1000, 0) }, { USER(1000, 1000, 0), .userns = 7 },
	    false },
	{ { USER(1000, 1000, 0), .userns = 7 },
	    { USER(1000, 1000, 0), .userns = 7 }, true },
	{ { USER(1000, 1000, 0), .userns = 7 },
	    { USER(1000, 1000, 0), .userns = 7, .ns_eff = PTRACE }, false },
	{ { USER(1000, 1000, 0), .userns = 7, .ns_eff = PTRACE },
	    { USER(1000, 1000, 0) }, false },
	/* Another pid namespace: not what is outside of it, with any rights. */
	{ { USER(0, 0, PTRACE), .pidns = 8 }, { USER(0, 0, 0) }, false },
	{ { USER(0, 0, PTRACE), .pidns = 8 }, { USER(0, 0, 0), .pidns = 8 },
	    true },
	{ { USER(0, 0, PTRACE) }, { USER(0, 0, 0), .pidns = 8 }, true },
};

START_TEST(rights)
{
	ck_assert(view_creds_cover(&covers[_i].caller, &covers[_i].taken) ==
		  covers[_i].covers);
}
END_TEST

/* ---- with a name ---- */

static struct view *
named(const char *name, uint64_t now)
{
	struct view *v = NULL;

	ck_assert_int_eq(
	    view_named_new(&table, name, target, &creds, now, &v), 0);
	view_taking(&table, v, &creds, now);
	v->job = JOB;
	ck_assert_ptr_null(view_named_find(&table, name));
	view_taken(&table, v, CP, &info, now);
	return v;
}

START_TEST(a_name_is_kept_until_the_end)
{
	struct view *v = named("7@a", 0);

	ck_assert_ptr_eq(view_named_find(&table, "7@a"), v);
	ck_assert_ptr_eq(view_find_gen(&table, v->gen), v);
	ck_assert_int_eq(view_owner(v).pid, 0);
	ck_assert_int_eq(view_expire(&table, 1000000), -1);
	view_open(&table, v, 1000000);
	view_close(&table, v, 1000001);
	ck_assert_uint_eq(ndropped, 0);
	/* It takes no place from readers, and none of them has it. */
	ck_assert_uint_eq(table.ntaken, 0);
	ck_assert_ptr_null(view_find(&table, alice, target));
	view_end(&table, v);
	ck_assert_uint_eq(ndropped, 1);
	ck_assert_ptr_null(view_named_find(&table, "7@a"));
}
END_TEST

START_TEST(a_name_is_not_evicted)
{
	struct view *v = named("7@a", 0);

	taken(alice, target, 0);
	taken(alice, other, 0);
	taken(bob, target, 0);
	ck_assert(
	    view_make_room(&table, view_get(&table, bob, other, 90000), 90000));
	ck_assert_uint_eq(ndropped, 1);
	ck_assert_ptr_ne(dropped[0], v);
}
END_TEST

START_TEST(names_are_taken)
{
	struct view *a = named("7@a", 0), *v;

	ck_assert_int_eq(
	    view_named_new(&table, "7@a", other, &creds, 0, &v), -EEXIST);
	ck_assert_int_eq(view_named_rename(&table, a, "7@a", true), 0);
	ck_assert_int_eq(view_named_rename(&table, a, "7@b", true), 0);
	ck_assert_ptr_null(view_named_find(&table, "7@a"));
	ck_assert_ptr_eq(view_named_find(&table, "7@b"), a);
	named("7@a", 0);
	ck_assert_int_eq(
	    view_named_rename(&table, a, "7@a", false), -ENOTEMPTY);
	ck_assert_int_eq(view_named_rename(&table, a, "7@a", true), -EEXIST);
	ck_assert_ptr_eq(view_named_find(&table, "7@b"), a);
}
END_TEST

START_TEST(so_many_for_each_user)
{
	const struct view_creds them = { .uid = 1001, .gid = 1001 };
	struct view *v = named("7@a", 0);

	named("7@b", 0);
	ck_assert_int_eq(
	    view_named_new(&table, "7@c", target, &creds, 0, &v), -EDQUOT);
	ck_assert_int_eq(
	    view_named_new(&table, "7@c", target, &them, 0, &v), 0);
	view_end(&table, view_named_find(&table, "7@a"));
	named("7@d", 0);
}
END_TEST

/* mkdir(2) was interrupted: the name is free, whatever comes of the rest. */
START_TEST(a_name_that_ends_while_it_is_taken)
{
	struct view *v = NULL;

	ck_assert_int_eq(
	    view_named_new(&table, "7@a", target, &creds, 0, &v), 0);
	view_taking(&table, v, &creds, 0);
	v->job = JOB;
	view_end(&table, v);
	ck_assert_uint_eq(ndropped, 1); /* told, but it is at work */
	named("7@a", 0);
	ndropped = 0;
	if (_i == 0)
		view_failed(&table, v, -EBUSY, 1);
	else
		view_taken(&table, v, CP, &info, 1);
	ck_assert_uint_eq(ndropped, (unsigned)_i);
	ck_assert_ptr_nonnull(view_named_find(&table, "7@a"));
}
END_TEST

START_TEST(a_name_that_fails)
{
	struct view *v = NULL;

	ck_assert_int_eq(
	    view_named_new(&table, "7@a", target, &creds, 0, &v), 0);
	view_taking(&table, v, &creds, 0);
	v->job = JOB;
	view_use(v);
	view_failed(&table, v, -EBUSY, 1);
	ck_assert_int_eq(v->state, VIEW_ENDED);
	named("7@a", 2);
	view_unuse(&table, v); /* frees it */
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("view");
	TCase *tc = tcase_create("view");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, each_reader_its_own);
	tcase_add_test(tc, a_pid_used_again_is_another);
	tcase_add_test(tc, unused_for_the_linger_time);
	tcase_add_test(tc, open_is_not_unused);
	tcase_add_test(tc, a_reserved_view_expires_without_a_drop);
	tcase_add_test(tc, the_reader_exits);
	tcase_add_test(tc, the_reader_exits_while_it_is_taken);
	tcase_add_test(tc, ended_while_in_use);
	tcase_add_test(tc, a_failure_is_tried_again);
	tcase_add_test(tc, one_that_does_not_freeze_is_not_tried_for_each_file);
	tcase_add_test(tc, a_failure_after_the_end);
	tcase_add_test(tc, listing_again_begins_anew);
	tcase_add_test(tc, listing_with_a_file_open_keeps);
	tcase_add_test(tc, room_is_made_by_the_same_reader_first);
	tcase_add_test(tc, room_is_not_made_in_the_middle_of_a_copy);
	tcase_add_test(tc, generations_come_round);
	tcase_add_test(tc, a_name_is_kept_until_the_end);
	tcase_add_test(tc, a_name_is_not_evicted);
	tcase_add_test(tc, names_are_taken);
	tcase_add_test(tc, so_many_for_each_user);
	tcase_add_loop_test(tc, a_name_that_ends_while_it_is_taken, 0, 2);
	tcase_add_test(tc, a_name_that_fails);
	tcase_add_loop_test(tc, rights, 0, sizeof(covers) / sizeof(covers[0]));
	suite_add_tcase(s, tc);
	return unit_run(s);
}
