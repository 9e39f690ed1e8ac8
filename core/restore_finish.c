/*
 * restore_finish.c - from a process that has everything but its registers to
 * one that runs.
 *
 * All its threads wait in the restorer.  They are interrupted, so that each
 * is in a ptrace stop on its way back to user space, where the kernel looks
 * at signals and at calls to be restarted once more; whatever is injected
 * ends in such a stop again.  Nothing of the image runs before all of it is
 * right: what can still fail comes first, then the detaching.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "ctx.h"
#include "proc_task.h"
#include "restore_release.h"
#include "restore_stops.h"
#include "restore_timed.h"
#include "restore_tree.h"
#include "tcp_sock.h"
#include "timed.h"

#define XSAVE_MAX (64u << 10)
#define XSAVE_MIN (512u + 64u)
#define KSIGSET 8
#define NS 1000000000ull

#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

#define SYSCALL_STOP (SIGTRAP | 0x80)
#define EVENT_STOP (SIGTRAP | PTRACE_EVENT_STOP << 8)

/* Where a `syscall` instruction is to be found, whatever is unmapped. */
struct gate {
	uint64_t at;
	uint64_t saved; /* what was there, if it was put there */
	bool made;
};

struct finish {
	struct restore *r;
	struct gate gate;
	struct user_regs_struct *regs; /* of each thread, as it will run */
	bool stopped;		       /* it is complete already, and stopped */
};

static pid_t
tid_of(const struct restore *r, size_t i)
{
	return r->area->lanes[i].tid;
}

static int
fail(struct restore *r, pid_t tid, const char *what)
{
	int err = errno;

	return snap_fail(r->cx, -err, "thread %d: %s: %s", (int)tid, what,
	    err == ESRCH ? "the new process was killed" : strerror(err));
}

/* ---- stops ---- */

/*
 * Wait for the stop `want` (status >> 8).  A SIGSTOP from outside is kept for
 * the end; no other signal can come, they are all blocked.
 */
static int
wait_stop(struct restore *r, pid_t tid, int want, int resume)
{
	int st;

	for (;;) {
		if (waitpid(tid, &st, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return fail(r, tid, "waiting");
		}
		if (!WIFSTOPPED(st)) {
			errno = ESRCH;
			return fail(r, tid, "waiting");
		}
		if (st >> 8 == want)
			return 0;
		if (st >> 8 == SIGSTOP)
			r->p->group_stopped = true;
		if (ptrace(resume, tid, 0, 0) < 0)
			return fail(r, tid, "resuming");
	}
}

static int
stop_all(struct finish *f)
{
	struct restore *r = f->r;

	for (size_t i = 0; i < r->plan->nlanes; i++)
		if (ptrace(PTRACE_INTERRUPT, tid_of(r, i), 0, 0) < 0)
			return fail(r, tid_of(r, i), "interrupting");
	for (size_t i = 0; i < r->plan->nlanes; i++) {
		int err;

		err = wait_stop(r, tid_of(r, i), EVENT_STOP, PTRACE_CONT);
		if (err < 0)
			return err;
	}
	return 0;
}

/* ---- calls ---- */

/*
 * Find a syscall instruction outside the area: our vDSO's code is the
 * image's.  Without one, put it where the leader will run.
 */
static int
find_gate(struct finish *f)
{
	struct restore *r = f->r;
	const uint8_t *code = (const uint8_t *)r->self.vdso.start;
	size_t len = r->self.vdso.end - r->self.vdso.start;
	uint64_t word;
	long got;

	for (size_t i = 0; i < r->p->nvmas; i++) {
		const struct vma *v = &r->p->vmas[i];
		const uint8_t *s;

		if (v->kind != VMA_VDSO)
			continue;
		s = memmem(code, len, "\x0f\x05", 2);
		if (s != NULL) {
			f->gate.at = v->start + (uint64_t)(s - code);
			return 0;
		}
	}
	f->gate.at = r->p->threads[0].regs.rip & ~7ull;
	errno = 0;
	got = ptrace(PTRACE_PEEKTEXT, r->pid, f->gate.at, 0);
	if (got == -1 && errno != 0)
		return fail(r, r->pid, "reading the code it stopped in");
	f->gate.saved = (uint64_t)got;
	word = (f->gate.saved & ~0xffffull) | 0x050f;
	if (ptrace(PTRACE_POKETEXT, r->pid, f->gate.at, word) < 0)
		return fail(r, r->pid, "writing to the code it stopped in");
	f->gate.made = true;
	return 0;
}

static int
close_gate(struct finish *f)
{
	if (f->gate.made &&
	    ptrace(PTRACE_POKETEXT, f->r->pid, f->gate.at, f->gate.saved) < 0)
		return fail(f->r, f->r->pid, "restoring the code");
	f->gate.made = false;
	return 0;
}

/*
 * Let a thread, stopped on its way to user space, make a call and stop there
 * again: interrupted at once, if it is one that sleeps.  *ret is as in rax.
 */
static int
call(struct finish *f, pid_t tid, int nr, const uint64_t args[6], int64_t *ret)
{
	struct restore *r = f->r;
	struct user_regs_struct u = r->p->threads[0].regs;
	int err;

	u.rip = f->gate.at;
	u.rax = (uint64_t)nr;
	u.orig_rax = -1ull;
	u.rdi = args[0];
	u.rsi = args[1];
	u.rdx = args[2];
	u.r10 = args[3];
	u.r8 = args[4];
	u.r9 = args[5];
	u.eflags = 0x202;
	if (ptrace(PTRACE_SETREGS, tid, 0, &u) < 0 ||
	    ptrace(PTRACE_SYSCALL, tid, 0, 0) < 0)
		return fail(r, tid, "making a call");
	err = wait_stop(r, tid, SYSCALL_STOP, PTRACE_SYSCALL);
	if (err < 0)
		return err;
	/* It enters with the interruption pending, so it cannot miss it. */
	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0 ||
	    ptrace(PTRACE_CONT, tid, 0, 0) < 0)
		return fail(r, tid, "making a call");
	err = wait_stop(r, tid, EVENT_STOP, PTRACE_CONT);
	if (err < 0)
		return err;
	if (ptrace(PTRACE_GETREGS, tid, 0, &u) < 0)
		return fail(r, tid, "reading a result");
	*ret = (int64_t)u.rax;
	return 0;
}

/* ---- interrupted calls ---- */

static struct timespec
timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NS),
		.tv_nsec = (long)(ns % NS) };
}

static uint64_t
now_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

/*
 * The arguments of a call that goes on sleeping for what was left.  Its
 * timespec, if it has one, is in the area: the kernel has read it when the
 * area goes.  false: not a call that restarts this way.
 */
static bool
restart_args(const struct restart *rs, struct timespec *ts, uint64_t args[6])
{
	uint64_t left = rs->left_ns;
	int op;

	memcpy(args, rs->args, 6 * sizeof(args[0]));
	switch (rs->nr) {
	case SYS_nanosleep:
		args[0] = (uint64_t)ts;
		break;
	case SYS_clock_nanosleep:
		args[1] = 0; /* relative: absolute ones restart otherwise */
		args[2] = (uint64_t)ts;
		break;
	case SYS_poll:
		left = left / 1000000 + (left % 1000000 != 0);
		args[2] = rs->has_timeout
			      ? (left > INT32_MAX ? INT32_MAX : left)
			      : -1ull;
		return true;
	case SYS_futex:
		op = (int)(args[1] & FUTEX_CMD_MASK);
		if (op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET)
			return false;
		if (op == FUTEX_WAIT_BITSET)
			left += now_of(args[1] & FUTEX_CLOCK_REALTIME
					   ? CLOCK_REALTIME
					   : CLOCK_MONOTONIC);
		args[3] = rs->has_timeout ? (uint64_t)ts : 0;
		break;
	default:
		return false;
	}
	*ts = timespec_of(left);
	return true;
}

/*
 * Have the kernel make its restart block anew: issue the call, interrupt it.
 * If it did not sleep, its result is the call's result.
 */
static int
restart_call(struct finish *f, size_t i)
{
	struct restore *r = f->r;
	const struct thread *t = &r->p->threads[i];
	struct user_regs_struct *u = &f->regs[i];
	uint64_t args[6], scratch;
	int64_t ret;
	int err;

	if (t->restart.nr < 0)
		return 0;
	if (timed_find(t->restart.nr) != NULL) {
		restore_timed(r, i, tid_of(r, i), u);
		return 0;
	}
	scratch = (uint64_t)r->map + r->plan->stacks_off + i * LANE_STACK;
	if (!restart_args(&t->restart, (struct timespec *)scratch, args)) {
		u->rax = (uint64_t)-EINTR;
		return 0;
	}
	err = call(f, tid_of(r, i), t->restart.nr, args, &ret);
	if (err < 0)
		return err;
	switch (-ret) {
	case ERESTART_RESTARTBLOCK:
		/* The kernel finishes this itself: -EINTR, if a handler runs,
		 * restart_syscall(2) if not. */
		u->orig_rax = (uint64_t)t->restart.nr;
		u->rax = (uint64_t)-ERESTART_RESTARTBLOCK;
		break;
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		u->rip -= 2;
		u->rax = (uint64_t)t->restart.nr;
		break;
	default:
		u->rax = (uint64_t)ret;
	}
	return 0;
}

/* ---- registers ---- */

/*
 * The standard format of XSAVE, whose layout is the CPU's: what the image has
 * more than this CPU is in its initial state, which was checked, and what it
 * has less is so here.
 */
static int
set_xsave(struct restore *r, size_t i)
{
	const struct thread *t = &r->p->threads[i];
	pid_t tid = tid_of(r, i);
	uint8_t *buf = calloc(1, XSAVE_MAX);
	struct iovec iov = { buf, XSAVE_MAX };
	size_t size;
	int err = 0;

	if (buf == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	if (t->xsave_len < XSAVE_MIN) {
		err = snap_fail(r->cx, -EBADMSG,
		    "thread %d: no extended registers", (int)t->tid);
		goto out;
	}
	if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov) < 0) {
		err = fail(r, tid, "extended registers");
		goto out;
	}
	size = iov.iov_len;
	memset(buf, 0, size);
	memcpy(buf, t->xsave, t->xsave_len < size ? t->xsave_len : size);
	if (ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &iov) < 0)
		err =
		    errno == ESRCH
			? fail(r, tid, "extended registers")
			: snap_fail(r->cx, -EBADMSG,
			      "thread %d: the extended registers are not valid "
			      "for this CPU",
			      (int)t->tid);
out:
	free(buf);
	return err;
}

/* The kernel refuses what no thread can have in its registers. */
static int
try_registers(struct finish *f)
{
	struct restore *r = f->r;

	for (size_t i = 0; i < r->p->nthreads; i++) {
		pid_t tid = tid_of(r, i);
		int err;

		f->regs[i] = r->p->threads[i].regs;
		f->regs[i].orig_rax = -1ull;
		err = set_xsave(r, i);
		if (err < 0)
			return err;
		if (ptrace(PTRACE_SETREGS, tid, 0, &f->regs[i]) < 0)
			return errno == ESRCH
				   ? fail(r, tid, "registers")
				   : snap_fail(r->cx, -EBADMSG,
					 "thread %d: these registers are not "
					 "possible",
					 (int)r->p->threads[i].tid);
	}
	return 0;
}

/* ---- rights ---- */

/*
 * What took effect, not what was asked for: no more than we may give, and the
 * ids of the image.
 */
static int
verify_creds(struct restore *r, size_t i)
{
	const struct creds *want = &r->p->threads[i].creds, *have;
	uint64_t may = r->host.creds.cap_prm & ~r->opt->lent_caps;
	struct proc_status st;
	bool ok;
	int err = proc_task_status(r->pid, tid_of(r, i), &st);

	if (err != 0)
		return proc_task_fail(r->cx, tid_of(r, i), "status", err);
	have = &st.creds;
	ok = have->ruid == want->ruid && have->euid == want->euid &&
	     have->suid == want->suid && have->fsuid == want->fsuid &&
	     have->rgid == want->rgid && have->egid == want->egid &&
	     have->sgid == want->sgid && have->fsgid == want->fsgid &&
	     have->cap_prm == (want->cap_prm & may) &&
	     (have->cap_eff & ~have->cap_prm) == 0 &&
	     (have->cap_amb & ~have->cap_prm) == 0;
	if (r->host.suspended && st.seccomp != r->p->threads[i].seccomp)
		return snap_fail(r->cx, -EPERM,
		    "thread %d did not come under its seccomp filters",
		    (int)tid_of(r, i));
	if (!ok)
		return snap_fail(r->cx, -EPERM,
		    "thread %d did not get the credentials of the image",
		    (int)tid_of(r, i));
	return 0;
}

/* ---- the last calls ---- */

static int
unmap(struct finish *f, uint64_t start, uint64_t len)
{
	struct restore *r = f->r;
	uint64_t args[6] = { start, len };
	int64_t ret;
	int err;

	err = call(f, r->pid, SYS_munmap, args, &ret);
	if (err == 0 && ret != 0)
		err = snap_fail(r->cx, -EIO, "unmapping the restorer: %s",
		    strerror((int)-ret));
	return err;
}

static int
unmap_area(struct finish *f)
{
	const struct snap_template *t = f->r->opt->tmpl;
	int err = unmap(f, (uint64_t)f->r->map, f->r->map_len);

	if (err == 0 && t != NULL)
		err = unmap(f, t->start, t->end - t->start);
	return err;
}

/*
 * A parent's death counts from now on: the one that it was created by has
 * ended, and none of ours will be.
 */
static int
set_death_signals(struct finish *f)
{
	struct restore *r = f->r;

	for (size_t i = 0; i < r->p->nthreads; i++) {
		uint64_t args[6] = { PR_SET_PDEATHSIG,
			r->p->threads[i].pdeath_signal };
		int64_t ret;
		int err;

		/* Who stands in for it is killed: so is it. */
		if (args[1] == 0 && r->opt->child && i == 0)
			args[1] = SIGKILL;
		if (args[1] == 0)
			continue;
		err = call(f, tid_of(r, i), SYS_prctl, args, &ret);
		if (err < 0)
			return err;
		if (ret != 0)
			return snap_fail(r->cx, -EBADMSG,
			    "thread %d: death signal %" PRIu64
			    " is not possible",
			    (int)r->p->threads[i].tid, args[1]);
	}
	return 0;
}

static int
call_of_thread(
    void *arg, size_t i, int nr, const uint64_t args[6], int64_t *ret)
{
	struct finish *f = arg;

	return call(f, tid_of(f->r, i), nr, args, ret);
}

static int
confine(struct finish *f)
{
	return restore_seccomp_confine(f->r, call_of_thread, f);
}

/* The first process becomes an orphan, as it will be. */
static int
release_parent(struct finish *f)
{
	return f->r->index > 0 ? 0 : restore_release_parent(f->r->tree);
}

/* ---- off it goes ---- */

static int
set_registers(struct finish *f)
{
	struct restore *r = f->r;

	for (size_t i = 0; i < r->p->nthreads; i++) {
		uint64_t mask = r->p->threads[i].sigmask;
		pid_t tid = tid_of(r, i);

		if (ptrace(PTRACE_SETREGS, tid, 0, &f->regs[i]) < 0 ||
		    ptrace(PTRACE_SETSIGMASK, tid, KSIGSET, &mask) < 0)
			return fail(r, tid, "registers");
	}
	/* Seen by the first thread that is let go, before user space. */
	if (!f->stopped && (r->opt->stopped || r->p->group_stopped) &&
	    kill(r->pid, SIGSTOP) < 0)
		return fail(r, r->pid, "SIGSTOP");
	return 0;
}

/*
 * A handler of it runs before user space is seen again: so the call that waits
 * there must be one that the kernel starts anew only if no handler runs.
 */
static int
tell_of_terminal(struct finish *f)
{
	struct restore *r = f->r;
	int sig = restore_terminal_signal(r);

	if (sig == 0)
		return 0;
	for (size_t i = 0; i < r->p->nthreads; i++) {
		pid_t tid = tid_of(r, i);
		long word;

		errno = 0;
		word = ptrace(PTRACE_PEEKTEXT, tid, f->regs[i].rip, 0);
		if (errno != 0 || (word & 0xffff) != 0x050f ||
		    !calls_interruptible(&f->regs[i]))
			continue;
		if (ptrace(PTRACE_SETREGS, tid, 0, &f->regs[i]) < 0)
			return fail(r, tid, "registers");
	}
	/* One whose ids are not ours any more may be beyond our reach. */
	if (kill(r->pid, sig) < 0 && errno != EPERM)
		return fail(r, r->pid, "signal of its terminal");
	return 0;
}

/*
 * Once the first process runs, another that is killed from outside is no
 * failure of ours.
 */
static int
detach(struct finish *f)
{
	struct restore *r = f->r;

	for (size_t i = r->p->nthreads; i-- > 0;)
		if (ptrace(PTRACE_DETACH, tid_of(r, i), 0, 0) < 0 &&
		    r->index == 0)
			return fail(r, tid_of(r, i), "detaching");
	return 0;
}

static int
prepare(struct finish *f)
{
	struct restore *r = f->r;
	int err = 0;

	for (size_t i = 0; i < r->p->nthreads && err == 0; i++)
		err = verify_creds(r, i);
	if (err == 0)
		err = try_registers(f);
	if (err == 0)
		err = find_gate(f);
	for (size_t i = 0; i < r->p->nthreads && err == 0; i++)
		err = restart_call(f, i);
	return err;
}

/* One that is killed while we trace it stays a zombie until we wait for it. */
static bool
all_live(const void *made)
{
	const struct restore_tree *t = made;
	struct proc_stat st;

	for (size_t i = 0; i < t->n; i++)
		if (proc_task_stat(t->v[i].pid, 0, &st) != 0 ||
		    st.state == 'Z' || st.state == 'X')
			return false;
	return true;
}

/* It is complete: may it go on? */
static int
ready(struct finish *f)
{
	struct restore *r = f->r;
	int err;

	if (r->index > 0 || r->opt->ready == NULL)
		return 0;
	err = r->opt->ready(r->opt->ready_arg, r->pid, all_live, r->tree);
	if (err > 0)
		r->tree->own_opt.stopped = true;
	if (err == -ESRCH)
		return snap_fail(r->cx, err, "the new process was killed");
	return err < 0 ? snap_fail(r->cx, err, "it was called off") : 0;
}

/* Connections that were mute so far. */
static int
wake(struct finish *f)
{
	return tcp_wake(f->r->cx, f->r->pid, f->r->p);
}

static int
last_calls(struct finish *f)
{
	int err = 0;

	if (!f->stopped)
		err = confine(f);
	if (err == 0 && !f->stopped)
		err = unmap_area(f);
	return err == 0 ? close_gate(f) : err;
}

/*
 * Those that were stopped, from the last, so that a parent that was so itself
 * can be told before it is.
 */
static int
stop_children(struct restore_tree *t, struct finish *f)
{
	int err = 0;

	for (size_t i = t->n; err == 0 && i-- > 1;) {
		struct restore *r = &t->v[i];

		if (!r->p->group_stopped)
			continue;
		err = last_calls(&f[i]);
		if (err == 0)
			err = restore_stop(r);
		f[i].stopped = true;
		if (err == 0)
			err = restore_stop_heard(&t->v[r->p->parent], r,
			    call_of_thread, &f[r->p->parent]);
	}
	return err;
}

/* Each step for all processes, so that the last is as far as the first. */
static int
finish_all(struct restore_tree *t, struct finish *f)
{
	static int (*const first[])(struct finish * f) = { stop_all, prepare,
		release_parent, set_death_signals };
	static int (*const last[])(struct finish * f) = { last_calls, ready,
		wake, set_registers, tell_of_terminal, detach };
	struct release release = { 0 };
	int err = 0;

	for (size_t s = 0; s < sizeof(first) / sizeof(first[0]); s++)
		for (size_t i = 0; i < t->n && err == 0; i++)
			err = first[s](&f[i]);
	if (err == 0)
		err = stop_children(t, f);
	if (err == 0)
		err = release_begin(t, &release);
	for (size_t s = 0; s < sizeof(last) / sizeof(last[0]); s++)
		for (size_t i = 0; i < t->n && err == 0; i++)
			err = last[s](&f[i]);
	release_end(&release);
	return err;
}

int
restore_finish(struct restore_tree *t)
{
	struct finish *f = calloc(t->n, sizeof(*f));
	int err = 0;

	for (size_t i = 0; f != NULL && i < t->n; i++) {
		f[i].r = &t->v[i];
		f[i].regs = calloc(t->v[i].p->nthreads, sizeof(*f[i].regs));
		if (f[i].regs == NULL)
			err = -ENOMEM;
	}
	if (f == NULL || err < 0)
		err = snap_fail(t->cx, -ENOMEM, "no memory");
	if (err == 0)
		err = finish_all(t, f);
	for (size_t i = 0; f != NULL && i < t->n; i++)
		free(f[i].regs);
	free(f);
	return err;
}
