/*
 * check_chain.c - an increment of a tree of processes, and its parents, read as
 * one and merged.
 *
 * Three checkpoints, c0 to c2, of a process and its child, as images in a
 * directory of the test; in c1 there is a second child.  The first eight bytes
 * of each page say in which image and process it is held.
 */
#include <check.h>
#include <errno.h>

#include "chain.h"
#include "ctx.h"
#include "family.h"
#include "sample.h"
#include "snap.h"
#include "unit.h"

#define HEAP 0x1000000ull
#define FIRST 4321
#define CHILD 4500
#define LATE 4600 /* the second child */

static struct snap_ctx *cx;
static struct family family;
static char base[300]; /* a test's own */

/* ---- images ---- */

static uint64_t
mark(int n, pid_t pid, uint64_t page)
{
	return (uint64_t)(n + 1) << 48 | (uint64_t)pid << 24 | page;
}

/* "4321 of c1": an id, and another for each. */
static void
name(char id[33], int n, pid_t pid)
{
	snprintf(id, 33, "%028d%04d", n + 1, (int)pid);
}

/* What the heap is made of, a word a page, from its start. */
static void
set_heap(struct process *p, const char *pages)
{
	struct run *r, rest[2];
	size_t n = p->nruns;

	for (size_t i = 0; i < n; i++)
		if (p->runs[i].start == 0x601000)
			rest[0] = p->runs[i];
		else if (p->runs[i].start == 0x7ffd00020000)
			rest[1] = p->runs[i];
	p->nruns = 0;
	*(struct run *)SAMPLE_GROW(p->runs, p->nruns) = rest[0];
	for (size_t i = 0; pages[i] != '\0'; i++) {
		r = SAMPLE_GROW(p->runs, p->nruns);
		r->start = HEAP + i * SAMPLE_PAGE;
		r->end = r->start + SAMPLE_PAGE;
		r->src_fd = p->pages_fd;
		r->kind = pages[i] == 'h'   ? RUN_HELD
			  : pages[i] == 'i' ? RUN_INHERITED
			  : pages[i] == 'f' ? RUN_FORMER
			  : pages[i] == 'z' ? RUN_ZERO
					    : RUN_PARENT;
	}
	*(struct run *)SAMPLE_GROW(p->runs, p->nruns) = rest[1];
	memory_settle_runs(p);
}

static void
mark_pages(struct process *p, int n)
{
	for (uint64_t at = 0; at < p->pages_size; at += SAMPLE_PAGE) {
		uint64_t word = mark(n, p->pid, at / SAMPLE_PAGE);

		ck_assert_int_eq(
		    pwrite(p->pages_fd, &word, sizeof(word), (off_t)at), 8);
	}
	ck_assert_int_eq(ftruncate(p->pages_fd, (off_t)p->pages_size), 0);
	for (size_t i = 0; i < p->nruns; i++)
		p->runs[i].src_off = p->runs[i].offset;
	for (size_t i = 0; i < p->nformer; i++)
		p->former[i].src_off = p->former[i].offset;
}

static struct process *
make(int n, pid_t pid, bool increment, const char *heap)
{
	struct process *p = sample_process();

	p->pid = p->threads[0].tid = pid;
	p->threads[1].tid = p->timers[0].tid = pid + 1;
	p->threads[2].tid = pid + 2;
	p->exit_signal = SIGCHLD;
	if (pid != FIRST) {
		p->ppid = FIRST;
		for (size_t i = 0; i < p->ncontents; i++)
			p->contents[i].up = 1;
	}
	name(p->id, n, pid);
	if (increment)
		name(p->parent_id, n - 1, pid);
	p->time.tv_sec += n;
	p->vdso[0] = '\0';
	set_heap(p, heap);
	return p;
}

static int
open_dir(const char *path)
{
	char whole[400];
	int dir;

	snprintf(whole, sizeof(whole), "%s/%s", base, path);
	dir = open(whole, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_msg(dir >= 0, "%s: %s", whole, strerror(errno));
	return dir;
}

static int
make_dir(const char *path)
{
	char whole[400];

	snprintf(whole, sizeof(whole), "%s/%s", base, path);
	ck_assert_msg(mkdir(whole, 0700) == 0 || errno == EEXIST, "%s: %s",
	    whole, strerror(errno));
	return open_dir(path);
}

/* It may be written a second time, otherwise. */
static void
remove_dir(const char *path)
{
	char whole[400];

	snprintf(whole, sizeof(whole), "%s/%s", base, path);
	nftw(whole, unit_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static void
write_image(int n, struct process *p)
{
	struct image_tree t;
	char path[64];
	int dir;

	snprintf(
	    path, sizeof(path), "c%d%s", n, p->pid == FIRST ? "" : "/children");
	dir = make_dir(path);
	if (p->pid != FIRST) {
		close(dir);
		snprintf(path, sizeof(path), "c%d/children/%d", n, (int)p->pid);
		remove_dir(path);
		dir = make_dir(path);
	}
	mark_pages(p, n);
	ck_assert_msg(image_write(cx, p, &t) == 0, "%s", snap_error(cx));
	sample_dump(p, &t, dir);
	close(dir);
	image_tree_free(&t);
	process_free(p);
}

static void
write_images(void)
{
	struct process *p;

	cx = snap_ctx_new(NULL);
	write_image(0, make(0, FIRST, false, "hhhhz"));
	write_image(0, make(0, CHILD, false, "iihh"));
	/*
	 * The first writes to page 0; the child has it still as it was.  The
	 * row of zeros is too short by now.
	 */
	p = make(1, FIRST, true, "hpppp");
	*(struct run *)SAMPLE_GROW(p->former, p->nformer) =
	    (struct run){ .start = HEAP + 5 * SAMPLE_PAGE,
		    .end = HEAP + 6 * SAMPLE_PAGE,
		    .kind = RUN_HELD,
		    .src_fd = p->pages_fd };
	memory_settle_runs(p);
	write_image(1, p);
	write_image(1, make(1, CHILD, true, "pipphf"));
	write_image(1, make(1, LATE, false, "iihiif"));
	/* The late one is still there, the child writes once more. */
	write_image(2, make(2, FIRST, true, "ppppp"));
	write_image(2, make(2, CHILD, true, "pippph"));
	write_image(2, make(2, LATE, true, "iphii"));
}

static void
start(void)
{
	static int n;

	memset(&family, 0, sizeof(family));
	snprintf(
	    base, sizeof(base), "%s/%d.%d", unit_dir(), (int)getpid(), n++);
	ck_assert_int_eq(mkdir(base, 0700), 0);
	write_images();
}

static void
end(void)
{
	family_fini(&family);
	snap_ctx_free(cx);
}

/* ---- what was read ---- */

static int
read_chain(const char *path)
{
	int dir = open_dir(path), err;

	err = image_read_tree(cx, dir, &family);
	if (err == 0)
		err = chain_resolve(cx, dir, NULL, 0, &family);
	close(dir);
	return err;
}

static const struct run *
run_at(const struct process *p, uint64_t page)
{
	uint64_t at = HEAP + page * SAMPLE_PAGE;
	size_t i = process_run_above(p, at);

	ck_assert_uint_lt(i, p->nruns);
	ck_assert_uint_le(p->runs[i].start, at);
	return &p->runs[i];
}

/* Page `page` of its heap is what that image's process held as its `nth`. */
static void
is_page(const struct process *p, uint64_t page, int n, pid_t pid, uint64_t nth,
    bool shared)
{
	const struct run *r = run_at(p, page);
	uint64_t word = 0, in = HEAP + page * SAMPLE_PAGE - r->start;
	const struct process *q = r->src == 0 ? p : p->sources[r->src - 1];

	ck_assert_int_eq(r->kind, RUN_HELD);
	ck_assert_int_eq(
	    pread(q->pages_fd, &word, sizeof(word), (off_t)(r->offset + in)),
	    8);
	ck_assert_msg(word == mark(n, pid, nth), "page %d of %d is %lx",
	    (int)page, (int)p->pid, (unsigned long)word);
	ck_assert_int_eq(r->src_fd, q->pages_fd);
	ck_assert(shared == (r->up > 0));
}

static void
is_all(bool merged)
{
	const struct process *p = family.v[0], *c = family.v[1],
			     *l = family.v[2];
	ck_assert_uint_eq(family.n, 3);
	if (merged) {
		/* In the order of their addresses, behind the page of data. */
		ck_assert_uint_eq(p->pages_size, 6 * SAMPLE_PAGE);
		ck_assert_uint_eq(c->pages_size, 7 * SAMPLE_PAGE);
		ck_assert_uint_eq(l->pages_size, 3 * SAMPLE_PAGE);
	}
	is_page(p, 0, 1, FIRST, 1, false);
	is_page(p, 1, 0, FIRST, 2, false);
	is_page(p, 2, 0, FIRST, 3, false);
	is_page(p, 3, 0, FIRST, 4, false);
	ck_assert_int_eq(run_at(p, 4)->kind, RUN_ZERO);
	is_page(c, 0, 0, FIRST, 1, false);
	is_page(c, 1, 0, FIRST, 2, true);
	is_page(c, 2, 0, CHILD, 1, false);
	is_page(c, 3, 0, CHILD, 2, false);
	is_page(c, 4, 1, CHILD, 1, false);
	is_page(c, 5, 2, CHILD, 1, false);
	is_page(l, 0, 1, FIRST, 1, true);
	is_page(l, 1, 0, FIRST, 2, true);
	is_page(l, 2, 2, LATE, 1, false);
	is_page(l, 3, 0, FIRST, 4, true);
	ck_assert_int_eq(run_at(l, 4)->kind, RUN_ZERO);
}

START_TEST(resolved)
{
	ck_assert_msg(read_chain("c2") == 0, "%s", snap_error(cx));
	is_all(false);
	for (size_t i = 0; i < family.n; i++)
		ck_assert_str_eq(family.v[i]->parent_id, "");
	/* The late one's in c1 nobody needs. */
	ck_assert_uint_eq(family.nabove, 4);
	for (size_t i = 0; i < family.nabove; i++) {
		ck_assert_uint_eq(family.above[i]->index, i);
		ck_assert_int_ne(family.above[i]->pid, LATE);
	}
}
END_TEST

/* What was common at its time is so in the image of that time. */
START_TEST(resolved_earlier)
{
	const struct process *c, *l;

	ck_assert_msg(read_chain("c1") == 0, "%s", snap_error(cx));
	c = family.v[1];
	l = family.v[2];
	is_page(c, 5, 1, FIRST, 3, true);
	is_page(l, 5, 1, FIRST, 3, true);
	ck_assert(run_at(c, 5)->former && run_at(l, 5)->former);
	is_page(c, 4, 1, CHILD, 1, false);
}
END_TEST

START_TEST(merged)
{
	int dir = open_dir("c2"), out = make_dir("whole");

	ck_assert_msg(
	    snap_merge(cx, dir, NULL, 0, out) == 0, "%s", snap_error(cx));
	ck_assert_msg(
	    image_read_tree(cx, out, &family) == 0, "%s", snap_error(cx));
	close(dir);
	close(out);
	ck_assert_uint_eq(family.nabove, 0);
	is_all(true);
	for (size_t i = 0; i < family.n; i++)
		ck_assert_msg(
		    image_verify(cx, family.v[i], family.sums[i], NULL) == 0,
		    "%s", snap_error(cx));
}
END_TEST

/*
 * Nobody says that anything is common: FIRST writes to page 1, which its children
 * have as it was; page 0 the late one has as FIRST has it, page 3 as well.
 */
static void
write_without_twins(void)
{
	remove_dir("c2");
	write_image(2, make(2, FIRST, true, "phppp"));
	write_image(2, make(2, CHILD, true, "ppppph"));
	write_image(2, make(2, LATE, true, "pphpp"));
}

static void
is_shared_again(void)
{
	const struct process *p = family.v[0], *c = family.v[1],
			     *l = family.v[2];

	is_page(p, 1, 2, FIRST, 1, false);
	is_page(c, 0, 0, FIRST, 1, false);
	is_page(c, 1, 0, FIRST, 2, true);
	is_page(c, 2, 0, CHILD, 1, false);
	is_page(c, 5, 2, CHILD, 1, false);
	is_page(l, 0, 1, FIRST, 1, true);
	is_page(l, 1, 0, FIRST, 2, true);
	is_page(l, 3, 0, FIRST, 4, true);
	ck_assert(!run_at(l, 0)->former && !run_at(l, 3)->former);
	ck_assert(run_at(c, 1)->former && run_at(l, 1)->former);
	ck_assert_uint_eq(p->nformer, 1);
	ck_assert_uint_eq(p->former[0].start, HEAP + SAMPLE_PAGE);
	ck_assert_uint_eq(p->former[0].end, HEAP + 2 * SAMPLE_PAGE);
}

START_TEST(shared_again)
{
	write_without_twins();
	ck_assert_msg(read_chain("c2") == 0, "%s", snap_error(cx));
	is_shared_again();
}
END_TEST

START_TEST(shared_again_merged)
{
	int dir, out;

	write_without_twins();
	dir = open_dir("c2");
	out = make_dir("whole");
	ck_assert_msg(
	    snap_merge(cx, dir, NULL, 0, out) == 0, "%s", snap_error(cx));
	ck_assert_msg(
	    image_read_tree(cx, out, &family) == 0, "%s", snap_error(cx));
	close(dir);
	close(out);
	is_shared_again();
	/* Data, stack, the heap, and what it had; the late one holds one page. */
	ck_assert_uint_eq(family.v[0]->pages_size, 7 * SAMPLE_PAGE);
	ck_assert_uint_eq(family.v[1]->pages_size, 7 * SAMPLE_PAGE);
	ck_assert_uint_eq(family.v[2]->pages_size, 3 * SAMPLE_PAGE);
	for (size_t i = 0; i < family.n; i++)
		ck_assert_msg(
		    image_verify(cx, family.v[i], family.sums[i], NULL) == 0,
		    "%s", snap_error(cx));
}
END_TEST

/* ---- what does not fit ---- */

static void
says(int err, int want, const char *text)
{
	ck_assert_int_eq(err, want);
	ck_assert_msg(
	    strstr(snap_error(cx), text) != NULL, "%s", snap_error(cx));
}

START_TEST(parent_of_another)
{
	struct process *p = make(2, CHILD, true, "pippph");

	name(p->parent_id, 0, CHILD);
	write_image(2, p);
	says(read_chain("c2"), -EBADMSG, "of process 4500, is not in");
}
END_TEST

START_TEST(parent_with_another_pid)
{
	struct process *p = make(2, CHILD, true, "pippph");

	name(p->parent_id, 1, FIRST);
	write_image(2, p);
	says(read_chain("c2"), -EBADMSG, "is of process 4321, not of 4500");
}
END_TEST

START_TEST(page_that_nobody_holds)
{
	write_image(2, make(2, CHILD, true, "pippphp"));
	says(read_chain("c2"), -EBADMSG,
	    "wants page 1006000 of its parent, which does not hold it");
}
END_TEST

START_TEST(shared_page_that_nobody_holds)
{
	write_image(2, make(2, CHILD, true, "pippphi"));
	says(read_chain("c2"), -EBADMSG, "does not hold these pages");
}
END_TEST

/* Its heap is there, and that page is not said to be anything. */
START_TEST(whole_with_an_increment_below)
{
	write_image(0, make(0, CHILD, true, "pphh"));
	says(read_chain("c2"), -EBADMSG,
	    "process 4500 is an increment, and its parent is whole");
	ck_assert_msg(
	    strncmp(snap_error(cx), "c0/", 3) == 0, "%s", snap_error(cx));
}
END_TEST

START_TEST(child_alone)
{
	says(read_chain("c2/children/4500"), -ENOTSUP, "snapfs-merge(1)");
	ck_assert_msg(
	    strncmp(snap_error(cx), "the memory of process 4500", 26) == 0,
	    "%s", snap_error(cx));
}
END_TEST

START_TEST(late_child_alone)
{
	says(read_chain("c1/children/4600"), -ENOTSUP, "snapfs-merge(1)");
}
END_TEST

/* It shares nothing: its own parents are enough, where they are beside it. */
START_TEST(child_with_its_own)
{
	int dir, more;

	write_image(2, make(2, CHILD, true, "p"));
	write_image(1, make(1, CHILD, true, "p"));
	dir = open_dir("c2/children/4500");
	more = open_dir("c1/children/4500");
	ck_assert_msg(
	    image_read_tree(cx, dir, &family) == 0, "%s", snap_error(cx));
	says(
	    chain_resolve(cx, dir, &more, 1, &family), -ENOENT, "is not there");
	close(dir);
	close(more);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("chain");
	TCase *tc = tcase_create("chain");

	tcase_add_checked_fixture(tc, start, end);
	tcase_add_test(tc, resolved);
	tcase_add_test(tc, resolved_earlier);
	tcase_add_test(tc, merged);
	tcase_add_test(tc, shared_again);
	tcase_add_test(tc, shared_again_merged);
	tcase_add_test(tc, parent_of_another);
	tcase_add_test(tc, parent_with_another_pid);
	tcase_add_test(tc, page_that_nobody_holds);
	tcase_add_test(tc, shared_page_that_nobody_holds);
	tcase_add_test(tc, whole_with_an_increment_below);
	tcase_add_test(tc, child_alone);
	tcase_add_test(tc, late_child_alone);
	tcase_add_test(tc, child_with_its_own);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
