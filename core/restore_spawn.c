/*
 * restore_spawn.c - make the new process, trace it, and, if it comes to that,
 * leave nothing of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "restore.h"

#define END_DONE 'd' /* to the parent: it is complete, it needs you no more */

static void
say_born(struct area *a, int32_t value)
{
	__atomic_store_n(&a->born, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, &a->born, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static pid_t
clone_new(const struct restore *r)
{
	pid_t pid = r->p->pid;
	struct clone_args ca = { .exit_signal = SIGCHLD };

	/* The signal is then that of the parent, which is the same. */
	if (r->opt->child) {
		ca.flags = CLONE_PARENT;
		ca.exit_signal = 0;
	}
	if (!r->opt->new_pid) {
		ca.set_tid = (uint64_t)&pid;
		ca.set_tid_size = 1;
	}
	return (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
}

/*
 * The parent: it exists so that the new process is an orphan before the agent
 * ends, and so that someone reaps it if it comes to nothing.  One that is to be
 * the agent's child is so from birth, and reaped by its tracer.
 */
static void __attribute__((noreturn)) be_parent(struct restore *r)
{
	char how = 0;
	pid_t pid;

	close(r->go[1]);
	close(r->end[1]);
	pid = clone_new(r);
	if (pid == 0) {
		close(r->end[0]);
		restore_child(r);
	}
	if (pid < 0) {
		say_born(r->area, -errno);
		_exit(1);
	}
	close(r->go[0]);
	say_born(r->area, pid);
	while (read(r->end[0], &how, 1) < 0 && errno == EINTR)
		;
	if (how != END_DONE && !r->opt->child)
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	_exit(0);
}

/* The parent dies only after it has said something, unless it is killed. */
static int
await_birth(struct restore *r)
{
	struct timespec tick = { 0, 50000000 };
	int32_t born;

	for (;;) {
		born = __atomic_load_n(&r->area->born, __ATOMIC_ACQUIRE);
		if (born != 0)
			return born;
		syscall(
		    SYS_futex, &r->area->born, FUTEX_WAIT, 0, &tick, NULL, 0);
		if (waitpid(r->parent, NULL, WNOHANG) == r->parent) {
			r->parent = 0;
			born =
			    __atomic_load_n(&r->area->born, __ATOMIC_ACQUIRE);
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
reap_parent(struct restore *r)
{
	if (r->parent > 0)
		while (waitpid(r->parent, NULL, 0) < 0 && errno == EINTR)
			;
	r->parent = 0;
}

static int
try_once(struct restore *r)
{
	int born;

	r->area->born = 0;
	r->parent = fork();
	if (r->parent < 0)
		return snap_fail(r->cx, -errno, "fork: %s", strerror(errno));
	if (r->parent == 0)
		be_parent(r);
	born = await_birth(r);
	if (born > 0) {
		r->pid = born;
		r->area->lanes[0].tid = born;
		return 0;
	}
	reap_parent(r);
	return born;
}

static int
create(struct restore *r)
{
	int err;

	for (int tries = 0;; tries++) {
		err = try_once(r);
		if (err != -EEXIST)
			break;
		err = restore_pid_taken(r, r->p->pid, tries);
		if (err < 0)
			return err;
	}
	if (err == -EPERM)
		return snap_fail(r->cx, err,
		    "choosing the pid needs CAP_CHECKPOINT_RESTORE; restore "
		    "with pid=new");
	if (err == -EINVAL)
		return snap_fail(r->cx, err,
		    "pid %d is not possible here (kernel.pid_max); restore "
		    "with pid=new",
		    (int)r->p->pid);
	if (err < 0)
		return snap_fail(
		    r->cx, err, "creating the process: %s", strerror(-err));
	return 0;
}

int
restore_spawn(struct restore *r)
{
	int err;

	err = create(r);
	if (err < 0)
		return err;
	close_fd(&r->go[0]);
	close_fd(&r->end[0]);
	if (ptrace(PTRACE_SEIZE, r->pid, 0,
		PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) < 0)
		return snap_fail(r->cx, -errno, "tracing the new process: %s",
		    strerror(errno));
	r->traced = true;
	if (write(r->go[1], "g", 1) != 1)
		return snap_fail(r->cx, -errno, "starting the new process: %s",
		    strerror(errno));
	return 0;
}

int
restore_release_parent(struct restore *r)
{
	char done = END_DONE;

	if (r->parent <= 0)
		return 0;
	if (write(r->end[1], &done, 1) != 1)
		return snap_fail(
		    r->cx, -errno, "ending the parent: %s", strerror(errno));
	reap_parent(r);
	return 0;
}

/*
 * Its end may have been heard of already, by whoever waited for something else
 * of it: then waiting for any child would be waiting for its parent, which
 * waits for us.
 */
static bool
is_unreaped(pid_t pid)
{
	siginfo_t si;

	return waitid(P_PID, (id_t)pid, &si,
		   WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/*
 * A traced thread is reaped by its tracer first, then by the parent; until
 * then its pid is in use.
 */
void
restore_kill(struct restore *r)
{
	int st;
	pid_t w;

	close_fd(&r->go[1]);
	if (r->pid > 0) {
		kill(r->pid, SIGKILL);
		while (r->traced && is_unreaped(r->pid)) {
			w = waitpid(-1, &st, __WALL);
			if ((w < 0 && errno != EINTR) ||
			    (w == r->pid && !WIFSTOPPED(st)))
				break;
		}
	}
	close_fd(&r->end[1]);
	reap_parent(r);
	r->pid = 0;
	r->traced = false;
}
