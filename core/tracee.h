/*
 * tracee.h - one thread that we trace: its stops, its registers.
 *
 * No stop is ever consumed (WNOWAIT).  Where a thread stopped because a signal
 * was about to be delivered to it, wait(2) would take that signal out of the
 * kernel's hands, and our death would lose it; looked at only, it is delivered
 * when the kernel lets go of the thread.
 */
#ifndef TRACEE_H
#define TRACEE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "calls.h"

enum tracee_state {
	TRACEE_RUNNING,
	TRACEE_STOPPED,
	TRACEE_GONE,
};

struct tracee {
	pid_t tid;
	enum tracee_state state;
	/*
	 * The signal of the last stop, with its event (PTRACE_EVENT_*) in the
	 * second byte, as in wait(2).
	 */
	int stop;
	bool group_stopped; /* by SIGSTOP or the like: to stay so */

	/* What it is to go on with; the mask is the one of ordinary times. */
	struct user_regs_struct regs;
	uint64_t sigmask;
	/* Its registers or mask are not those now: tracee_home(). */
	bool away;
	/*
	 * It waited so long for us that it went home by itself, and has run
	 * since.  A signal may have come to it on the way, whose handler will
	 * return to our code.
	 */
	bool went_home;
	bool settled; /* its EINTR, if it had one, is hidden */
	/* Its own calls are redirected, or filtered: run none in it. */
	bool no_calls;
	unsigned options; /* PTRACE_O_* in force */
	struct call_sample sample;
	unsigned seccomp; /* SECCOMP_MODE_* */
	uint32_t filter;  /* its newest in frozen->filters; 0: not known */
};

uint64_t now_ns(void); /* CLOCK_MONOTONIC */

/*
 * Has it stopped, or ended?  Never blocks.  A stop other than the ones of
 * PTRACE_INTERRUPT, events and calls is a signal's: see tracee_pass().
 * -ECHILD: it is not ours any more, which is what an exec(2) by another
 * thread looks like.
 */
int tracee_poll(struct tracee *t);

/* The same until it has stopped or `deadline` is over: -ETIMEDOUT, -ESRCH. */
int tracee_wait(struct tracee *t, uint64_t deadline);

/* The signal that it is stopped to take, 0 if it stopped for another reason. */
int tracee_signal(const struct tracee *t);

/* Resume with PTRACE_CONT, PTRACE_SYSCALL: -errno. */
int tracee_resume(struct tracee *t, int request, int sig);

/*
 * Wait for a stop of PTRACE_INTERRUPT.  Signals met on the way are delivered
 * as if we were not there: INTERRUPT is set again first, so the thread stops
 * on the first instruction of the handler.
 */
int tracee_wait_interrupted(struct tracee *t, uint64_t deadline);
int tracee_poll_interrupted(struct tracee *t); /* never blocks */

int tracee_interrupt(struct tracee *t);
int tracee_getregs(const struct tracee *t, struct user_regs_struct *r);
int tracee_setregs(struct tracee *t, const struct user_regs_struct *r);
int tracee_setmask(struct tracee *t, uint64_t mask);
int tracee_options(struct tracee *t, unsigned options);

/*
 * Move it to code that heals itself.  Registers first: from then on it finds
 * home alone; only then are signals held off.
 */
int tracee_move(struct tracee *t, const struct user_regs_struct *r);

/*
 * Give it back its mask, then its registers.  In between our code would still
 * take it home.  It must have been stopped by PTRACE_INTERRUPT, for only on
 * the way out of such a stop does the kernel restart an interrupted call.
 */
int tracee_home(struct tracee *t);

/*
 * While many threads are woken one after the other: where we may, take a
 * priority at which none of them gets our CPU before the last was woken.
 * Nothing between the two may wait for anything.
 */
struct hurry {
	int policy; /* what it was, -1: not changed */
	int priority;
};
void hurry_begin(struct hurry *h);
void hurry_end(const struct hurry *h);

/* Nap for a moment that grows with the number of times; for polling loops. */
void nap(unsigned *times);

/* Who traces this process: 0 nobody, or it cannot be told. */
pid_t tracee_tracer(pid_t pid);
/* Is this task a thread of this very program? */
bool tracee_tracer_is_ours(pid_t tracer);

#endif
