/*
 * gather_thread.h - what a thread is asked by calls that are run in it, which
 * is many times faster than to look it up in /proc, and is done by all threads
 * at once.
 */
#ifndef GATHER_THREAD_H
#define GATHER_THREAD_H

#include "freeze.h"
#include "process.h"

/* Where its answers will be. */
struct thread_asks {
	uint64_t altstack, tid_address, pdeath, ruid, rgid, caps, groups;
	uint64_t comm, pending, robust, sched, affinity;
	size_t slack, securebits, fsuid, fsgid, has_caps, ngroups, nnp, ioprio,
	    nice;
	size_t naffinity;
	struct habit_asks {
		uint64_t tsc, numa;
		size_t memory_error, no_tsc, cpuid, io_flusher, policy;
		size_t speculation[3];
	} habits;
};

/* For heal_open(). */
#define HABIT_ASKS_RECORDS 8
#define HABIT_ASKS_DATA (32 + sizeof(((struct numa *)0)->nodes))
#define THREAD_ASKS_RECORDS (19 + HABIT_ASKS_RECORDS)
/* And a CPU mask, rounded up to 16 bytes. */
#define THREAD_ASKS_DATA (448 + HABIT_ASKS_DATA)

/* The size of this kernel's CPU masks. */
size_t thread_cpus(void);

void thread_ask(struct frozen *z, size_t i, size_t cpus, struct thread_asks *a);

/*
 * After heal_finish(): fill `t`; *pending is the set of signals that are
 * pending for the thread or the process.
 */
int thread_take(const struct frozen *z, size_t i, const struct thread_asks *a,
    struct thread *t, uint64_t *pending);

/* The same, as far as it can be had, of a thread that cannot be asked. */
int thread_look(
    const struct frozen *z, size_t i, struct thread *t, uint64_t *pending);

/*
 * gather_habits.c: what few have set.  What a thread's filters forbid is not
 * asked.
 */
void habits_ask(struct frozen *z, size_t i, struct habit_asks *a);
int habits_take(const struct frozen *z, size_t i, const struct habit_asks *a,
    struct process *p, struct thread *t);

#endif
