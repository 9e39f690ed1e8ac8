/*
 * Names and inode numbers: what exists, in which order it is read, and that a
 * number says what it said.
 */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tree.h"
#include "unit.h"

/* A checkpoint as the library would show it, with a directory in a directory. */

static const struct snap_name top_names[] = {
	{ "checkpoint", SNAP_FILE },
	{ "pages", SNAP_FILE },
	{ "exe", SNAP_LINK },
	{ "fd", SNAP_DIR },
	{ "xxh128sums", SNAP_FILE },
	{ NULL, SNAP_FILE },
};

static const struct snap_node nodes[] = {
	{ "", SNAP_DIR, 0, 1, 0, 0, 1000, 1001 },
	{ "checkpoint", SNAP_FILE, 0, 0, 2, 100, 1000, 1001 },
	{ "pages", SNAP_FILE, 0, 0, 3, 3 << 20, 1000, 1001 },
	{ "fd", SNAP_DIR, 0, 4, 6, 0, 1000, 1001 },
	{ "0", SNAP_LINK, 3, 0, 5, 9, 1000, 1001 },
	{ "deep", SNAP_DIR, 3, 0, 0, 0, 1000, 1001 },
	{ "xxh128sums", SNAP_FILE, 0, 0, 0, 513, 1000, 1001 },
};

#define NNODES (sizeof(nodes) / sizeof(nodes[0]))

const struct snap_name *
snap_top_names(void)
{
	return top_names;
}

uint32_t
snap_checkpoint_nodes(const struct snap_checkpoint *cp)
{
	(void)cp;
	return NNODES;
}

const struct snap_node *
snap_checkpoint_node(const struct snap_checkpoint *cp, uint32_t n)
{
	(void)cp;
	return n < NNODES ? &nodes[n] : NULL;
}

uint32_t
snap_checkpoint_lookup(
    const struct snap_checkpoint *cp, uint32_t dir, const char *name)
{
	uint32_t n;

	(void)cp;
	for (n = 1; n < NNODES; n++)
		if (nodes[n].parent == dir && strcmp(nodes[n].name, name) == 0)
			return n;
	return 0;
}

static const struct proc_id proc = { 4194303, PROC_START_MASK };

static const struct {
	const char *name;
	pid_t pid; /* 0: not a pid */
} pids[] = {
	{ "1", 1 },
	{ "42", 42 },
	{ "4194303", 4194303 },
	{ "4194304", 0 },
	{ "9999999", 0 },
	{ "99999999", 0 },
	{ "99999999999999999999", 0 },
	{ "0", 0 },
	{ "01", 0 },
	{ "-1", 0 },
	{ "+1", 0 },
	{ " 1", 0 },
	{ "1 ", 0 },
	{ "1a", 0 },
	{ "", 0 },
	{ "self", 0 },
	{ "1@name", 0 },
	{ "..", 0 },
};

START_TEST(names_of_processes)
{
	pid_t pid = 0;

	ck_assert(tree_pid(pids[_i].name, &pid) == (pids[_i].pid != 0));
	ck_assert_int_eq(pid, pids[_i].pid);
}
END_TEST

static const struct {
	const char *name;
	int err;
	pid_t pid;
} named[] = {
	{ "1@a", 0, 1 },
	{ "4194303@before the storm", 0, 4194303 },
	{ "7@@", 0, 7 },
	{ "7@.\xc3\xa4", 0, 7 },
	{ "7@", -EINVAL, 7 },
	{ "7@a\nb", -EINVAL, 7 },
	{ "7@\x7f", -EINVAL, 7 },
	{ "7@a\t", -EINVAL, 7 },
	{ "7", -EPERM, 0 },
	{ "a", -EPERM, 0 },
	{ "@a", -EPERM, 0 },
	{ "07@a", -EPERM, 0 },
	{ "-7@a", -EPERM, 0 },
	{ "x7@a", -EPERM, 0 },
	{ "4194304@a", -EPERM, 0 },
	{ "99999999999999999999@a", -EPERM, 0 },
};

START_TEST(names_of_kept_checkpoints)
{
	pid_t pid = 0;

	ck_assert_int_eq(tree_named(named[_i].name, &pid), named[_i].err);
	ck_assert_int_eq(pid, named[_i].pid);
}
END_TEST

START_TEST(a_long_name)
{
	char name[NAME_MAX + 2];
	pid_t pid = 0;

	memset(name, 'x', sizeof(name));
	memcpy(name, "7@", 2);
	name[NAME_MAX] = '\0';
	ck_assert_int_eq(tree_named(name, &pid), 0);
	name[NAME_MAX] = 'x';
	name[NAME_MAX + 1] = '\0';
	ck_assert_int_eq(tree_named(name, &pid), -ENAMETOOLONG);
}
END_TEST

START_TEST(controls)
{
	const struct tree_control *c;

	c = tree_control_named(".restore");
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(c->kind, NODE_RESTORE);
	ck_assert_int_eq(c->mode, 0666);
	ck_assert_ptr_eq(tree_control_kind(NODE_RESTORE), c);
	ck_assert_int_eq(tree_control_named(".status")->mode, 0444);
	ck_assert_int_eq(tree_control_named(".log")->kind, NODE_LOG);
	ck_assert_ptr_null(tree_control_named("restore"));
	ck_assert_ptr_null(tree_control_named("."));
	ck_assert_ptr_null(tree_control_kind(NODE_ROOT));
}
END_TEST

static void
same(const struct node *a, const struct node *b)
{
	ck_assert_int_eq(a->kind, b->kind);
	ck_assert_int_eq(a->proc.pid, b->proc.pid);
	ck_assert_uint_eq(a->proc.start, b->proc.start);
	ck_assert_uint_eq(a->sub, b->sub);
	ck_assert_uint_eq(a->gen, b->gen);
	ck_assert_uint_eq(a->low, b->low);
	ck_assert(a->last == b->last);
}

START_TEST(numbers_there_and_back)
{
	static const struct node v[] = {
		{ .kind = NODE_ROOT },
		{ .kind = NODE_RESTORE },
		{ .kind = NODE_LOG },
		{ .kind = NODE_PROC, .proc = { 1, 0 } },
		{ .kind = NODE_PROC,
		    .proc = { 4194303, PROC_START_MASK },
		    .sub = NODE_MAX_TOP },
		{ .kind = NODE_TRACK, .proc = { 4194303, PROC_START_MASK } },
		{ .kind = NODE_HOLD, .proc = { 4194303, PROC_START_MASK } },
		{ .kind = NODE_FILE, .gen = 1, .low = 1 },
		{ .kind = NODE_FILE,
		    .gen = NODE_MAX_GEN,
		    .low = UINT32_MAX,
		    .last = true },
	};
	size_t i, k;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct node back = node_of(node_ino(&v[i]));

		same(&back, &v[i]);
		for (k = 0; k < i; k++)
			ck_assert_uint_ne(node_ino(&v[k]), node_ino(&v[i]));
	}
	ck_assert_uint_eq(node_ino(&v[0]), 1);
}
END_TEST

static const uint64_t nonsense[] = {
	0,
	6,
	UINT32_MAX,
	UINT64_C(1) << 32, /* a file without a number */
	UINT64_C(1) << 63, /* no generation */
	UINT64_C(3) << 62, /* both a process and a file */
	UINT64_MAX,
};

START_TEST(numbers_that_say_nothing)
{
	ck_assert_int_eq(node_of(nonsense[_i]).kind, NODE_INVALID);
}
END_TEST

/* cp reads a directory in the order of the inode numbers. */
START_TEST(reading_order)
{
	struct node first = tree_top_node(0, proc, 77), node;
	struct node last = tree_top_node(4, proc, 77);
	unsigned i;

	ck_assert_uint_eq(tree_top_count(), 5);
	for (i = 1; i < 4; i++) {
		node = tree_top_node(i, proc, 77);
		ck_assert_uint_lt(node_ino(&first), node_ino(&node));
		ck_assert_uint_lt(node_ino(&node), node_ino(&last));
	}
}
END_TEST

START_TEST(directories_are_shared_files_are_not)
{
	struct node a = tree_top_node(3, proc, 1);
	struct node b = tree_top_node(3, proc, 2);

	ck_assert_uint_eq(node_ino(&a), node_ino(&b));
	a = tree_top_node(1, proc, 1);
	b = tree_top_node(1, proc, 2);
	ck_assert_uint_ne(node_ino(&a), node_ino(&b));
}
END_TEST

/* What is listed before the checkpoint is what is found in it. */
START_TEST(nodes_of_a_checkpoint)
{
	const struct proc_id owner = _i == 0 ? proc : TREE_OWN;
	struct node node, listed;
	uint32_t n, back;
	int top;

	for (n = 0; n < NNODES; n++) {
		node = tree_node(NULL, n, owner, 5);
		if (_i == 1)
			ck_assert_int_eq(node.kind, NODE_FILE);
		ck_assert(tree_number(NULL, &node, &back));
		ck_assert_uint_eq(back, n);
		top = nodes[n].parent == 0 && n != 0
			  ? tree_top_index(nodes[n].name)
			  : -1;
		if (top < 0)
			continue;
		listed = tree_top_node((unsigned)top, owner, 5);
		ck_assert_uint_eq(node_ino(&listed), node_ino(&node));
	}
}
END_TEST

START_TEST(nodes_that_it_has_not)
{
	/* `exe` is a name at the top, but this checkpoint has none. */
	struct node node = tree_top_node(2, proc, 5);
	uint32_t n;

	ck_assert(!tree_number(NULL, &node, &n));
	node.low = NODE_MAX_TOP;
	ck_assert(!tree_number(NULL, &node, &n));
	node.low = node_low_other(NNODES);
	ck_assert(!tree_number(NULL, &node, &n));
	node.low = UINT32_MAX;
	ck_assert(!tree_number(NULL, &node, &n));
	ck_assert_int_eq(tree_top_index("deep"), -1);
	ck_assert_int_eq(tree_top_index(""), -1);
	ck_assert_ptr_null(tree_top(5));
}
END_TEST

START_TEST(attributes)
{
	struct timespec when = { 1000, 5 };
	struct stat st;

	tree_stat_file(&st, 99, &nodes[2], when);
	ck_assert_uint_eq(st.st_ino, 99);
	ck_assert_int_eq(st.st_mode, S_IFREG | 0400);
	ck_assert_int_eq(st.st_size, 3 << 20);
	ck_assert_int_eq(st.st_blocks, (3 << 20) / 512);
	ck_assert_uint_eq(st.st_uid, 1000);
	ck_assert_uint_eq(st.st_gid, 1001);
	ck_assert_int_eq(st.st_mtim.tv_sec, 1000);
	ck_assert_int_eq(st.st_mtim.tv_nsec, 5);

	/* 513 bytes are two blocks: fewer would be a hole. */
	tree_stat_file(&st, 1, &nodes[6], when);
	ck_assert_int_eq(st.st_blocks, 2);
	tree_stat_file(&st, 1, &nodes[4], when);
	ck_assert_int_eq(st.st_mode, S_IFLNK | 0777);
	ck_assert_int_eq(st.st_size, 9);
	tree_stat_dir(&st, 1, 3, 4, when, (struct timespec){ 1, 0 });
	ck_assert_int_eq(st.st_mode, S_IFDIR | 0500);
	ck_assert_int_eq(st.st_ctim.tv_sec, 1);
	tree_stat_control(&st, tree_control_named(".restore"), when);
	ck_assert_int_eq(st.st_mode, S_IFREG | 0666);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("tree");
	TCase *tc = tcase_create("tree");

	tcase_add_loop_test(
	    tc, names_of_processes, 0, sizeof(pids) / sizeof(pids[0]));
	tcase_add_loop_test(
	    tc, names_of_kept_checkpoints, 0, sizeof(named) / sizeof(named[0]));
	tcase_add_test(tc, a_long_name);
	tcase_add_test(tc, controls);
	tcase_add_test(tc, numbers_there_and_back);
	tcase_add_loop_test(tc, numbers_that_say_nothing, 0,
	    sizeof(nonsense) / sizeof(nonsense[0]));
	tcase_add_test(tc, reading_order);
	tcase_add_test(tc, directories_are_shared_files_are_not);
	tcase_add_loop_test(tc, nodes_of_a_checkpoint, 0, 2);
	tcase_add_test(tc, nodes_that_it_has_not);
	tcase_add_test(tc, attributes);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
