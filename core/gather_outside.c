/*
 * gather_outside.c - what ptrace and /proc tell of a frozen process.  It is
 * held meanwhile, so files of /proc are read only for what no twin inherits.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze.h"
#include "gather.h"
#include "proc.h"
#include "proc_parse.h"
#include "proc_task.h"
#include "seccomp.h"
#include "uapi.h"

#define XSAVE_ROOM (64u << 10)
#define XSAVE_XSTATE_BV 512 /* in the area: which states are in use */
#define RSEQ_CS 8	    /* offset of rseq_cs in struct rseq */

/* struct rseq_cs of <linux/rseq.h> */
struct section {
	uint32_t version, flags;
	uint64_t start_ip, post_commit_offset, abort_ip;
};

/* ---- threads ---- */

static int
read_xsave(struct tracee *t, struct thread *th, uint64_t *xfeatures, void *buf)
{
	struct iovec iov = { buf, XSAVE_ROOM };
	uint64_t bv;

	if (ptrace(PTRACE_GETREGSET, t->tid, (void *)NT_X86_XSTATE, &iov) < 0)
		return -errno;
	if (iov.iov_len == XSAVE_ROOM)
		return -E2BIG;
	th->xsave = malloc(iov.iov_len);
	if (th->xsave == NULL)
		return -ENOMEM;
	memcpy(th->xsave, buf, iov.iov_len);
	th->xsave_len = iov.iov_len;
	if (iov.iov_len >= XSAVE_XSTATE_BV + sizeof(bv)) {
		memcpy(&bv, th->xsave + XSAVE_XSTATE_BV, sizeof(bv));
		*xfeatures |= bv;
	}
	return 0;
}

/*
 * A thread that was preempted, and it has been, must not go on in the middle
 * of an rseq critical section: the kernel would send it to the section's abort
 * address when it runs next.  We are about to run something else in it, after
 * which the kernel would not find it there any more.  So do what it would.
 */
static void
leave_section(struct frozen *z, struct tracee *t, struct thread *th)
{
	struct section s;

	if (!frozen_read(
		z, &th->rseq_cs, sizeof(th->rseq_cs), th->rseq + RSEQ_CS) ||
	    th->rseq_cs == 0 || !frozen_read(z, &s, sizeof(s), th->rseq_cs))
		return;
	if (s.version != 0 || s.flags != 0 ||
	    t->regs.rip - s.start_ip >= s.post_commit_offset)
		return;
	t->regs.rip = s.abort_ip;
	t->away = true;
}

static int
read_rseq(struct frozen *z, struct tracee *t, struct thread *th)
{
	struct __ptrace_rseq_configuration rc;
	long n;

	n = ptrace(
	    PTRACE_GET_RSEQ_CONFIGURATION, t->tid, (void *)sizeof(rc), &rc);
	if (n < 0)
		return errno == EIO ? 0 : -errno; /* a kernel without it */
	th->rseq = rc.rseq_abi_pointer;
	th->rseq_len = rc.rseq_abi_size;
	th->rseq_sig = rc.signature;
	if (th->rseq != 0)
		leave_section(z, t, th);
	return 0;
}

/* Calls of a thread that redirects them would not be ours to make. */
static int
read_dispatch(struct tracee *t, struct process *p)
{
	struct uapi_sud_config sud;
	char what[32];

	if (ptrace((enum __ptrace_request)UAPI_PTRACE_GET_SYSCALL_USER_DISPATCH,
		t->tid, (void *)sizeof(sud), &sud) < 0 ||
	    sud.mode == 0)
		return 0;
	t->no_calls = true;
	snprintf(what, sizeof(what), "thread %d", (int)t->tid);
	return process_unsupported(p, what,
	    "it redirects its system calls (syscall user dispatch), and comes "
	    "back without that, its signal stack and its tid address");
}

/* ioperm(2): what of it was read is of no use, since nobody may set it. */
static int
read_ports(struct tracee *t, struct process *p)
{
	uint8_t bits[8192];
	struct iovec iov = { bits, sizeof(bits) };
	char what[32];

	if (ptrace(PTRACE_GETREGSET, t->tid, (void *)NT_386_IOPERM, &iov) < 0 ||
	    iov.iov_len == 0)
		return 0;
	snprintf(what, sizeof(what), "thread %d", (int)t->tid);
	return process_unsupported(p, what,
	    "it may use ports of devices (ioperm(2)), and comes back without");
}

static int
read_thread(struct frozen *z, struct tracee *t, struct thread *th,
    struct process *p, void *buf)
{
	int err;

	th->tid = t->tid;
	th->restart.nr = -1;
	th->seccomp = t->seccomp;
	th->filter = t->filter;
	err = read_xsave(t, th, &p->xfeatures, buf);
	if (err == 0)
		err = read_rseq(z, t, th);
	if (err == 0)
		err = read_dispatch(t, p);
	if (err == 0)
		err = read_ports(t, p);
	return err;
}

static int
read_threads(struct snap_ctx *cx, struct frozen *z, struct process *p)
{
	void *buf = malloc(XSAVE_ROOM);
	struct thread *th;
	int err = 0;

	for (size_t i = 0; i < z->n && err == 0; i++) {
		th = process_grow(&p->threads, &p->nthreads, sizeof(*th));
		err = buf == NULL || th == NULL
			  ? -ENOMEM
			  : read_thread(z, &z->v[i], th, p, buf);
		if (err != 0)
			snap_fail(cx, err, "process %d: thread %d: %s",
			    (int)z->pid, (int)z->v[i].tid, strerror(-err));
	}
	free(buf);
	return err;
}

/* ---- the process ---- */

static int
read_stat(struct snap_ctx *cx, struct process *p)
{
	struct proc_stat st;
	int err = proc_task_stat(p->pid, 0, &st);

	if (err != 0)
		return proc_task_fail(cx, p->pid, "stat", err);
	p->ppid = st.ppid;
	p->pgid = st.pgid;
	p->sid = st.sid;
	p->tty = st.tty;
	/* A group of another pid namespace is 0. */
	p->tty_pgid = st.tty_pgid < -1 ? -1 : st.tty_pgid;
	p->exit_signal = st.exit_signal > 0 ? (uint32_t)st.exit_signal : 0;
	return 0;
}

static int
read_timers(struct snap_ctx *cx, struct process *p)
{
	char *text;
	int err;

	err = proc_read(cx, p->pid, "timers", &text, NULL);
	if (err != 0)
		return err;
	err = proc_parse_timers(text, &p->timers, &p->ntimers);
	free(text);
	if (err != 0)
		return snap_fail(
		    cx, err, "/proc/%d/timers: not understood", (int)p->pid);
	return 0;
}

static int
read_oom(struct snap_ctx *cx, struct process *p)
{
	char *text;
	int err;

	err = proc_read(cx, p->pid, "oom_score_adj", &text, NULL);
	if (err != 0)
		return err;
	p->oom_score_adj = (int32_t)strtol(text, NULL, 10);
	free(text);
	return 0;
}

static int
read_owner(struct snap_ctx *cx, struct process *p)
{
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)p->pid);
	if (stat(path, &st) < 0)
		return snap_fail(cx, -ESRCH, "process %d is gone", (int)p->pid);
	p->owner_uid = st.st_uid;
	p->owner_gid = st.st_gid;
	return 0;
}

/* What is known of the checkpoint before anything is read. */
static int
begin(struct snap_ctx *cx, const struct frozen *z, struct process *p)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t id[16];
	struct utsname u;

	if (getrandom(id, sizeof(id), 0) != sizeof(id) || uname(&u) < 0)
		return snap_fail(cx, -errno, "getrandom: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(id); i++) {
		p->id[2 * i] = digits[id[i] >> 4];
		p->id[2 * i + 1] = digits[id[i] & 15];
	}
	snprintf(p->arch, sizeof(p->arch), "%.15s", u.machine);
	p->kernel = strdup(u.release);
	if (p->kernel == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	p->time = z->time;
	p->pid = z->pid;
	/* Who stands held at a point is one that runs. */
	p->group_stopped = z->group_stopped && !z->held;
	return 0;
}

/* A filter may ask another process, which we do not know. */
static int
note_seccomp(struct process *p)
{
	for (size_t i = 0; i < p->nthreads; i++)
		if (p->threads[i].seccomp == SECCOMP_MODE_FILTER &&
		    filters_notify(&p->filters, p->threads[i].filter))
			return process_unsupported(p, "seccomp",
			    "a supervisor decides about some of its calls "
			    "(SECCOMP_RET_USER_NOTIF); they will fail with "
			    "ENOSYS");
	return 0;
}

int
gather_outside(struct snap_ctx *cx, struct frozen *z, struct process *p)
{
	int err;

	err = begin(cx, z, p);
	if (err == 0)
		err = read_threads(cx, z, p);
	if (err == 0)
		err = read_stat(cx, p);
	if (err == 0)
		err = read_timers(cx, p);
	if (err == 0)
		err = read_oom(cx, p);
	if (err == 0)
		err = read_owner(cx, p);
	if (err == 0)
		err = proc_readlink(cx, p->pid, "cwd", &p->cwd);
	if (err == 0 && (filters_copy(&p->filters, &z->filters) != 0 ||
			    note_seccomp(p) != 0))
		err = snap_fail(cx, -ENOMEM, "no memory");
	frozen_step(cx, z, "seen from outside");
	return err;
}
