/*
 * Trees of processes: do they fit together, whose pages are whose, and who is
 * to be born of whom.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cow.h"
#include "ctx.h"
#include "family.h"
#include "restore_tree.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

static struct snap_ctx *cx;
static struct family family;
static size_t pieces;

static struct process *
add(size_t parent, pid_t pid, pid_t pgid, pid_t sid)
{
	struct process *p = family_add(&family, parent);
	struct thread *t;

	ck_assert_ptr_nonnull(p);
	t = process_grow(&p->threads, &p->nthreads, sizeof(*t));
	ck_assert_ptr_nonnull(t);
	t->tid = p->pid = pid;
	p->ppid = family.n > 1 ? family.v[p->parent]->pid : 1;
	p->pgid = pgid;
	p->sid = sid;
	p->exit_signal = SIGCHLD;
	return p;
}

static void
set_up(void)
{
	cx = snap_ctx_new(NULL);
	ck_assert_ptr_nonnull(cx);
	memset(&family, 0, sizeof(family));
}

static void
tear_down(void)
{
	family_fini(&family);
	snap_ctx_free(cx);
}

static void
says(int got, int err, const char *part)
{
	ck_assert_msg(
	    got == err, "%d instead of %d: %s", got, err, snap_error(cx));
	ck_assert_msg(
	    strstr(snap_error(cx), part) != NULL, "%s", snap_error(cx));
}

/* ---- family_check ---- */

static void
three(void)
{
	add(0, 10, 10, 10);
	add(0, 11, 10, 10);
	add(1, 12, 10, 10);
}

static void
add_zombie(struct process *p, pid_t pid, pid_t pgid, pid_t sid)
{
	struct zombie *z = process_grow(&p->zombies, &p->nzombies, sizeof(*z));

	ck_assert_ptr_nonnull(z);
	*z = (struct zombie){ .pid = pid,
		.pgid = pgid,
		.sid = sid,
		.status = 0x700,
		.exit_signal = SIGCHLD,
		.comm = "gone" };
}

static struct content *
add_content(struct process *p, uint32_t id, uint32_t up, uint64_t size)
{
	struct content *c =
	    process_grow(&p->contents, &p->ncontents, sizeof(*c));

	ck_assert_ptr_nonnull(c);
	*c = (struct content){ .id = id, .up = up, .fd = -1, .size = size };
	return c;
}

static struct openfile *
add_fd(struct process *p, int fd, const char *kind, const char *same)
{
	struct openfile *f = process_grow(&p->files, &p->nfiles, sizeof(*f));
	struct fdent *e = process_grow(&p->fds, &p->nfds, sizeof(*e));

	f->id = (uint32_t)fd;
	snprintf(f->kind, sizeof(f->kind), "%s", kind);
	f->target = strdup("anon_inode:[eventfd]");
	ck_assert_int_eq(openfile_put(f, "target", "%s", f->target), 0);
	if (same != NULL)
		ck_assert_int_eq(openfile_put(f, "same", "%s", same), 0);
	*e = (struct fdent){ fd, false, (uint32_t)p->nfiles - 1 };
	return f;
}

START_TEST(fits)
{
	three();
	add_zombie(family.v[1], 13, 10, 10);
	add_content(family.v[0], 1, 0, 100);
	add_content(family.v[2], 1, 2, 100);
	add_content(family.v[1], 2, 0, 5);
	add_fd(family.v[0], 4, "eventfd", NULL);
	add_fd(family.v[2], 7, "eventfd", "10/4");
	ck_assert_msg(family_check(cx, &family) == 0, "%s", snap_error(cx));
}
END_TEST

START_TEST(one_id_twice)
{
	struct thread *t;

	three();
	t = process_grow(
	    &family.v[1]->threads, &family.v[1]->nthreads, sizeof(*t));
	t->tid = 12;
	says(family_check(cx, &family), -EBADMSG, "the id 12 is there twice");
}
END_TEST

START_TEST(zombie_of_the_same_id)
{
	three();
	add_zombie(family.v[2], 10, 10, 10);
	says(family_check(cx, &family), -EBADMSG, "the id 10 is there twice");
}
END_TEST

START_TEST(content_that_is_not_there)
{
	three();
	add_content(family.v[2], 3, 1, 10);
	says(family_check(cx, &family), -EBADMSG,
	    "process 12 shares contents 3 with process 11");
}
END_TEST

START_TEST(content_of_another_size)
{
	three();
	add_content(family.v[0], 3, 0, 11);
	add_content(family.v[2], 3, 2, 10);
	says(family_check(cx, &family), -EBADMSG, "which does not have them");
}
END_TEST

/* What one refers to must not itself be a reference. */
START_TEST(content_of_a_reference)
{
	three();
	add_content(family.v[0], 3, 0, 10);
	add_content(family.v[1], 3, 1, 10);
	add_content(family.v[2], 3, 1, 10);
	says(family_check(cx, &family), -EBADMSG, "which does not have them");
}
END_TEST

START_TEST(content_twice)
{
	three();
	add_content(family.v[1], 3, 0, 10);
	add_content(family.v[2], 3, 0, 10);
	says(family_check(cx, &family), -EBADMSG,
	    "processes 11 and 12 both have contents 3");
}
END_TEST

/* A tree that is restored from its middle: what lies above is the first's. */
START_TEST(content_from_above)
{
	const struct content *c;

	three();
	add_content(family.v[1], 9, 2, 10);
	add_content(family.v[2], 9, 3, 10);
	ck_assert_msg(family_check(cx, &family) == 0, "%s", snap_error(cx));
	c = family_own(family.v[0], 9);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->up, 0);
	ck_assert_ptr_eq(family_content(family.v[2], 9), c);
	ck_assert_uint_eq(family_own(family.v[2], 9)->up, 2);
}
END_TEST

START_TEST(file_of_another_kind)
{
	three();
	add_fd(family.v[0], 4, "pipe", NULL);
	add_fd(family.v[2], 7, "eventfd", "10/4");
	says(family_check(cx, &family), -EBADMSG,
	    "fdinfo/7 of process 12 is not the same open file as fdinfo/4 of "
	    "process 10");
}
END_TEST

START_TEST(file_of_other_flags)
{
	three();
	add_fd(family.v[0], 4, "eventfd", NULL)->flags = 1;
	add_fd(family.v[2], 7, "eventfd", "10/4");
	says(family_check(cx, &family), -EBADMSG, "is not the same open file");
}
END_TEST

/* 12 means 11's, which means 12's. */
START_TEST(files_in_a_circle)
{
	three();
	add_fd(family.v[1], 4, "eventfd", "12/7");
	add_fd(family.v[2], 7, "eventfd", "11/4");
	says(family_check(cx, &family), -EBADMSG, "is not the same open file");
}
END_TEST

/* An edited image may lack the one that is meant: it has one of its own then. */
START_TEST(file_of_nobody)
{
	uint32_t index;
	struct openfile *f;

	three();
	f = add_fd(family.v[2], 7, "eventfd", "10/4");
	ck_assert_int_eq(family_check(cx, &family), 0);
	ck_assert_ptr_eq(family_file(family.v[2], f, &index), family.v[2]);
	ck_assert_uint_eq(index, 0);
}
END_TEST

START_TEST(settled)
{
	struct content *c;
	int fd = dup(2);

	three();
	add_content(family.v[2], 5, 0, 10)->fd = fd;
	add_content(family.v[1], 5, 0, 10);
	ck_assert_int_eq(family_settle_contents(&family), 0);
	c = family_own(family.v[0], 5);
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(c->fd, fd);
	ck_assert_uint_eq(family_own(family.v[1], 5)->up, 1);
	ck_assert_uint_eq(family_own(family.v[2], 5)->up, 2);
	ck_assert_int_eq(family_check(cx, &family), 0);
}
END_TEST

/* ---- cow_resolve ---- */

static void
run(struct process *p, uint64_t start, uint64_t end, enum run_kind kind,
    uint64_t offset)
{
	struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

	*r = (struct run){ .start = start,
		.end = end,
		.kind = kind,
		.offset = offset,
		.src_off = offset };
}

static void
is_run(const struct process *p, size_t i, uint64_t start, uint64_t end,
    uint64_t offset, uint32_t up)
{
	const struct run *r = &p->runs[i];

	ck_assert_uint_lt(i, p->nruns);
	ck_assert_int_eq(r->kind, RUN_HELD);
	ck_assert_msg(r->start == start && r->end == end &&
			  r->offset == offset && r->src_off == offset &&
			  r->up == up,
	    "run %zu: %lx-%lx at %lx, %u up", i, (unsigned long)r->start,
	    (unsigned long)r->end, (unsigned long)r->offset, r->up);
}

START_TEST(pages_of_the_parent)
{
	struct process *p, *q, *g;

	three();
	g = family.v[0];
	q = family.v[1];
	p = family.v[2];
	run(g, 0x1000, 0x9000, RUN_HELD, 0x10000);
	/* The middle is its own; the first and the last are its parent's. */
	run(q, 0x1000, 0x3000, RUN_INHERITED, 0);
	run(q, 0x3000, 0x5000, RUN_HELD, 0);
	run(q, 0x5000, 0x9000, RUN_INHERITED, 0);
	run(p, 0x2000, 0x6000, RUN_INHERITED, 0);
	run(p, 0x6000, 0x7000, RUN_HELD, 0x2000);
	run(p, 0x8000, 0x9000, RUN_INHERITED, 0);
	ck_assert(cow_is_partial(p) && !cow_is_partial(g));

	ck_assert_int_eq(cow_resolve(cx, q, g, &pieces), 0);
	ck_assert_uint_eq(q->nruns, 3);
	is_run(q, 0, 0x1000, 0x3000, 0x10000, 1);
	is_run(q, 1, 0x3000, 0x5000, 0, 0);
	is_run(q, 2, 0x5000, 0x9000, 0x14000, 1);
	ck_assert_int_eq(cow_resolve(cx, p, q, &pieces), 0);
	ck_assert_uint_eq(p->nruns, 5);
	is_run(p, 0, 0x2000, 0x3000, 0x11000, 2);
	is_run(p, 1, 0x3000, 0x5000, 0, 1);
	is_run(p, 2, 0x5000, 0x6000, 0x14000, 2);
	is_run(p, 3, 0x6000, 0x7000, 0x2000, 0);
	is_run(p, 4, 0x8000, 0x9000, 0x17000, 2);
	ck_assert(!cow_is_partial(p));
}
END_TEST

static const struct {
	const char *name;
	uint64_t start,
	    end; /* of the parent's run; it is asked for 2000-5000 */
	enum run_kind kind;
} lacking[] = {
	{ "none", 0, 0, RUN_HELD },
	{ "before", 0x1000, 0x2000, RUN_HELD },
	{ "not its end", 0x2000, 0x4000, RUN_HELD },
	{ "not its beginning", 0x3000, 0x5000, RUN_HELD },
	{ "a guard", 0x2000, 0x5000, RUN_GUARD },
	{ "not resolved", 0x2000, 0x5000, RUN_INHERITED },
};

START_TEST(pages_that_nobody_has)
{
	struct process *p, *q;

	three();
	q = family.v[0];
	p = family.v[1];
	if (lacking[_i].end != 0)
		run(q, lacking[_i].start, lacking[_i].end, lacking[_i].kind, 0);
	run(p, 0x2000, 0x5000, RUN_INHERITED, 0);
	says(cow_resolve(cx, p, q, &pieces), -EBADMSG,
	    "run 2000-5000: its parent, process 10, does not hold these "
	    "pages");
	/* And is as it was. */
	ck_assert_uint_eq(p->nruns, 1);
	ck_assert(cow_is_partial(p));
}
END_TEST

/* A hole between two of the parent's. */
START_TEST(pages_with_a_hole)
{
	three();
	run(family.v[0], 0x2000, 0x3000, RUN_HELD, 0);
	run(family.v[0], 0x4000, 0x5000, RUN_HELD, 0x1000);
	run(family.v[1], 0x2000, 0x5000, RUN_INHERITED, 0);
	says(cow_resolve(cx, family.v[1], family.v[0], &pieces), -EBADMSG,
	    "does not hold these pages");
}
END_TEST

static void
former(struct process *q, uint64_t start, uint64_t end, uint64_t offset)
{
	struct run *r = process_grow(&q->former, &q->nformer, sizeof(*r));

	*r = (struct run){ .start = start,
		.end = end,
		.kind = RUN_HELD,
		.offset = offset,
		.src_off = offset };
}

/* What the parent had is not what it has. */
START_TEST(pages_the_parent_had)
{
	struct process *p, *q, *g;
	size_t k = 0;

	three();
	g = family.v[0];
	q = family.v[1];
	p = family.v[2];
	run(g, 0x1000, 0x9000, RUN_HELD, 0x10000);
	former(g, 0x2000, 0x4000, 0x20000);
	former(g, 0x4000, 0x6000, 0x30000);
	former(g, 0x6000, 0x8000, 0x40000);
	run(q, 0x1000, 0x2000, RUN_INHERITED, 0);
	run(q, 0x3000, 0x5000, RUN_FORMER, 0);
	run(q, 0x5000, 0x6000, RUN_HELD, 0);
	run(q, 0x6000, 0x8000, RUN_INHERITED, 0);
	/* Its parent has it, from there. */
	run(p, 0x4000, 0x5000, RUN_INHERITED, 0);
	ck_assert(cow_is_partial(q));

	ck_assert_int_eq(cow_resolve(cx, q, g, &pieces), 0);
	ck_assert_uint_eq(q->nruns, 5);
	is_run(q, 0, 0x1000, 0x2000, 0x10000, 1);
	is_run(q, 1, 0x3000, 0x4000, 0x21000, 1);
	is_run(q, 2, 0x4000, 0x5000, 0x30000, 1);
	is_run(q, 3, 0x5000, 0x6000, 0, 0);
	is_run(q, 4, 0x6000, 0x8000, 0x15000, 1);
	ck_assert(!q->runs[0].former && q->runs[1].former && q->runs[2].former);
	ck_assert_int_eq(cow_shares(q, &g->former[0], &k), COW_FORMER);
	ck_assert_int_eq(cow_shares(q, &g->former[1], &k), COW_FORMER);
	ck_assert_int_eq(cow_shares(q, &g->former[2], &k), COW_CURRENT);
	k = 0;
	ck_assert_int_eq(cow_shares(p, &g->former[2], &k), COW_NOTHING);

	ck_assert_int_eq(cow_resolve(cx, p, q, &pieces), 0);
	is_run(p, 0, 0x4000, 0x5000, 0x30000, 2);
	ck_assert(!p->runs[0].former);
}
END_TEST

START_TEST(pages_the_parent_had_not)
{
	three();
	run(family.v[0], 0x2000, 0x5000, RUN_HELD, 0);
	former(family.v[0], 0x2000, 0x4000, 0x3000);
	run(family.v[1], 0x2000, 0x5000, RUN_FORMER, 0);
	says(cow_resolve(cx, family.v[1], family.v[0], &pieces), -EBADMSG,
	    "does not hold these pages");
}
END_TEST

/* With one line of its parent's it is born, or without. */
START_TEST(pages_of_two_times)
{
	three();
	run(family.v[0], 0x2000, 0x4000, RUN_HELD, 0);
	former(family.v[0], 0x2000, 0x4000, 0x2000);
	run(family.v[1], 0x2000, 0x3000, RUN_FORMER, 0);
	run(family.v[1], 0x3000, 0x4000, RUN_INHERITED, 0);
	says(cow_resolve(cx, family.v[1], family.v[0], &pieces), -EBADMSG,
	    "of 2000-4000 it has both");
}
END_TEST

/* ---- restore_infants ---- */

static struct restore_tree tree;

static int
infants(void)
{
	tree =
	    (struct restore_tree){ .cx = cx, .family = &family, .n = family.n };
	return restore_infants(&tree);
}

static const struct infant *
infant(pid_t pid)
{
	for (size_t i = 0; i < tree.ninfants; i++)
		if (tree.infants[i].pid == pid)
			return &tree.infants[i];
	ck_abort_msg("no infant %d", (int)pid);
	return NULL;
}

/* It stands for one that is no more: a helper, made by whom? */
static void
is_helper(pid_t pid, size_t parent)
{
	ck_assert_int_eq(infant(pid)->kind, INFANT_HELPER);
	ck_assert_uint_eq(infant(pid)->parent, parent);
}

START_TEST(plain_births)
{
	three();
	ck_assert_int_eq(infants(), 0);
	ck_assert_uint_eq(tree.ninfants, 3);
	ck_assert_uint_eq(tree.infants[2].parent, 1);
	ck_assert_int_eq(tree.infants[2].sid, 10);
	ck_assert_uint_eq(tree.infants[2].helper, 0);
	restore_infants_free(&tree);
}
END_TEST

/* A session and a group of the world outside become the first's own. */
START_TEST(outer_session)
{
	add(0, 10, 7, 5);
	add(0, 11, 7, 5);
	add(0, 12, 12, 5);
	ck_assert_int_eq(infants(), 0);
	ck_assert_uint_eq(tree.ninfants, 3);
	ck_assert_int_eq(infant(11)->sid, 10);
	ck_assert_int_eq(infant(11)->pgid, 10);
	ck_assert_int_eq(infant(12)->pgid, 12);
	restore_infants_free(&tree);
}
END_TEST

/* 11 left 10's session, when it had a child that is there still. */
START_TEST(born_before_the_session)
{
	add(0, 10, 10, 10);
	add(0, 11, 11, 11);
	add(1, 12, 10, 10);
	ck_assert_int_eq(infants(), 0);
	ck_assert_uint_eq(tree.ninfants, 3);
	ck_assert_int_eq(infant(12)->born_in, 10);
	ck_assert_uint_eq(infant(12)->helper, 0);
	restore_infants_free(&tree);
}
END_TEST

/* Two leaders, one below the other, and a child of the eldest session. */
START_TEST(born_before_two_sessions)
{
	add(0, 10, 10, 10);
	add(0, 11, 11, 11);
	add(1, 12, 12, 12);
	add(2, 13, 10, 10);
	ck_assert_int_eq(infants(), 0);
	ck_assert_uint_eq(tree.ninfants, 4);
	ck_assert_int_eq(infant(13)->born_in, 10);
	ck_assert_int_eq(infant(12)->born_in, 10);
	ck_assert_int_eq(infant(11)->born_in, 10);
	restore_infants_free(&tree);
}
END_TEST

START_TEST(leader_of_a_session_is_no_more)
{
	add(0, 10, 10, 10);
	add(0, 12, 11, 11);
	add(0, 13, 13, 11);
	ck_assert_int_eq(infants(), 0);
	is_helper(11, 0);
	ck_assert_int_eq(infant(11)->sid, 11);
	ck_assert_ptr_eq(&tree.infants[infant(12)->helper], infant(11));
	/* One helper for both. */
	ck_assert_uint_eq(infant(13)->helper, infant(12)->helper);
	ck_assert_uint_eq(tree.ninfants, 4);
	restore_infants_free(&tree);
}
END_TEST

/* A zombie can do it before it ends. */
START_TEST(leader_is_a_zombie)
{
	add(0, 10, 10, 10);
	add(0, 12, 11, 11);
	add_zombie(family.v[0], 11, 11, 11);
	ck_assert_int_eq(infants(), 0);
	ck_assert_uint_eq(tree.ninfants, 3);
	ck_assert_int_eq(infant(11)->kind, INFANT_ZOMBIE);
	ck_assert_int_eq(infant(11)->status, 0x700);
	ck_assert_ptr_eq(&tree.infants[infant(12)->helper], infant(11));
	restore_infants_free(&tree);
}
END_TEST

START_TEST(leader_of_a_group_is_no_more)
{
	add(0, 10, 10, 10);
	add(0, 12, 11, 10);
	ck_assert_int_eq(infants(), 0);
	is_helper(11, 1);
	ck_assert_int_eq(infant(11)->sid, 10);
	ck_assert_int_eq(infant(11)->pgid, 11);
	ck_assert_uint_eq(infant(12)->helper, 0);
	restore_infants_free(&tree);
}
END_TEST

/* It has lost its parent, and its leader makes it for who has adopted it. */
START_TEST(leader_is_beside)
{
	add(0, 10, 10, 10);
	add(0, 11, 11, 11);
	add(0, 12, 12, 11);
	ck_assert_int_eq(infants(), 0);
	ck_assert_ptr_eq(&tree.infants[infant(12)->helper], infant(11));
	restore_infants_free(&tree);
}
END_TEST

/* ---- what is shared from birth ---- */

static void
share(enum share k)
{
	three();
	for (size_t i = 0; i < 3; i++) {
		struct process *p = family.v[i];

		p->cwd = strdup("/home");
		p->root = strdup("/");
		p->umask = 022;
		add_fd(p, 4, "eventfd", i == 0 ? NULL : "10/4");
	}
	family.v[2]->share[k] = 10;
}

START_TEST(shared)
{
	share(SHARE_FDS);
	family.v[1]->share[SHARE_FDS] = 10;
	family.v[1]->share[SHARE_FS] = 10;
	ck_assert_msg(family_check(cx, &family) == 0, "%s", snap_error(cx));
	ck_assert_ptr_eq(family_sharer(family.v[2], SHARE_FDS), family.v[0]);
	ck_assert_ptr_eq(family_sharer(family.v[2], SHARE_FS), family.v[2]);
	ck_assert_ptr_eq(family_sharer(family.v[0], SHARE_FDS), family.v[0]);
}
END_TEST

/* The one that is named is above the image: who is left has it together. */
START_TEST(shared_with_one_above)
{
	share(SHARE_FDS);
	family.v[1]->share[SHARE_FDS] = family.v[2]->share[SHARE_FDS] = 9;
	ck_assert_msg(family_check(cx, &family) == 0, "%s", snap_error(cx));
	ck_assert_ptr_eq(family_sharer(family.v[2], SHARE_FDS), family.v[1]);
	ck_assert_ptr_eq(family_sharer(family.v[1], SHARE_FDS), family.v[1]);
}
END_TEST

START_TEST(shared_with_no_first)
{
	share(SHARE_FS);
	family.v[1]->share[SHARE_FS] = 12;
	family.v[2]->share[SHARE_FS] = 0;
	says(family_check(cx, &family), -EBADMSG, "not the first that does");
}
END_TEST

START_TEST(shared_in_a_row)
{
	share(SHARE_FS);
	family.v[1]->share[SHARE_FS] = 10;
	family.v[2]->share[SHARE_FS] = 11;
	says(family_check(cx, &family), -EBADMSG, "not the first that does");
}
END_TEST

START_TEST(shared_but_one_more)
{
	share(SHARE_FDS);
	add_fd(family.v[2], 6, "eventfd", NULL);
	says(family_check(cx, &family), -EBADMSG, "fd/6 is not the same");
}
END_TEST

/* A file that is on its way in a socket is nobody's descriptor. */
START_TEST(shared_and_one_in_flight)
{
	share(SHARE_FDS);
	openfile_put(add_fd(family.v[0], 9, "eventfd", NULL), "in-flight", "1");
	ck_assert_msg(family_check(cx, &family) == 0, "%s", snap_error(cx));
}
END_TEST

START_TEST(shared_but_closed_on_exec)
{
	share(SHARE_FDS);
	family.v[2]->fds[0].cloexec = true;
	says(family_check(cx, &family), -EBADMSG, "fd/4 is not the same");
}
END_TEST

/* To edit one of them contradicts the other. */
START_TEST(shared_but_edited)
{
	share(SHARE_FDS);
	strcpy(family.v[2]->files[0].target, "/dev/null");
	says(family_check(cx, &family), -EBADMSG, "edit it in both");
	strcpy(family.v[0]->files[0].target, "/dev/null");
	ck_assert_int_eq(family_check_shares(cx, &family), 0);
}
END_TEST

START_TEST(shared_but_elsewhere)
{
	share(SHARE_FS);
	family.v[2]->umask = 027;
	says(family_check(cx, &family), -EBADMSG, "umask is not the same");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("family");
	TCase *tc = tcase_create("family");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, fits);
	tcase_add_test(tc, one_id_twice);
	tcase_add_test(tc, zombie_of_the_same_id);
	tcase_add_test(tc, content_that_is_not_there);
	tcase_add_test(tc, content_of_another_size);
	tcase_add_test(tc, content_of_a_reference);
	tcase_add_test(tc, content_twice);
	tcase_add_test(tc, content_from_above);
	tcase_add_test(tc, file_of_another_kind);
	tcase_add_test(tc, file_of_other_flags);
	tcase_add_test(tc, files_in_a_circle);
	tcase_add_test(tc, file_of_nobody);
	tcase_add_test(tc, settled);
	tcase_add_test(tc, pages_of_the_parent);
	tcase_add_loop_test(tc, pages_that_nobody_has, 0, (int)COUNT(lacking));
	tcase_add_test(tc, pages_with_a_hole);
	tcase_add_test(tc, pages_the_parent_had);
	tcase_add_test(tc, pages_the_parent_had_not);
	tcase_add_test(tc, pages_of_two_times);
	tcase_add_test(tc, plain_births);
	tcase_add_test(tc, outer_session);
	tcase_add_test(tc, born_before_the_session);
	tcase_add_test(tc, born_before_two_sessions);
	tcase_add_test(tc, leader_of_a_session_is_no_more);
	tcase_add_test(tc, leader_is_a_zombie);
	tcase_add_test(tc, leader_of_a_group_is_no_more);
	tcase_add_test(tc, leader_is_beside);
	tcase_add_test(tc, shared);
	tcase_add_test(tc, shared_with_one_above);
	tcase_add_test(tc, shared_with_no_first);
	tcase_add_test(tc, shared_in_a_row);
	tcase_add_test(tc, shared_but_one_more);
	tcase_add_test(tc, shared_and_one_in_flight);
	tcase_add_test(tc, shared_but_closed_on_exec);
	tcase_add_test(tc, shared_but_edited);
	tcase_add_test(tc, shared_but_elsewhere);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
