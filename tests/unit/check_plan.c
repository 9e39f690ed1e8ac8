/*
 * Plans: printed and compared with tests/golden/; layouts and holes.
 *
 * With UPDATE_GOLDEN in the environment the files are written instead.
 */
#include <check.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ctx.h"
#include "late.h"
#include "layout.h"
#include "plan.h"
#include "unit.h"

#define GOLDEN TEST_GOLDEN "/"

static struct snap_ctx *cx;
static struct process *p;
static struct host host;
static int file_fds[4] = { 201, 202, 203, 204 };
static int rw_file_fds[4] = { 301, 302, 303, 304 };

static struct thread *
add_thread(pid_t tid)
{
	struct thread *t = process_grow(&p->threads, &p->nthreads, sizeof(*t));

	ck_assert_ptr_nonnull(t);
	t->tid = tid;
	t->restart.nr = -1;
	snprintf(t->comm, sizeof(t->comm), "t%d", (int)tid);
	return t;
}

static struct vma *
add_vma(uint64_t start, uint64_t end, unsigned prot, enum vma_kind kind,
    const char *path)
{
	struct vma *v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));

	ck_assert_ptr_nonnull(v);
	v->start = start;
	v->end = end;
	v->prot = prot;
	v->kind = kind;
	v->file = -1;
	v->path = strdup(path);
	v->flags = prot & PROT_WRITE ? VMA_F_ACCOUNT : 0;
	return v;
}

static void
add_run(uint64_t start, uint64_t end, enum run_kind kind)
{
	struct run *run = process_grow(&p->runs, &p->nruns, sizeof(*run));

	ck_assert_ptr_nonnull(run);
	run->start = start;
	run->end = end;
	run->kind = kind;
	if (kind == RUN_HELD) {
		run->offset = p->pages_size;
		p->pages_size += end - start;
	}
}

static int
add_file(const char *path, uint64_t size, uint32_t content)
{
	struct mapfile *f =
	    process_grow(&p->mapfiles, &p->nmapfiles, sizeof(*f));

	ck_assert_ptr_nonnull(f);
	f->path = strdup(path);
	f->size = size;
	f->content = content;
	return (int)p->nmapfiles - 1;
}

static void
setup(void)
{
	static const struct host h = {
		.vvar = { 0x7f0000000000, 0x7f0000004000 },
		.vdso = { 0x7f0000004000, 0x7f0000006000 },
		.creds = { .cap_prm = 1ull << CAP_CHECKPOINT_RESTORE |
				      1ull << CAP_KILL,
		    .cap_eff = 1ull << CAP_KILL },
		.lent_caps = 1ull << CAP_CHECKPOINT_RESTORE,
		.fd_first = 100,
		.pages_fd = 100,
		.exe_fd = -1,
		.file_fds = file_fds,
		.rw_file_fds = rw_file_fds,
	};

	cx = snap_ctx_new(NULL);
	p = process_new();
	ck_assert_ptr_nonnull(cx);
	ck_assert_ptr_nonnull(p);
	host = h;
	for (int i = 0; i < PROCESS_NRLIMITS; i++)
		p->rlimits[i].cur = p->rlimits[i].max = host.rlimits[i].cur =
		    host.rlimits[i].max = 1000;
	p->pid = 500;
	p->dumpable = 1;
	add_thread(500);
}

static void
teardown(void)
{
	process_free(p);
	snap_ctx_free(cx);
}

/* ---- comparing ---- */

static char *
read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	char *s = calloc(1, 1 << 20);

	ck_assert_ptr_nonnull(s);
	if (f != NULL) {
		ck_assert_uint_lt(fread(s, 1, (1 << 20) - 1, f), (1 << 20) - 1);
		fclose(f);
	}
	return s;
}

static void
compare(const char *name, const char *text)
{
	char path[4096], *want;
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", GOLDEN, name);
	if (getenv("UPDATE_GOLDEN") != NULL) {
		f = fopen(path, "w");
		ck_assert_ptr_nonnull(f);
		fputs(text, f);
		fclose(f);
	}
	want = read_file(path);
	ck_assert_str_eq(text, want);
	free(want);
}

static void
plan_is(const char *name)
{
	struct plan *pl;
	char *text;

	ck_assert_msg(plan_make(cx, p, &host, &pl) == 0, "%s", snap_error(cx));
	text = plan_print(pl);
	ck_assert_ptr_nonnull(text);
	compare(name, text);
	free(text);
	plan_free(pl);
}

/* ---- plans ---- */

START_TEST(smallest)
{
	plan_is("plan-smallest");
}
END_TEST

/* One VMA of each kind, in the order of addresses. */
static void
add_memory(void)
{
	int exe = add_file("/bin/subject", 0x3000, 0);
	int shared = add_file("/dev/zero", 0x4000, 1);
	int data = add_file("/var/data", 0x2000, 0);
	struct vma *v;

	add_vma(
	    0x400000, 0x402000, PROT_READ | PROT_EXEC, VMA_FILE, "/bin/subject")
	    ->file = exe;
	v = add_vma(0x402000, 0x403000, PROT_READ, VMA_FILE, "/bin/subject");
	v->file = exe;
	v->offset = 0x2000;
	add_run(0x402000, 0x403000, RUN_HELD);
	add_vma(0x600000, 0x700000, PROT_READ | PROT_WRITE, VMA_ANON, "[heap]");
	add_run(0x600000, 0x604000, RUN_HELD);
	add_run(0x680000, 0x681000, RUN_HELD);
	v = add_vma(0x10000000, 0x10004000, PROT_READ | PROT_WRITE, VMA_ANON,
	    "[anon:a name]");
	v->flags |= VMA_F_LOCKED | VMA_F_DONTCOPY | VMA_F_HUGEPAGE;
	add_run(0x10000000, 0x10001000, RUN_GUARD);
	v = add_vma(0x20000000, 0x20002000, PROT_READ, VMA_SHARED_ANON,
	    "/dev/zero (deleted)");
	v->file = shared;
	v->shared = true;
	v->offset = 0x1000;
	v = add_vma(0x30000000, 0x30002000, PROT_READ | PROT_WRITE, VMA_FILE,
	    "/var/data");
	v->file = data;
	v->shared = true;
	add_vma(0x40000000, 0x40000000 + (1ull << 40), PROT_NONE, VMA_ANON, "");
	add_vma(0x7f1000000000, 0x7f1000004000, PROT_READ, VMA_VVAR, "[vvar]");
	add_vma(0x7f1000004000, 0x7f1000006000, PROT_READ | PROT_EXEC, VMA_VDSO,
	    "[vdso]");
	v = add_vma(0x7ffc00000000, 0x7ffc00021000, PROT_READ | PROT_WRITE,
	    VMA_ANON, "[stack]");
	v->flags |= VMA_F_GROWSDOWN;
	add_run(0x7ffc0001f000, 0x7ffc00021000, RUN_HELD);
}

START_TEST(memory)
{
	add_memory();
	plan_is("plan-memory");
}
END_TEST

/* What a pager fills comes first, and is waited for when the rest is there. */
START_TEST(paged)
{
	const struct inheritance none = { 0 };
	struct family t = { .v = &p, .n = 1 };
	uint64_t soon;

	add_memory();
	ck_assert_int_eq(late_find(&t, &none, &soon), 0);
	host.paged = true;
	host.uffd_fd = 102;
	plan_is("plan-paged");
}
END_TEST

START_TEST(threads)
{
	struct posix_timer *timer;
	struct thread *t;
	siginfo_t si = { .si_signo = SIGUSR1, .si_code = SI_USER };

	add_vma(0x10000000, 0x10004000, PROT_READ | PROT_WRITE, VMA_ANON, "");
	t = add_thread(502);
	t->clear_child_tid = 0x10000100;
	t->robust_list = 0x10000200;
	t->robust_len = 24;
	t->rseq = 0x10000300;
	t->rseq_len = 32;
	t->rseq_sig = 0x53053053;
	t->altstack_sp = 0x10001000;
	t->altstack_size = 0x2000;
	t->pending.v = malloc(sizeof(si));
	memcpy(t->pending.v, &si, sizeof(si));
	t->pending.n = 1;
	timer = process_grow(&p->timers, &p->ntimers, sizeof(*timer));
	timer->id = 3;
	timer->notify = 4; /* SIGEV_THREAD_ID */
	timer->signo = SIGALRM;
	timer->tid = 502;
	timer->value = 1500000000;
	p->itimers[0].value = 1;
	plan_is("plan-threads");
	host.new_pid = true;
	plan_is("plan-threads-new-pid");
}
END_TEST

START_TEST(credentials)
{
	static gid_t groups[] = { 10, 20 };
	struct creds *c = &p->threads[0].creds;

	c->ruid = c->euid = c->suid = c->fsuid = 1000;
	c->rgid = c->egid = c->sgid = c->fsgid = 1000;
	c->groups = malloc(sizeof(groups));
	memcpy(c->groups, groups, sizeof(groups));
	c->ngroups = 2;
	/* CAP_CHECKPOINT_RESTORE is lent: not to be passed on. */
	c->cap_prm = c->cap_eff = ~0ull;
	c->no_new_privs = true;
	p->rlimits[5].max = 2000;
	plan_is("plan-credentials");
}
END_TEST

/* ---- what is refused ---- */

static void
refused(int err, const char *sentence)
{
	struct plan *pl;

	ck_assert_int_eq(plan_make(cx, p, &host, &pl), err);
	ck_assert_ptr_null(pl);
	ck_assert_str_eq(snap_error(cx), sentence);
}

START_TEST(refuse_device)
{
	add_vma(0x1000000, 0x1001000, PROT_READ, VMA_OTHER, "/dev/fb0");
	refused(-ENOTSUP, "maps:1: a mapping of /dev/fb0 cannot be restored");
}
END_TEST

START_TEST(refuse_flags)
{
	add_vma(0x1000000, 0x1001000, PROT_READ, VMA_ANON, "");
	add_vma(0x1001000, 0x1002000, PROT_READ, VMA_ANON, "")->flags =
	    VMA_F_SHADOWSTACK;
	refused(-ENOTSUP, "maps:2: shadow stacks are not supported");
}
END_TEST

START_TEST(refuse_vdso)
{
	add_vma(0x7f1000004000, 0x7f1000007000, PROT_READ | PROT_EXEC, VMA_VDSO,
	    "[vdso]");
	refused(-ENOTSUP,
	    "[vdso] is 12288 bytes long in the image and 8192 here: restore "
	    "on the kernel that it was taken on");
}
END_TEST

START_TEST(refuse_fileless)
{
	add_vma(0x1000000, 0x1001000, PROT_READ, VMA_FILE, "/x");
	refused(-EBADMSG, "maps:1: nothing says what file this is");
}
END_TEST

START_TEST(refuse_overflow)
{
	struct vma *v = add_vma(0x1000000, 0x1002000, PROT_READ,
	    VMA_SHARED_ANON, "/dev/zero (deleted)");

	v->shared = true;
	v->file = add_file("/dev/zero", 0x1000, 1);
	v->offset = ~0xfffull;
	refused(-EBADMSG, "maps:1: offset out of range");
}
END_TEST

/* ---- holes ---- */

static uint64_t
hole(const struct range *v, size_t n, uint64_t len)
{
	struct layout l = { .v = (struct range *)v, .n = n };

	return layout_hole(&l, p, len);
}

static bool
is_far_from(uint64_t at, uint64_t len, uint64_t start, uint64_t end)
{
	return at >= end + (1 << 20) || at + len + (1 << 20) <= start;
}

START_TEST(holes)
{
	const struct range ours[] = { { 0x100000000, 0x100001000 },
		{ 0x200000000, LAYOUT_TASK_SIZE } };
	const struct range all[] = { { 0, LAYOUT_TASK_SIZE } };
	uint64_t at;

	ck_assert_uint_ne(hole(NULL, 0, 4096), 0);
	ck_assert_uint_eq(hole(all, 1, 4096), 0);
	ck_assert_uint_eq(hole(NULL, 0, ~0ull), 0);
	add_vma(0x101000000, 0x180000000, PROT_READ, VMA_ANON, "");
	at = hole(ours, 2, 1 << 20);
	ck_assert_uint_ne(at, 0);
	ck_assert(is_far_from(at, 1 << 20, ours[0].start, ours[0].end));
	ck_assert(is_far_from(at, 1 << 20, ours[1].start, ours[1].end));
	ck_assert(is_far_from(at, 1 << 20, 0x101000000, 0x180000000));
	/* Nothing that large above: below 4 GiB then. */
	at = hole(ours, 2, 0x90000000);
	ck_assert_uint_ne(at, 0);
	ck_assert_uint_lt(at, 0x100000000);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("plan");
	TCase *tc = tcase_create("plan");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, smallest);
	tcase_add_test(tc, memory);
	tcase_add_test(tc, paged);
	tcase_add_test(tc, threads);
	tcase_add_test(tc, credentials);
	tcase_add_test(tc, refuse_device);
	tcase_add_test(tc, refuse_flags);
	tcase_add_test(tc, refuse_vdso);
	tcase_add_test(tc, refuse_fileless);
	tcase_add_test(tc, refuse_overflow);
	tcase_add_test(tc, holes);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
