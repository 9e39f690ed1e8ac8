/*
 * The collection of memory: a subject with every kind of mapping, and its
 * fork in the place of the twin.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "memory.h"
#include "unit.h"
#include "vma.h"

#define PAGE 4096ul
#define MIB (1ul << 20)
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* Where things are in the subject; made before it is forked. */
static struct {
	char *anon, *sparse, *wiped, *dontfork, *shared, *deleted, *memfd;
	char *noaccess, *reserved, *guarded, *copied, *rows;
} at;
static bool guards;
static bool only_read_is_zero; /* the page that all share who have only read */
static bool crowd;	       /* make so many VMAs that counting pays */

static void *
map(size_t len, int prot, int flags, int fd)
{
	void *a = mmap(NULL, len, prot, flags, fd, 0);

	ck_assert_ptr_ne(a, MAP_FAILED);
	return a;
}

/* Some kernels give a page of its own to whoever only reads. */
static bool
is_zero_page(const char *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	ck_assert_int_eq(pread(fd, &entry, sizeof(entry),
			     (off_t)((uintptr_t)page / PAGE * sizeof(entry))),
	    sizeof(entry));
	close(fd);
	return (entry & 1ull << 56) == 0; /* not mapped here alone */
}

static void
set_up(void)
{
	int rw = PROT_READ | PROT_WRITE, priv = MAP_PRIVATE | MAP_ANONYMOUS;
	char name[320];
	int fd;

	snprintf(name, sizeof(name), "%s/XXXXXX", unit_dir());
	for (int i = 0; crowd && i < 300; i++)
		map(PAGE, i % 2 == 0 ? PROT_READ : PROT_NONE, priv, -1);
	at.anon = map(MIB, rw, priv, -1);
	madvise(at.anon, MIB, MADV_NOHUGEPAGE);
	memset(at.anon, 'a', MIB);
	at.sparse = map(MIB, rw, priv | MAP_NORESERVE, -1);
	madvise(at.sparse, MIB, MADV_NOHUGEPAGE);
	at.sparse[3 * PAGE] = 's';
	at.sparse[200 * PAGE] = 't';
	/* read only: the zero page */
	ck_assert_int_eq(((volatile char *)at.sparse)[100 * PAGE], 0);
	only_read_is_zero = is_zero_page(at.sparse + 100 * PAGE);
	at.wiped = map(4 * PAGE, rw, priv, -1);
	ck_assert_int_eq(madvise(at.wiped, 4 * PAGE, MADV_WIPEONFORK), 0);
	memset(at.wiped, 'w', 2 * PAGE);
	at.dontfork = map(4 * PAGE, rw, priv, -1);
	ck_assert_int_eq(madvise(at.dontfork, 4 * PAGE, MADV_DONTFORK), 0);
	memset(at.dontfork, 'd', 3 * PAGE);
	at.shared = map(8 * PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, -1);
	strcpy(at.shared + 5 * PAGE, "shared");
	fd = memfd_create("mem fd", 0);
	ck_assert_int_eq(ftruncate(fd, 4 * PAGE), 0);
	at.memfd = map(4 * PAGE, rw, MAP_SHARED, fd);
	strcpy(at.memfd + PAGE, "memfd");
	close(fd);
	fd = mkstemp(name);
	ck_assert_int_eq(write(fd, "deleted file", 12), 12);
	at.deleted = map(PAGE, PROT_READ, MAP_PRIVATE, fd);
	at.copied = map(PAGE, rw, MAP_PRIVATE, fd);
	at.copied[0] = 'D';
	unlink(name);
	close(fd);
	at.noaccess = map(2 * PAGE, rw, priv, -1);
	strcpy(at.noaccess, "hidden");
	mprotect(at.noaccess, 2 * PAGE, PROT_NONE);
	at.reserved = map(1ul << 40, PROT_NONE, priv | MAP_NORESERVE, -1);
	at.guarded = map(8 * PAGE, rw, priv, -1);
	memset(at.guarded, 'g', 8 * PAGE);
	at.rows = map(256 * PAGE, rw, priv, -1);
	madvise(at.rows, 256 * PAGE, MADV_NOHUGEPAGE);
	memset(at.rows, 'r', 256 * PAGE);
	memset(at.rows + 3 * PAGE, 0, 64 * PAGE);
	memset(at.rows + 75 * PAGE, 0, 63 * PAGE);
	memset(at.rows + 143 * PAGE, 0, 100 * PAGE);
	guards = madvise(at.guarded + 2 * PAGE, PAGE, MADV_GUARD_INSTALL) == 0;
}

static pid_t
fork_sleeper(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It may be dead already. */
		while (getppid() == parent)
			pause();
		_exit(1);
	}
	return pid;
}

/* The subject sets itself up, forks its twin, and sleeps. */
static pid_t
start(pid_t *twin, int *pipe_end)
{
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		set_up();
		*twin = fork_sleeper();
		if (write(fds[1], twin, sizeof(*twin)) < 0 ||
		    write(fds[1], &at, sizeof(at)) < 0 ||
		    write(fds[1], &guards, sizeof(guards)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	ck_assert_int_eq(read(fds[0], twin, sizeof(*twin)), sizeof(*twin));
	ck_assert_int_eq(read(fds[0], &at, sizeof(at)), sizeof(at));
	ck_assert_int_eq(read(fds[0], &guards, sizeof(guards)), sizeof(guards));
	*pipe_end = fds[0];
	return pid;
}

static void
check(struct snap_ctx *cx, int err)
{
	ck_assert_msg(err == 0, "%d: %s", err, snap_error(cx));
}

static const struct run *
run_of(const struct process *p, const char *addr)
{
	for (size_t i = 0; i < p->nruns; i++)
		if (p->runs[i].start <= (uintptr_t)addr &&
		    (uintptr_t)addr < p->runs[i].end)
			return &p->runs[i];
	return NULL;
}

static void
expect_bytes(const struct process *p, const char *addr, char c, size_t n)
{
	const struct run *r = run_of(p, addr);
	char *buf = malloc(n);

	ck_assert_ptr_nonnull(r);
	ck_assert_int_eq(r->kind, RUN_HELD);
	ck_assert_int_eq(
	    memory_read(p, buf, n, r->offset + ((uintptr_t)addr - r->start)),
	    (ssize_t)n);
	for (size_t i = 0; i < n; i++)
		if (buf[i] != c)
			ck_abort_msg("byte %zu behind %p", i, addr);
	free(buf);
}

static void
expect_content(
    const struct process *p, const char *addr, const char *want, off_t off)
{
	const struct vma *v = vma_find(p, (uintptr_t)addr);
	const struct content *c;
	char buf[64] = "";

	ck_assert_ptr_nonnull(v);
	ck_assert_int_ge(v->file, 0);
	c = process_content(p, p->mapfiles[v->file].content);
	ck_assert_ptr_nonnull(c);
	ck_assert_int_ge(pread(c->fd, buf, strlen(want), off), 0);
	ck_assert_str_eq(buf, want);
}

/* Of zeros: those that are long enough are not held. */
static void
expect_rows(const struct process *p)
{
	const struct run *r = run_of(p, at.rows + 3 * PAGE);

	expect_bytes(p, at.rows, 'r', 3 * PAGE);
	ck_assert_int_eq(r->kind, RUN_ZERO);
	ck_assert_uint_eq(r->start, (uintptr_t)at.rows + 3 * PAGE);
	ck_assert_uint_eq(r->end, (uintptr_t)at.rows + 67 * PAGE);
	expect_bytes(p, at.rows + 67 * PAGE, 'r', 8 * PAGE);
	expect_bytes(p, at.rows + 75 * PAGE, 0, 63 * PAGE);
	r = run_of(p, at.rows + 143 * PAGE);
	ck_assert_int_eq(r->kind, RUN_ZERO);
	ck_assert_uint_eq(r->end - r->start, 100 * PAGE);
	expect_bytes(p, at.rows + 243 * PAGE, 'r', 13 * PAGE);
}

static void
expect_all(const struct process *p)
{
	const struct vma *v;

	expect_bytes(p, at.anon, 'a', MIB);
	expect_bytes(p, at.sparse + 3 * PAGE, 's', 1);
	expect_bytes(p, at.sparse + 200 * PAGE, 't', 1);
	if (only_read_is_zero)
		ck_assert_ptr_null(run_of(p, at.sparse + 100 * PAGE));
	else
		expect_bytes(p, at.sparse + 100 * PAGE, 0, PAGE);
	ck_assert_ptr_null(run_of(p, at.sparse));
	expect_bytes(p, at.wiped, 'w', 2 * PAGE);
	expect_bytes(p, at.dontfork, 'd', 3 * PAGE);
	expect_content(p, at.shared, "shared", 5 * PAGE);
	expect_content(p, at.memfd, "memfd", PAGE);
	expect_content(p, at.deleted, "deleted file", 0);
	expect_content(p, at.copied, "deleted file", 0);
	ck_assert_ptr_null(run_of(p, at.deleted));
	expect_bytes(p, at.copied, 'D', 1);
	expect_bytes(p, at.noaccess, 'h', 1);
	ck_assert_ptr_null(run_of(p, at.reserved));
	expect_bytes(p, at.guarded, 'g', 2 * PAGE);
	expect_bytes(p, at.guarded + 3 * PAGE, 'g', 5 * PAGE);
	expect_rows(p);
	if (guards)
		ck_assert_int_eq(
		    run_of(p, at.guarded + 2 * PAGE)->kind, RUN_GUARD);

	v = vma_find(p, (uintptr_t)at.dontfork);
	ck_assert(v->flags & VMA_F_DONTCOPY);
	v = vma_find(p, (uintptr_t)at.wiped);
	ck_assert(v->flags & VMA_F_WIPEONFORK);
	v = vma_find(p, (uintptr_t)at.sparse);
	ck_assert(v->flags & VMA_F_NORESERVE);
	ck_assert_int_ge(p->exe_file, 0);
	ck_assert_uint_eq(p->mapfiles[p->exe_file].content, 0);
}

static void
expect_order(const struct process *p)
{
	uint64_t end = 0, off = 0;

	for (size_t i = 0; i < p->nruns; i++) {
		const struct run *r = &p->runs[i];
		const struct vma *v = vma_find(p, r->start);

		ck_assert_uint_ge(r->start, end);
		ck_assert_uint_eq(r->offset, off);
		ck_assert_uint_le(r->end, v->end);
		end = r->end;
		if (r->kind == RUN_HELD)
			off += r->end - r->start;
	}
	ck_assert_uint_eq(off, p->pages_size);
}

static void
collect(bool with_twin)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = process_new();
	pid_t pid, twin, fork_of_it;
	char byte;
	int end;

	pid = start(&twin, &end);
	fork_of_it = with_twin ? twin : 0;
	check(cx, memory_collect_vmas(cx, pid, p));
	check(cx, memory_collect_frozen(cx, pid, fork_of_it, p));
	check(cx, memory_collect_late(cx, fork_of_it, p));
	expect_order(p);
	expect_all(p);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (with_twin) {
		/* it dies with its parent, and says so when its pipe closes */
		ck_assert_int_eq(read(end, &byte, 1), 0);
		ck_assert_int_eq(memory_read(p, &byte, 1, 0), -EIO);
	} else {
		ck_assert_int_eq(memory_read(p, &byte, 1, 0), 1);
	}
	close(end);
	process_free(p);
	snap_ctx_free(cx);
}

START_TEST(from_a_twin)
{
	collect(true);
}
END_TEST

START_TEST(among_many_vmas)
{
	crowd = true;
	collect(true);
}
END_TEST

START_TEST(without_a_twin)
{
	collect(false);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("memory");
	TCase *t = tcase_create("collect");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, from_a_twin);
	tcase_add_test(t, among_many_vmas);
	tcase_add_test(t, without_a_twin);
	suite_add_tcase(s, t);
	return unit_run(s);
}
