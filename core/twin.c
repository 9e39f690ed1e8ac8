#include "twin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "heal.h"
#include "memory.h"
#include "proc.h"
#include "proc_task.h"
#include "vma.h"

/* A killed process takes its time to give back gigabytes. */
#define END_NS 10000000000ull

/* What may be spent on undoing when the time for the freeze is over. */
#define UNDO_NS 1000000000ull

struct twin {
	pid_t original;
	bool direct;
	bool elsewhere; /* in another pid namespace than we are */
	struct tracee tracee;
	uint64_t insn; /* a `syscall` in it */
	uint64_t text; /* some bytes that may be overwritten */
	uint64_t scratch, scratch_size;
	uint64_t deadline;
};

pid_t
twin_pid(const struct twin *t)
{
	return t == NULL ? 0 : t->tracee.tid;
}

/* ---- birth ---- */

/* A child that was born traced: it dies with us from here on. */
static int
adopt(struct frozen *z, struct tracee *t, pid_t pid)
{
	int err;

	*t = (struct tracee){ .tid = pid };
	err = tracee_wait(t, z->deadline);
	if (err == 0)
		err = tracee_options(
		    t, PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE |
			   PTRACE_O_TRACESYSGOOD | heal_options(z));
	return err;
}

/* Kill a child, and take note of its end. */
void
twin_end_child(struct tracee *t)
{
	uint64_t deadline = now_ns() + END_NS;
	unsigned naps = 0;

	if (t->state == TRACEE_GONE)
		return;
	kill(t->tid, SIGKILL);
	while (tracee_poll(t) == 0 && now_ns() < deadline) {
		/* Where it was to stop on its way out, it does so even now. */
		if (t->state == TRACEE_STOPPED)
			(void)tracee_resume(t, PTRACE_CONT, 0);
		nap(&naps);
	}
}

/* Children of the process itself may be traced by us as well: frozen ones. */
static bool
is_member(const struct frozen *z, pid_t pid)
{
	for (size_t i = 0; i < z->nmembers; i++)
		if (z->members[i] == pid)
			return true;
	return false;
}

/*
 * Kill the children of a thread that are traced by this very thread of ours:
 * one that was born, but of which we were not told.
 */
void
twin_end_children(const struct frozen *z, pid_t pid, pid_t tid)
{
	char name[48], *text, *s, *next;

	snprintf(name, sizeof(name), "task/%d/children", (int)tid);
	if (proc_try(pid, name, &text, NULL) != 0)
		return;
	for (s = text;; s = next) {
		struct tracee t = { .tid = (pid_t)strtol(s, &next, 10) };

		if (next == s)
			break;
		if (tracee_tracer(t.tid) == gettid() && !is_member(z, t.tid))
			twin_end_child(&t);
	}
	free(text);
}

/*
 * Let the intermediate fork and end.  *pid stays 0 if it could not fork.  It
 * is the original that reaps it, so it ends here whatever happens.
 */
static int
run_intermediate(struct frozen *z, pid_t intermediate, pid_t *pid)
{
	unsigned long msg;
	struct tracee t;
	int err;

	*pid = 0;
	err = adopt(z, &t, intermediate);
	while (err == 0) {
		err = tracee_resume(&t, PTRACE_CONT, 0);
		if (err == 0)
			err = tracee_wait(&t, z->deadline);
		if (err != 0 || t.stop != (SIGTRAP | PTRACE_EVENT_CLONE << 8))
			continue;
		if (ptrace(PTRACE_GETEVENTMSG, t.tid, NULL, &msg) == 0)
			*pid = (pid_t)msg;
		else
			err = -errno;
	}
	if (t.state == TRACEE_GONE)
		return 0;
	if (*pid == 0)
		twin_end_children(z, t.tid, t.tid);
	twin_end_child(&t);
	return err;
}

/* The first child that the original reports; the twin is it, or comes of it. */
static int
born(struct snap_ctx *cx, struct frozen *z, bool direct, pid_t child,
    struct twin *t)
{
	pid_t pid = child;
	int err = 0;

	if (!direct)
		err = run_intermediate(z, child, &pid);
	if (pid != 0) {
		int err1 = adopt(z, &t->tracee, pid);

		err = err == 0 ? err1 : err;
	}
	if (err != 0)
		return snap_fail(cx, err, "process %d: its twin: %s",
		    (int)z->pid, strerror(-err));
	return 0;
}

/*
 * Something failed, and nothing is known of a child: it may have been born, or
 * be born yet.
 */
static void
end_unknown(struct snap_ctx *cx, struct frozen *z, struct twin *t)
{
	struct tracee *caller = &z->v[heal_caller(z)];
	pid_t child = 0;

	twin_end_children(z, z->pid, caller->tid);
	if (t->tracee.tid != 0 ||
	    heal_event(cx, z, PTRACE_EVENT_CLONE, &child) != 1)
		return;
	t->tracee = (struct tracee){ .tid = child };
	twin_end_child(&t->tracee);
}

/*
 * The caller is back only when it has reaped the intermediate, which another
 * thread of the process may find once it runs: so it is tried again.
 */
static int
leave(struct snap_ctx *cx, struct frozen *z, struct heal_slot *slot)
{
	int err = heal_leave(cx, z, slot);

	if (err == 0 || err == -EAGAIN)
		return err;
	if (z->deadline < now_ns() + UNDO_NS)
		z->deadline = now_ns() + UNDO_NS;
	twin_end_children(z, z->pid, z->v[heal_caller(z)].tid);
	(void)heal_leave(cx, z, slot);
	return err;
}

/*
 * Have the caller make the twin, and wait until it is done.  If anything fails,
 * no child may be left: the caller waits for the intermediate, and is only
 * taken home when that has ended.
 */
static int
make(struct snap_ctx *cx, struct frozen *z, struct twin *t,
    struct heal_slot *slot)
{
	struct tracee *caller = &z->v[heal_caller(z)];
	pid_t child;
	int err, err1;

	err = heal_enter(
	    cx, z, t->direct ? heal_code_direct : heal_code_twin, slot);
	if (err != 0)
		return err;
	err = heal_event(cx, z, PTRACE_EVENT_CLONE, &child);
	if (err == 1)
		err = born(cx, z, t->direct, child, t);
	if (err < 0) {
		if (z->deadline < now_ns() + UNDO_NS)
			z->deadline = now_ns() + UNDO_NS;
		twin_end_child(&t->tracee);
		end_unknown(cx, z, t);
	}
	if (caller->state == TRACEE_STOPPED) {
		err1 = tracee_resume(caller, PTRACE_CONT, 0);
		err = err == 0 ? err1 : err;
	}
	err1 = leave(cx, z, slot);
	if (err < 0 && err1 == 0 && t->direct && t->tracee.tid != 0)
		twin_reap_dead(cx, z, t->tracee.tid);
	return err == 0 ? err1 : err;
}

/*
 * Is there a thread that would find the child of another one?  One that is a
 * direct child for as long as the checkpoint lives is found by whoever waits
 * for all kinds of children; one that is reaped at once, only if we die and
 * that thread is not held in our code meanwhile.
 */
bool
twin_would_be_found(const struct frozen *z)
{
	if (z->adopts && z->astray)
		return true;
	for (size_t i = 0; i < z->n; i++)
		if ((z->adopts || z->v[i].no_calls) &&
		    calls_waits_for_clones(&z->v[i].regs))
			return true;
	return false;
}

/*
 * The out-of-memory killer is to take the twin, not the original, and from the
 * beginning: what the original writes from now on costs memory twice.
 */
static void
offer_to_oom(struct snap_ctx *cx, const struct twin *t)
{
	char path[48];
	int fd;

	snprintf(
	    path, sizeof(path), "/proc/%d/oom_score_adj", (int)t->tracee.tid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1000", 4) != 4)
		snap_logf(cx, SNAP_DEBUG, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static bool
is_elsewhere(pid_t pid)
{
	struct stat ours, its;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	return stat("/proc/self/ns/pid", &ours) != 0 || stat(path, &its) != 0 ||
	       ours.st_ino != its.st_ino || ours.st_dev != its.st_dev;
}

int
twin_fork(struct snap_ctx *cx, struct frozen *z, const struct process *p,
    struct twin **out)
{
	struct twin *t = calloc(1, sizeof(*t));
	struct heal_slot slot = { 0 };
	int err;

	*out = NULL;
	if (twin_would_be_found(z)) {
		free(t);
		snap_logf(cx, SNAP_NOTICE,
		    "process %d: it waits for all kinds of children (__WALL), "
		    "and would find the twin: its memory is copied while it is "
		    "frozen",
		    (int)z->pid);
		return 0;
	}
	if (t == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	t->original = z->pid;
	t->direct = z->adopts;
	t->tracee.state = TRACEE_GONE;
	t->insn = heal_address(z, heal_code_syscall);
	heal_scratch(z, &t->scratch, &t->scratch_size);
	/* Not at the beginning: that says to all who share it what it is. */
	t->text = t->scratch + t->scratch_size - TWIN_ROOM;

	snprintf(slot.name, sizeof(slot.name), TWIN_NAME "%d", (int)z->pid);
	memcpy(slot.old_name, p->threads[heal_caller(z)].comm,
	    sizeof(slot.old_name));
	err = make(cx, z, t, &slot);
	if (err == 0 && t->tracee.state != TRACEE_GONE) {
		offer_to_oom(cx, t);
		t->elsewhere = is_elsewhere(t->tracee.tid);
		frozen_step(cx, z, "twin made");
		*out = t;
		return 0;
	}
	if (err == 0) {
		err = (int)(slot.ret < 0 ? slot.ret : slot.ret2);
		snap_logf(cx, SNAP_NOTICE,
		    "process %d: it may not fork (%s): its memory is copied "
		    "while it is frozen",
		    (int)z->pid, strerror(-err));
		err = 0;
	}
	twin_free(cx, t);
	return err;
}

/* ---- its own calls ---- */

static int
step_call(struct twin *t)
{
	int err, sig = 0;

	do {
		err = tracee_resume(&t->tracee, PTRACE_SYSCALL, sig);
		if (err == 0)
			err = tracee_wait(&t->tracee, t->deadline);
		sig = tracee_signal(&t->tracee);
	} while (err == 0 && t->tracee.stop != (SIGTRAP | 0x80));
	return err;
}

uint64_t
twin_room(const struct twin *t)
{
	return t->text;
}

static int64_t
make_call(struct twin *t, long nr, const uint64_t args[6])
{
	struct user_regs_struct r, now;
	int err;

	err = tracee_getregs(&t->tracee, &now);
	if (err != 0)
		return err;
	heal_code_enter_call(&r, &now, t->insn, nr, args);
	err = tracee_setregs(&t->tracee, &r);
	if (err == 0)
		err = step_call(t);
	if (err == 0)
		err = step_call(t);
	if (err == 0)
		err = tracee_getregs(&t->tracee, &r);
	return err == 0 ? (int64_t)r.rax : err;
}

static int
call(struct twin *t, long nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	return (int)make_call(t, nr, (const uint64_t[6]){ a0, a1, a2 });
}

int64_t
twin_call(struct twin *t, long nr, const uint64_t args[6])
{
	t->deadline = now_ns() + END_NS;
	return make_call(t, nr, args);
}

static int
put_text(const struct twin *t, const char *s)
{
	size_t n = strlen(s) + 1;
	struct iovec here = { (void *)(uintptr_t)s, n };
	struct iovec there = { (void *)(uintptr_t)t->text, n };

	return process_vm_writev(t->tracee.tid, &here, 1, &there, 1, 0) ==
		       (ssize_t)n
		   ? 0
		   : -errno;
}

/* The kernel counts who has System V shared memory: the twin does not. */
static int
detach_segments(struct twin *t, const struct process *p)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (v->file >= 0 && v->shared &&
		    p->mapfiles[v->file].segment != NULL)
			err =
			    call(t, SYS_munmap, v->start, v->end - v->start, 0);
	}
	return err;
}

/*
 * The original may be one that gives way to all others (nice(1)), and many may
 * want the CPU; what the twin calls is little, and somebody waits for it.
 * Without the right to do this it is done when the original would have had its
 * turn.
 */
static void
hasten(pid_t pid, struct hurry *ours)
{
	const struct sched_param fifo = { .sched_priority = 1 };

	hurry_begin(ours);
	(void)sched_setscheduler(pid, SCHED_FIFO | SCHED_RESET_ON_FORK, &fifo);
}

/* What it still calls later may wait, but as others do. */
static void
slow_down(pid_t pid, const struct hurry *ours)
{
	const struct sched_param none = { 0 };

	hurry_end(ours);
	/* As for hurry_end(). */
	if (sched_setscheduler(pid, SCHED_OTHER, &none) < 0)
		(void)sched_setscheduler(
		    pid, SCHED_OTHER | SCHED_RESET_ON_FORK, &none);
	if (getpriority(PRIO_PROCESS, (id_t)pid) > 0)
		(void)setpriority(PRIO_PROCESS, (id_t)pid, 0);
}

/*
 * It shares the table of descriptors with the original: CLOSE_RANGE_UNSHARE
 * gives it an empty one without closing a thing, so that no file system or
 * peer notices.  A session of its own keeps it away from the terminal and
 * from signals to the process group, and keeps the numbers of both from being
 * taken when the original is gone.  At last it gives up the memory of ours.
 */
static int
settle(struct twin *t, const struct process *p)
{
	char name[16];
	int err;

	snprintf(name, sizeof(name), TWIN_NAME "%d", (int)t->original);
	err = call(t, SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE);
	if (err == 0) {
		err = call(t, SYS_setsid, 0, 0, 0);
		err = err < 0 ? err : 0;
	}
	if (err == 0)
		err = put_text(t, name);
	if (err == 0)
		err = call(t, SYS_prctl, PR_SET_NAME, t->text, 0);
	if (err == 0)
		err = put_text(t, "/");
	if (err == 0)
		err = call(t, SYS_chdir, t->text, 0, 0);
	if (err == 0)
		err = detach_segments(t, p);
	if (err == 0)
		err = call(t, SYS_munmap, t->scratch, t->scratch_size, 0);
	return err;
}

int
twin_settle(struct snap_ctx *cx, struct twin *t, const struct process *p)
{
	struct hurry hurry;
	int err;

	t->deadline = now_ns() + (uint64_t)cx->opt.freeze_timeout_ms * 1000000u;
	hasten(t->tracee.tid, &hurry);
	err = settle(t, p);
	slow_down(t->tracee.tid, &hurry);
	if (err != 0)
		return snap_fail(cx, err == -ESRCH ? -EIO : err,
		    "process %d: its twin %d: %s", (int)t->original,
		    (int)t->tracee.tid, strerror(-err));
	return 0;
}

/*
 * Where the kernel wrote on which CPU a thread last ran (struct rseq), it wrote
 * so in the twin too when that made its own calls.  That is no state of the
 * process: make it what it is before rseq(2), which a restore calls again.
 */
void
twin_forget_cpu(
    struct snap_ctx *cx, const struct twin *t, const struct process *p)
{
	struct rseq_blank blank = RSEQ_BLANK;

	for (size_t i = 0; i < p->nthreads; i++) {
		const struct thread *th = &p->threads[i];
		const struct vma *v;
		uintptr_t at = (uintptr_t)th->rseq;
		struct iovec here[] = {
			{ &blank.cpu_id_start, RSEQ_HALF },
			{ &blank.node_id, RSEQ_HALF },
		};
		/* 32 bytes are the least that are registered. */
		struct iovec there[] = {
			{ (void *)at, RSEQ_HALF },
			{ (void *)(at + RSEQ_NODE), RSEQ_HALF },
		};

		/* Shared memory is the original's too. */
		v = at == 0 ? NULL : vma_find(p, at);
		if (v == NULL || v->shared)
			continue;
		if (process_vm_writev(t->tracee.tid, here, 2, there, 2, 0) < 0)
			snap_logf(cx, SNAP_DEBUG,
			    "process %d: its twin %d: rseq of thread %d: %s",
			    (int)t->original, (int)t->tracee.tid, (int)th->tid,
			    strerror(errno));
	}
}

/* ---- death ---- */

pid_t
twin_inner_number(pid_t pid)
{
	struct proc_status st;
	int err = proc_task_status(pid, 0, &st);

	if (err != 0)
		return err;
	return st.nspids > 0 ? st.nspid : pid;
}

/* Run wait4(2) in the original: nobody else can take away its zombie. */
static int
reap(struct snap_ctx *cx, struct frozen *z, pid_t pid)
{
	pid_t inner = twin_inner_number(pid);
	const uint64_t args[6] = { (uint64_t)inner, 0, __WALL | WNOHANG, 0 };
	int64_t result;

	if (inner < 0)
		return inner;
	return heal_call(cx, z, SYS_wait4, args, &result);
}

int
twin_reap_in_original(struct snap_ctx *cx, pid_t original, pid_t pid)
{
	struct frozen *z = NULL;
	struct process *p;
	bool dead;
	int err;

	/* The original may have ended, and its number be another's by now. */
	if (!twin_is(pid, original, &dead) || !dead)
		return 0;
	p = process_new();
	err = p == NULL ? -ENOMEM : freeze(cx, original, &z);
	if (err == 0)
		err = memory_collect_vmas(cx, original, p);
	if (err == 0)
		err = heal_open(cx, z, p, NULL);
	if (err == 0)
		err = reap(cx, z, pid);
	if (err == 0)
		err = heal_close(cx, z);
	thaw(cx, z);
	process_free(p);
	return err;
}

void
twin_free(struct snap_ctx *cx, struct twin *t)
{
	if (t == NULL)
		return;
	twin_end_child(&t->tracee);
	if (t->direct &&
	    twin_reap_in_original(cx, t->original, t->tracee.tid) != 0)
		snap_logf(cx, SNAP_NOTICE,
		    "process %d: its twin %d stays a zombie until the next "
		    "checkpoint",
		    (int)t->original, (int)t->tracee.tid);
	free(t);
}

bool
twin_tend(struct twin *t)
{
	return t != NULL && t->elsewhere && tracee_poll(&t->tracee) == 0;
}

/* ---- twins of others ---- */

static bool
traced_by_us(pid_t pid)
{
	pid_t tracer = tracee_tracer(pid);

	return tracer != 0 && tracee_tracer_is_ours(tracer);
}

/*
 * A twin that is a direct child: it sends no signal when it ends, bears the
 * name of its original, and is traced by us or dead.
 */
bool
twin_is(pid_t pid, pid_t original, bool *dead)
{
	struct proc_stat stat;
	char name[16];

	snprintf(name, sizeof(name), TWIN_NAME "%d", (int)original);
	if (proc_task_stat(pid, 0, &stat) != 0)
		return false;
	*dead = stat.state == 'Z';
	if (stat.exit_signal != 0 || stat.ppid != original ||
	    strcmp(stat.comm, name) != 0)
		return false;
	return *dead || traced_by_us(pid);
}

bool
twin_is_ours(pid_t pid)
{
	struct proc_stat stat;

	return proc_task_stat(pid, 0, &stat) == 0 &&
	       strncmp(stat.comm, TWIN_NAME, strlen(TWIN_NAME)) == 0 &&
	       traced_by_us(pid);
}

void
twin_reap_dead(struct snap_ctx *cx, struct frozen *z, pid_t pid)
{
	if (reap(cx, z, pid) != 0)
		snap_logf(cx, SNAP_DEBUG, "process %d: its dead twin %d stays",
		    (int)z->pid, (int)pid);
}
