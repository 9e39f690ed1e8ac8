/*
 * freeze.h - hold every thread of a process, and let them go.
 *
 * Whatever happens to us in between, the kernel lets the process go as it was:
 * nothing here changes a thread but for the hidden EINTR (calls.h).
 */
#ifndef FREEZE_H
#define FREEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "early.h"
#include "tracee.h"

struct snap_ctx;
struct heal;

struct frozen {
	pid_t pid;
	struct tracee *v; /* the leader first, then by tid */
	size_t n;
	uint64_t deadline; /* CLOCK_MONOTONIC, ns: for all that may take long */
	uint64_t begun;	   /* when the first thread was interrupted */
	struct timespec time; /* the same as CLOCK_REALTIME */
	int slack;	      /* our own timer slack as it was */
	bool group_stopped;
	struct filters filters; /* of seccomp, that its threads are under */
	/*
	 * A keeper (hold.h) stands by it: it is stopped for us, and the
	 * filter of the keeper's making, which lets all of them pass, is no
	 * affair of the program's.  held_filter: it has that one and no other.
	 */
	bool held, held_filter;
	struct earlies early; /* what was read before */
	struct calls_clock clock;
	/*
	 * An orphan made by it would, or might, come back to it: it is a
	 * subreaper (known after gather_inside()), or in a PID namespace
	 * whose init may be a program like any other.
	 */
	bool adopts;
	/* A thread is in code that another tracer left: its home is unknown. */
	bool astray;
	bool cancels; /* has a handler of STUBS_SIGCANCEL */
	int mem;      /* /proc/PID/mem for reading and writing, -1: not open */
	struct heal *heal; /* calls can be run in it; see heal.h */
	/* All processes that are frozen with it; borrowed, none: it is alone. */
	const pid_t *members;
	size_t nmembers;
};

/*
 * Freeze `pid`.  *out is to be thawed on the same thread.
 *
 * EDEADLK it is the caller's own process; ESRCH gone, or a zombie; EBUSY it
 * has a tracer; EPERM; ENOTSUP a kernel thread or 32-bit code; ETIMEDOUT.
 * After ETIMEDOUT a thread may be left that will stop once it can: only when
 * the calling thread ends does the kernel let go of that one.
 */
int freeze(struct snap_ctx *cx, pid_t pid, struct frozen **out);

/* All threads home, released.  How long it was held in us.  Accepts NULL. */
uint64_t thaw(struct snap_ctx *cx, struct frozen *z);

/*
 * In place of thaw(), when it was sent SIGKILL: no thread of it is left, nor
 * anything that only we have to hear of.  Accepts NULL.
 */
void frozen_bury(struct frozen *z);

/* Its memory; true if all of it could be had. */
bool frozen_read(void *z, void *buf, size_t len, uint64_t addr);
bool frozen_write(struct frozen *z, uint64_t addr, const void *buf, size_t len);

/* Log a step with the time since the freeze began. */
void frozen_step(struct snap_ctx *cx, const struct frozen *z, const char *what);

#endif
