/*
 * restore_spawn.c - make the first new process, trace it, and, if it comes to that,
 * leave nothing of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_seccomp.h"
#include "restore_tree.h"
#include "tracee.h"

#define END_DONE 'd' /* to the parent: it is complete, it needs you no more */

static void
say_born(struct area *a, int32_t value)
{
	__atomic_store_n(&a->born, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, &a->born, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static pid_t
clone_new(const struct restore_tree *t)
{
	pid_t pid = t->family->v[0]->pid;
	struct clone_args ca = { .exit_signal = SIGCHLD };

	if (!t->opt->new_pid) {
		ca.set_tid = (uint64_t)&pid;
		ca.set_tid_size = 1;
	}
	return (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
}

/*
 * The parent: it exists so that the new process is an orphan before the agent
 * ends, and so that someone reaps it if it comes to nothing.
 */
static void __attribute__((noreturn)) be_parent(struct restore_tree *t)
{
	struct area *a = t->v[0].area;
	unsigned naps = 0;
	char how = 0;
	pid_t pid;

	close(t->go[1]);
	close(t->end[1]);
	/* What is left of a tree that came to nothing is ours to reap. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = clone_new(t);
	if (pid == 0) {
		close(t->end[0]);
		prctl(PR_SET_CHILD_SUBREAPER, 0);
		restore_child(&t->v[0]);
	}
	if (pid < 0) {
		say_born(a, -errno);
		_exit(1);
	}
	close(t->go[0]);
	say_born(a, pid);
	/* No answer is none that all came to nothing. */
	while (read(t->end[0], &how, 1) < 0)
		nap(&naps);
	if (how != END_DONE)
		while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
			;
	_exit(0);
}

/* The parent dies only after it has said something, unless it is killed. */
static int
await_birth(struct restore_tree *t)
{
	struct area *a = t->v[0].area;
	struct timespec tick = { 0, 50000000 };
	int32_t born;

	for (;;) {
		born = __atomic_load_n(&a->born, __ATOMIC_ACQUIRE);
		if (born != 0)
			return born;
		syscall(SYS_futex, &a->born, FUTEX_WAIT, 0, &tick, NULL, 0);
		if (waitpid(t->parent, NULL, WNOHANG) == t->parent) {
			t->parent = 0;
			born = __atomic_load_n(&a->born, __ATOMIC_ACQUIRE);
			return born != 0 ? born : -ECHILD;
		}
	}
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
reap_parent(struct restore_tree *t)
{
	if (t->parent > 0)
		while (waitpid(t->parent, NULL, 0) < 0 && errno == EINTR)
			;
	t->parent = 0;
}

/* One that is to be the agent's child has no other parent. */
static int
bear(struct restore_tree *t)
{
	pid_t pid = clone_new(t);

	if (pid == 0) {
		close(t->go[1]);
		close(t->end[0]);
		close(t->end[1]);
		restore_child(&t->v[0]);
	}
	if (pid > 0)
		t->v[0].pid = pid;
	return pid < 0 ? -errno : 0;
}

static int
try_once(struct restore_tree *t)
{
	int born;

	if (t->opt->child)
		return bear(t);
	t->v[0].area->born = 0;
	t->parent = fork();
	if (t->parent < 0)
		return snap_fail(t->cx, -errno, "fork: %s", strerror(errno));
	if (t->parent == 0)
		be_parent(t);
	born = await_birth(t);
	if (born > 0) {
		t->v[0].pid = born;
		return 0;
	}
	reap_parent(t);
	return born;
}

static int
create(struct restore_tree *t)
{
	pid_t pid = t->family->v[0]->pid;
	int err;

	for (int tries = 0;; tries++) {
		err = try_once(t);
		if (err != -EEXIST)
			break;
		err = restore_pid_taken(&t->v[0], pid, tries);
		if (err < 0)
			return err;
	}
	if (err == -EPERM)
		return snap_fail(t->cx, err,
		    "choosing the pid needs CAP_CHECKPOINT_RESTORE; restore "
		    "with pid=new");
	if (err == -EINVAL)
		return snap_fail(t->cx, err,
		    "pid %d is not possible here (kernel.pid_max); restore "
		    "with pid=new",
		    (int)pid);
	if (err < 0)
		return snap_fail(
		    t->cx, err, "creating the process: %s", strerror(-err));
	return 0;
}

int
restore_spawn(struct restore_tree *t)
{
	int err;

	err = create(t);
	if (err < 0)
		return err;
	close_fd(&t->go[0]);
	close_fd(&t->end[0]);
	if (ptrace(PTRACE_SEIZE, t->v[0].pid, 0,
		PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD |
		    restore_seccomp_options(t)) < 0)
		return snap_fail(t->cx, -errno, "tracing the new process: %s",
		    strerror(errno));
	if (write(t->go[1], "g", 1) != 1)
		return snap_fail(t->cx, -errno, "starting the new process: %s",
		    strerror(errno));
	return 0;
}

int
restore_release_parent(struct restore_tree *t)
{
	char done = END_DONE;

	if (t->parent <= 0)
		return 0;
	if (write(t->end[1], &done, 1) != 1)
		return snap_fail(
		    t->cx, -errno, "ending the parent: %s", strerror(errno));
	reap_parent(t);
	return 0;
}

/*
 * Its end may have been heard of already, by whoever waited for something else
 * of it: then waiting for any child would be waiting for its parent, which
 * waits for us.
 */
static bool
is_ours(pid_t pid)
{
	siginfo_t si;

	return waitid(P_PID, (id_t)pid, &si,
		   WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/*
 * Number i of all that are known: those whose numbers their makers have told,
 * and those that came up, which may be some of them again.  0: not there, or no
 * more.
 */
static pid_t
known(const struct restore_tree *t, size_t i)
{
	pid_t pid;

	if (i < t->ninfants)
		pid = t->nursery->pids[i];
	else
		pid = t->born[i - t->ninfants].pid;
	return pid > 0 && is_ours(pid) ? pid : 0;
}

static size_t
nknown(const struct restore_tree *t)
{
	const size_t most = restore_births(t);

	if (t->nursery == NULL || t->born == NULL)
		return 0;
	return t->ninfants + (t->nborn < most ? t->nborn : most);
}

/* The parent ends when all below it have, even those that nobody knows of. */
static bool
any_left(const struct restore_tree *t)
{
	if (t->parent > 0 || t->opener > 0 ||
	    (t->v[0].pid > 0 && is_ours(t->v[0].pid)))
		return true;
	for (size_t i = 0; i < nknown(t); i++)
		if (known(t, i) > 0)
			return true;
	return false;
}

/*
 * A traced thread is reaped by its tracer first, then by its parent; until
 * then its pid is in use.  What was born a moment ago may be known to nobody
 * yet, but shows here.
 */
void
restore_kill(struct restore_tree *t)
{
	pid_t w;
	int st;

	close_fd(&t->go[1]);
	if (t->v[0].pid > 0)
		kill(t->v[0].pid, SIGKILL);
	/* The number of one that was reaped may be another's by now. */
	for (size_t i = 0; i < nknown(t); i++) {
		w = known(t, i);
		if (w > 0)
			kill(w, SIGKILL);
	}
	if (t->opener > 0)
		kill(t->opener, SIGKILL);
	close_fd(&t->end[1]);
	while (any_left(t)) {
		w = waitpid(-1, &st, __WALL);
		if (w < 0 && errno != EINTR)
			break;
		if (w > 0 && w == t->parent && !WIFSTOPPED(st))
			t->parent = 0;
		else if (w > 0 && w == t->opener)
			t->opener = 0;
		else if (w > 0 && WIFSTOPPED(st))
			kill(w, SIGKILL);
	}
	t->parent = 0;
}
