/*
 * A restore without an image: a struct process is filled from a stopped
 * child, the child is killed, and made again.
 */
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "fileid.h"
#include "layout.h"
#include "memory.h"
#include "proc.h"
#include "proc_parse.h"
#include "resource.h"
#include "restore.h"
#include "unit.h"

#define ERESTART_RESTARTBLOCK 516

/* What a child shows of itself, in memory that is a file. */
struct show {
	volatile uint64_t count;
	volatile uint64_t value;
};

static struct show *show;
static int show_fd;

static void
setup(void)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/XXXXXX", unit_dir());
	show_fd = mkstemp(path);
	ck_assert_int_ge(show_fd, 0);
	ck_assert_int_eq(ftruncate(show_fd, 4096), 0);
	show = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, show_fd, 0);
	ck_assert_ptr_ne(show, MAP_FAILED);
	/* The child's mapping must find it by name. */
	ck_assert_int_eq(setenv("CHECK_RESTORE_FILE", path, 1), 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void
teardown(void)
{
	unlink(getenv("CHECK_RESTORE_FILE"));
	munmap(show, 4096);
	close(show_fd);
}

/* ---- a checkpoint, as small as it can be ---- */

static void
gather_thread(pid_t pid, struct thread *t)
{
	struct iovec iov;

	t->tid = pid;
	t->restart.nr = -1;
	t->xsave = malloc(65536);
	iov = (struct iovec){ t->xsave, 65536 };
	ck_assert_int_eq(ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &iov), 0);
	t->xsave_len = iov.iov_len;
	ck_assert_int_eq(ptrace(PTRACE_GETREGS, pid, 0, &t->regs), 0);
	if ((long)t->regs.orig_rax >= 0 &&
	    (long)t->regs.rax == -ERESTART_RESTARTBLOCK) {
		t->restart.nr = (int)t->regs.orig_rax;
		memcpy(t->restart.args,
		    (uint64_t[6]){ t->regs.rdi, t->regs.rsi, t->regs.rdx,
			t->regs.r10, t->regs.r8, t->regs.r9 },
		    sizeof(t->restart.args));
		t->restart.has_timeout = true;
		t->restart.left_ns = 200000000;
	} else if ((long)t->regs.orig_rax >= 0 && (long)t->regs.rax <= -512 &&
		   (long)t->regs.rax >= -514) {
		t->regs.rax = t->regs.orig_rax;
		t->regs.rip -= 2;
	}
	t->regs.orig_rax = -1ull;
	ck_assert_int_eq(ptrace(PTRACE_GETSIGMASK, pid, 8, &t->sigmask), 0);
	strcpy(t->comm, "restored");
}

static void
gather_mm(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	struct proc_stat st;
	char *text;
	size_t len;

	ck_assert_int_eq(proc_read(cx, pid, "stat", &text, NULL), 0);
	ck_assert_int_eq(proc_parse_stat(text, &st), 0);
	free(text);
	p->mm = st.mm;
	p->mm.brk = p->mm.start_brk;
	for (size_t i = 0; i < p->nvmas; i++)
		if (strcmp(p->vmas[i].path, "[heap]") == 0)
			p->mm.brk = p->vmas[i].end;
	ck_assert_int_eq(proc_read(cx, pid, "auxv", &text, &len), 0);
	p->auxv = (uint8_t *)text;
	p->auxv_len = len;
}

/* Pages as an image has them: one file. */
static void
save_pages(struct process *p)
{
	int fd = memfd_create("pages", MFD_CLOEXEC);
	static char buf[1 << 16];

	for (uint64_t off = 0; off < p->pages_size; off += sizeof(buf)) {
		uint64_t n = p->pages_size - off;

		if (n > sizeof(buf))
			n = sizeof(buf);
		ck_assert_int_eq(memory_read(p, buf, n, off), n);
		ck_assert_int_eq(pwrite(fd, buf, n, (off_t)off), n);
	}
	if (p->pages_fd >= 0)
		close(p->pages_fd);
	p->pages_fd = fd;
}

static struct process *
checkpoint(struct snap_ctx *cx, pid_t pid)
{
	struct process *p = process_new();
	struct proc_status st;
	char *text;

	ck_assert_ptr_nonnull(p);
	p->pid = p->sid = pid;
	strcpy(p->arch, "x86_64");
	ck_assert_int_eq(memory_collect_vmas(cx, pid, p), 0);
	ck_assert_int_eq(memory_collect_frozen(cx, pid, 0, p), 0);
	ck_assert_int_eq(memory_collect_late(cx, 0, p), 0);
	save_pages(p);
	ck_assert_int_eq(fds_collect(cx, &p, 1), 0);
	gather_thread(
	    pid, process_grow(&p->threads, &p->nthreads, sizeof(*p->threads)));
	ck_assert_int_eq(proc_read(cx, pid, "status", &text, NULL), 0);
	ck_assert_int_eq(proc_parse_status(text, &st), 0);
	free(text);
	p->threads[0].creds = st.creds;
	for (int i = 0; i < PROCESS_NRLIMITS; i++) {
		struct rlimit64 l;

		prlimit64(0, i, NULL, &l);
		p->rlimits[i].cur = l.rlim_cur;
		p->rlimits[i].max = l.rlim_max;
	}
	p->umask = 022;
	p->dumpable = 1;
	p->coredump_filter = 0x33;
	p->cwd = strdup("/");
	p->root = strdup("/");
	gather_mm(cx, pid, p);
	return p;
}

/* ---- the rounds ---- */

static void
wait_count(uint64_t from)
{
	for (int i = 0; i < 2000 && show->count <= from; i++)
		poll(NULL, 0, 1);
	ck_assert_uint_gt(show->count, from);
}

/* In an agent of its own; the sentence, or the note, goes to `text`. */
static int
try_restore(struct process *p, const struct snap_restore_options *o, pid_t *pid,
    char text[1024])
{
	struct {
		struct snap_restore_result res;
		int err;
		char text[1024];
	} * out;
	int st, err;
	pid_t agent;

	out = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(out, MAP_FAILED);
	agent = fork();
	if (agent == 0) {
		struct snap_ctx *cx = snap_ctx_new(NULL);

		struct image_sums *none = NULL;
		struct family one = { .v = &p, .sums = &none, .n = 1 };

		p->tree = &one;
		out->err = restore_family(cx, o, &one, &out->res, NULL);
		snprintf(out->text, sizeof(out->text), "%s",
		    out->err < 0 ? snap_error(cx) : out->res.note);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(agent, &st, 0), agent);
	ck_assert_msg(st == 0, "the agent ended with %x", st);
	strcpy(text, out->text);
	*pid = out->res.pid;
	err = out->err;
	munmap(out, 4096);
	return err;
}

static pid_t
restore(struct process *p, bool new_pid, bool stopped)
{
	struct snap_restore_options o = {
		.tty = -1, .cwd = -1, .new_pid = new_pid, .stopped = stopped
	};
	char text[1024];
	pid_t pid;
	int err;

	err = try_restore(p, &o, &pid, text);
	ck_assert_msg(err == 0, "%d: %s", err, text);
	return pid;
}

static void
refused(struct process *p, int err, const char *sentence)
{
	struct snap_restore_options o = { .tty = -1, .cwd = -1 };
	char text[1024];
	pid_t pid;

	ck_assert_int_eq(try_restore(p, &o, &pid, text), err);
	ck_assert_str_eq(text, sentence);
	ck_assert_int_eq(pid, 0);
}

static pid_t
start(void (*body)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(getenv("CHECK_RESTORE_FILE"), O_RDWR);

		show =
		    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		fd = open("/dev/null", O_RDWR);
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		close_range(3, ~0u, 0);
		body();
		_exit(0);
	}
	return pid;
}

static struct process *
take_and_kill(struct snap_ctx *cx, pid_t pid)
{
	struct process *p;
	int st;

	ck_assert_int_eq(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	ck_assert_int_eq(waitpid(pid, &st, 0), pid);
	p = checkpoint(cx, pid);
	kill(pid, SIGKILL);
	while (waitpid(pid, &st, 0) == pid && WIFSTOPPED(st))
		;
	return p;
}

static void
end(pid_t pid)
{
	int st;

	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &st, __WALL), pid);
	ck_assert(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}

static void
count(void)
{
	for (uint64_t i = 1;; i++)
		show->count = i;
}

START_TEST(counts_on)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p;
	uint64_t at;
	pid_t pid;

	pid = start(count);
	wait_count(1000);
	p = take_and_kill(cx, pid);
	at = show->count;
	ck_assert_int_eq(restore(p, false, false), pid);
	wait_count(at);
	end(pid);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

static void
nap(void)
{
	struct timespec ts = { 1000, 0 }, left;

	show->count = 1;
	show->value = (uint64_t)nanosleep(&ts, &left);
	show->count = 2;
	pause();
}

/* Asleep when taken, 0.2 s left by the image: it wakes by itself. */
START_TEST(sleeps_on)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p;
	pid_t pid, other;

	show->count = 0;
	pid = start(nap);
	wait_count(0);
	poll(NULL, 0, 20);
	p = take_and_kill(cx, pid);
	other = restore(p, true, false);
	ck_assert_int_ne(other, pid);
	ck_assert_uint_eq(show->count, 1);
	wait_count(1);
	ck_assert_uint_eq(show->value, 0);
	end(other);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

/* Nobody is left: no process, and no zombie that keeps the number. */
static void
nothing_left(pid_t pid)
{
	ck_assert_int_lt(kill(pid, 0), 0);
	ck_assert_int_eq(errno, ESRCH);
	ck_assert_int_lt(waitpid(-1, NULL, __WALL | WNOHANG), 0);
}

START_TEST(stays_stopped)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p;
	int st;
	uint64_t at;
	pid_t pid;

	pid = start(count);
	wait_count(1000);
	p = take_and_kill(cx, pid);
	at = show->count;
	ck_assert_int_eq(restore(p, false, true), pid);
	ck_assert_int_eq(waitpid(pid, &st, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	poll(NULL, 0, 20);
	ck_assert_uint_eq(show->count, at);
	kill(pid, SIGCONT);
	wait_count(at);
	end(pid);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

START_TEST(refuses_taken)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p;
	char want[128];
	pid_t pid, other;

	pid = start(count);
	wait_count(1000);
	p = take_and_kill(cx, pid);
	other = restore(p, false, false);
	ck_assert_int_eq(other, pid);
	snprintf(want, sizeof(want),
	    "pid %d is in use by restored; restore with pid=new, or with "
	    "replace",
	    (int)pid);
	refused(p, -EEXIST, want);
	end(pid);
	nothing_left(pid);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

/* At each stage: in the plan's operations, in the files, at the very end. */
START_TEST(leaves_nothing)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p;
	char want[128];
	uint64_t brk;
	pid_t pid;

	pid = start(count);
	wait_count(1000);
	p = take_and_kill(cx, pid);

	brk = p->mm.brk;
	p->mm.brk = 0;
	refused(p, -EINVAL, "status: brk, arguments: prctl: Invalid argument");
	nothing_left(pid);
	p->mm.brk = brk;

	free(p->cwd);
	p->cwd = strdup("/nonexistent");
	refused(p, -ENOENT, "cwd: /nonexistent: No such file or directory");
	nothing_left(pid);
	free(p->cwd);
	p->cwd = strdup("/");

	p->threads[0].regs.fs_base = ~0xffffull;
	snprintf(want, sizeof(want),
	    "thread %d: these registers are not possible", (int)pid);
	refused(p, -EBADMSG, want);
	nothing_left(pid);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("restore");
	TCase *tc = tcase_create("restore");

	if (geteuid() != 0) {
		puts("restore: needs root, skipped");
		return 77;
	}
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 20);
	tcase_add_test(tc, counts_on);
	tcase_add_test(tc, sleeps_on);
	tcase_add_test(tc, stays_stopped);
	tcase_add_test(tc, refuses_taken);
	tcase_add_test(tc, leaves_nothing);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
