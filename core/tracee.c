#include "tracee.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proc_task.h"

#define EVENT(stop) ((stop) >> 8)
#define SIGNAL(stop) ((stop)&0xff)

uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * The first rounds only give way: a thread that was told to stop needs some
 * microseconds, and may need our CPU.  No more than that, for where many
 * programs run each of them would have its turn.
 */
void
nap(unsigned *times)
{
	struct timespec t = { 0, 5000 };

	if (++*times <= 6) {
		sched_yield();
		return;
	}
	if (*times > 400)
		t.tv_nsec = 1000000;
	nanosleep(&t, NULL);
}

pid_t
tracee_tracer(pid_t pid)
{
	struct proc_status st;

	return proc_task_status(pid, 0, &st) == 0 ? st.tracer : 0;
}

bool
tracee_tracer_is_ours(pid_t tracer)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/task/%d", (int)tracer);
	return access(path, F_OK) == 0;
}

void
hurry_begin(struct hurry *h)
{
	const struct sched_param fifo = { .sched_priority = 1 };
	struct sched_param p;

	h->policy = sched_getscheduler(0);
	if (h->policy < 0 || sched_getparam(0, &p) < 0 ||
	    (h->policy & ~SCHED_RESET_ON_FORK) == SCHED_FIFO ||
	    sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &fifo) < 0)
		h->policy = -1;
	else
		h->priority = p.sched_priority;
}

void
hurry_end(const struct hurry *h)
{
	const struct sched_param p = { .sched_priority = h->priority };

	/* Who may be real-time by RLIMIT_RTPRIO alone cannot lose the flag. */
	if (h->policy >= 0 && sched_setscheduler(0, h->policy, &p) < 0)
		sched_setscheduler(0, h->policy | SCHED_RESET_ON_FORK, &p);
}

static int
request(
    const struct tracee *t, enum __ptrace_request rq, void *addr, void *data)
{
	return ptrace(rq, t->tid, addr, data) < 0 ? -errno : 0;
}

static int
reap(struct tracee *t)
{
	siginfo_t si;

	waitid(
	    P_PID, (id_t)t->tid, &si, WEXITED | WNOHANG | __WALL | __WNOTHREAD);
	t->state = TRACEE_GONE;
	return -ESRCH;
}

int
tracee_poll(struct tracee *t)
{
	siginfo_t si;

	if (t->state == TRACEE_GONE)
		return -ESRCH;
	si.si_pid = 0;
	if (waitid(P_PID, (id_t)t->tid, &si,
		WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL | __WNOTHREAD) <
	    0) {
		t->state = TRACEE_GONE;
		return -errno;
	}
	if (si.si_pid == 0) {
		t->state = TRACEE_RUNNING;
		return 0;
	}
	if (si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED)
		return reap(t);
	t->state = TRACEE_STOPPED;
	t->stop = si.si_status;
	return 0;
}

int
tracee_wait(struct tracee *t, uint64_t deadline)
{
	unsigned naps = 0;
	int err;

	for (;;) {
		err = tracee_poll(t);
		if (err != 0)
			return err;
		if (t->state == TRACEE_STOPPED)
			return 0;
		if (now_ns() > deadline)
			return -ETIMEDOUT;
		nap(&naps);
	}
}

int
tracee_signal(const struct tracee *t)
{
	if (EVENT(t->stop) != 0 || SIGNAL(t->stop) == (SIGTRAP | 0x80))
		return 0;
	return SIGNAL(t->stop);
}

int
tracee_resume(struct tracee *t, int rq, int sig)
{
	int err;

	err = request(t, (enum __ptrace_request)rq, NULL, (void *)(long)sig);
	if (err == 0)
		t->state = TRACEE_RUNNING;
	return err;
}

int
tracee_interrupt(struct tracee *t)
{
	return request(t, PTRACE_INTERRUPT, NULL, NULL);
}

int
tracee_poll_interrupted(struct tracee *t)
{
	int err, sig;

	err = tracee_poll(t);
	if (err != 0 || t->state != TRACEE_STOPPED)
		return err;
	sig = tracee_signal(t);
	if (sig != 0 || EVENT(t->stop) != PTRACE_EVENT_STOP) {
		err = tracee_interrupt(t);
		return err == 0 ? tracee_resume(t, PTRACE_CONT, sig) : err;
	}
	/* PTRACE_INTERRUPT says SIGTRAP here, a group-stop its own signal. */
	t->group_stopped = SIGNAL(t->stop) != SIGTRAP;
	return 0;
}

int
tracee_wait_interrupted(struct tracee *t, uint64_t deadline)
{
	unsigned naps = 0;
	int err;

	for (;;) {
		err = tracee_poll_interrupted(t);
		if (err != 0 || t->state == TRACEE_STOPPED)
			return err;
		if (now_ns() > deadline)
			return -ETIMEDOUT;
		nap(&naps);
	}
}

int
tracee_getregs(const struct tracee *t, struct user_regs_struct *r)
{
	return request(t, PTRACE_GETREGS, NULL, r);
}

int
tracee_setregs(struct tracee *t, const struct user_regs_struct *r)
{
	return request(t, PTRACE_SETREGS, NULL, (void *)(uintptr_t)r);
}

int
tracee_setmask(struct tracee *t, uint64_t mask)
{
	return request(t, PTRACE_SETSIGMASK, (void *)sizeof(mask), &mask);
}

int
tracee_options(struct tracee *t, unsigned options)
{
	int err;

	if (t->options == options)
		return 0;
	err = request(t, PTRACE_SETOPTIONS, NULL, (void *)(long)options);
	if (err == 0)
		t->options = options;
	return err;
}

int
tracee_move(struct tracee *t, const struct user_regs_struct *r)
{
	int err = 0;

	/* The mask of a call like sigsuspend(2) is not for our code. */
	if (!t->away)
		err = tracee_setmask(t, t->sigmask);
	if (err != 0)
		return err;
	t->away = true;
	err = tracee_setregs(t, r);
	if (err == 0)
		err = tracee_setmask(t, ~0ull);
	return err;
}

int
tracee_home(struct tracee *t)
{
	int err;

	if (!t->away)
		return 0;
	err = tracee_setmask(t, t->sigmask);
	if (err == 0)
		err = tracee_setregs(t, &t->regs);
	if (err == 0)
		t->away = false;
	return err;
}
