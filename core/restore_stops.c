/*
 * restore_stops.c - a child that was stopped is so before anybody runs, and its
 * parent has been told as much as it had been: it gets no signal for it, and
 * if it had waited for the child, nothing is left to be waited for.
 */
#include "restore_stops.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "ctx.h"

#define KSIGSET 8
#define GROUP_STOP (SIGSTOP | PTRACE_EVENT_STOP << 8)

/*
 * Let a thread go on until it is in the stop of its group.  The one that takes
 * the signal says so before.
 */
static int
go_and_stop(struct restore *r, pid_t tid)
{
	long signal = 0;
	int st = 0;

	do {
		if (ptrace(PTRACE_CONT, tid, 0, signal) < 0)
			return snap_fail(r->cx, -errno,
			    "thread %d: stopping it: %s", (int)tid,
			    strerror(errno));
		while (waitpid(tid, &st, __WALL) < 0)
			if (errno != EINTR)
				return snap_fail(r->cx, -errno,
				    "thread %d: waiting: %s", (int)tid,
				    strerror(errno));
		if (!WIFSTOPPED(st))
			return snap_fail(r->cx, -ESRCH,
			    "thread %d: the new process was killed", (int)tid);
		signal = st >> 8 == SIGSTOP ? SIGSTOP : 0;
	} while (st >> 8 != GROUP_STOP);
	return 0;
}

/*
 * All other signals are blocked still.  The leader goes first and alone: while
 * it has taken the signal and has not stopped yet, others would just run.
 */
int
restore_stop(struct restore *r)
{
	int err;

	if (kill(r->pid, SIGSTOP) < 0)
		return snap_fail(r->cx, -errno, "process %d: SIGSTOP: %s",
		    (int)r->pid, strerror(errno));
	err = go_and_stop(r, r->pid);
	for (size_t i = 1; err == 0 && i < r->p->nthreads; i++)
		err = go_and_stop(r, r->area->lanes[i].tid);
	return err;
}

static bool
has_pending(const struct siginfos *s, int signo)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].si_signo == signo)
			return true;
	return false;
}

/* In memory that both have, as long as the parent has its area. */
struct asked {
	uint64_t set;
	struct timespec none;
};

int
restore_stop_heard(struct restore *parent, const struct restore *child,
    restore_call_fn *call, void *arg)
{
	struct asked *a = (void *)(parent->map + parent->plan->stacks_off);
	const uint64_t wait[6] = { P_PID, (uint64_t)child->pid, 0,
		WSTOPPED | WNOHANG };
	const uint64_t take[6] = { (uint64_t)a, 0, (uint64_t)&a->none,
		KSIGSET };
	int64_t ret;
	int err = 0;

	*a = (struct asked){ 1ull << (SIGCHLD - 1), { 0, 0 } };
	if (child->p->stop_told)
		err = call(arg, 0, SYS_waitid, wait, &ret);
	/* One that it had is one with this. */
	if (err == 0 && !has_pending(&parent->p->pending, SIGCHLD))
		err = call(arg, 0, SYS_rt_sigtimedwait, take, &ret);
	return err;
}
