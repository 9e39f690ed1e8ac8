/*
 * calls.h - system calls that a freeze interrupted.
 *
 * When a thread is stopped in a call, the kernel has ended that call with one
 * of its private errors and means to start it anew on the way back:
 *
 *	-ERESTARTSYS, -ERESTARTNOINTR, -ERESTARTNOHAND
 *		from the beginning;
 *	-ERESTART_RESTARTBLOCK
 *		by restart_syscall(2), with what is left of a time-out.
 *
 * In the original nothing is to be done about these: it gets exactly these
 * registers back, and the kernel does the rest, signals that came meanwhile
 * included.  But a few calls answer a plain EINTR, which the program would
 * see: calls_hide_eintr().  In the image all are turned into what a new thread
 * can be made to do: calls_image().
 */
#ifndef CALLS_H
#define CALLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "process.h"

/*
 * A sleeping thread as it was seen just before the freeze, so that the time
 * that it has slept is known afterwards.
 */
struct call_sample {
	bool fragile; /* a call that answers EINTR whenever it is interrupted */
	bool valid;
	int nr;
	uint64_t args[6];
	uint64_t since; /* CLOCK_MONOTONIC, ns: when it fell asleep */
	uint64_t runs;	/* how often it had been given a CPU */
	uint64_t ran;	/* for how long in all, ns */
	uint64_t slept; /* ns, until it was stopped; see calls_stopped() */
	uint64_t until; /* of a call of timed.h: 0 not known; see stubs.h */
	char wchan[32]; /* the kernel function it sleeps in, or "" */
};

/*
 * From the scheduler's clock to CLOCK_MONOTONIC; zeroed at first.  Each CPU has
 * a clock of its own: it stands still while the CPU serves interrupts or, in a
 * virtual machine, is not there.
 */
#define CALLS_CPUS 512
struct calls_clock {
	struct {
		bool tried, known;
		int64_t offset;
	} cpu[CALLS_CPUS];
};

/* Does it answer EINTR whenever it is interrupted? */
bool calls_is_fragile(int nr);

void calls_args(const struct user_regs_struct *r, uint64_t a[6]);

/* Samples a thread that sleeps with a time-out; reads /proc only. */
void calls_sample(
    pid_t pid, pid_t tid, struct calls_clock *clock, struct call_sample *s);

/* The thread has just stopped: note the time. */
void calls_stopped(struct call_sample *s);

/*
 * It has stopped with these registers, and nothing was run in it yet: did it
 * sleep all the time since its sample?  If not, the sample is void.
 */
void calls_confirm(pid_t pid, pid_t tid, const struct user_regs_struct *r,
    struct call_sample *s);

/*
 * If the call ended with the plain EINTR of an interruption, make that the
 * kernel's -ERESTARTNOHAND: it will start the call anew unless a signal
 * handler runs first, when it will answer EINTR as it would have.  True if
 * `r` was changed.  Only calls that the kernel may repeat are touched (never
 * close).
 */
bool calls_hide_eintr(struct user_regs_struct *r);

/* Is it in a wait(2) that finds children of clone(2), too? */
bool calls_waits_for_clones(const struct user_regs_struct *r);

/*
 * What the kernel would make of `r` if no signal came: for code of ours that
 * has to take a thread home without the kernel's help.
 */
void calls_by_hand(
    struct user_regs_struct *home, const struct user_regs_struct *r);

/* How to look at the memory of the thread's process. */
struct calls_memory {
	bool (*read)(void *arg, void *buf, size_t len, uint64_t addr);
	void *arg;
};

/*
 * The registers as the image has them, from those of the freeze; fills
 * t->regs and t->restart.  False if the call cannot be issued again: then it
 * answers EINTR.
 */
bool calls_image(struct thread *t, const struct user_regs_struct *r,
    const struct call_sample *s, const struct calls_memory *m);

/*
 * The thread is about to make the call of these registers, at a `syscall`
 * instruction, perhaps once more: make that a call which the kernel starts anew
 * if no handler runs, and which answers EINTR as it would have if one does.
 * False: it is no call that sleeps.
 */
bool calls_interruptible(struct user_regs_struct *r);

/*
 * A signal with a handler (its sa_flags given) will be delivered to the thread
 * as soon as it goes on: a call that would start anew answers EINTR where the
 * kernel would have made it do so.
 */
void calls_signalled(
    struct thread *t, const struct user_regs_struct *r, uint64_t sa_flags);

#endif
