/*
 * call.h - subjects that are inside one system call when the checkpoint is
 * taken.  A thread makes the call; the main thread waits, makes the call end,
 * and looks at what it gave.
 */
#ifndef CALL_H
#define CALL_H

#include "subject.h"

struct call {
	/* Make the call: what it returned, -errno if it failed. */
	long (*make)(void *arg);
	void *arg;
	long nr; /* of the system call that it sleeps in */

	pthread_t thread;
	pid_t tid;
	long result;
	int64_t began, ended; /* subject_alive() */
	int64_t began_real, ended_real;
	int finished;
};

/* Start the thread; returns when it sleeps in the call. */
void call_begin(struct call *c);
bool call_finished(struct call *c);
/* Wait until the call has returned; expect what it gave. */
void call_end(const char *what, struct call *c, long want);
/*
 * The call ends by itself after `ms` of the process's life: expect that, and
 * `want`.
 */
void call_timed(const char *what, struct call *c, long want, int ms);

/*
 * Make a call by the bare instruction: what it returned.  Every register must
 * be as it is to be after that, flags included.
 */
long call_exactly(long nr, const uint64_t args[6]);

/* -errno where a libc call gave -1. */
static inline long
call_errno(long r)
{
	return r == -1 ? -errno : r;
}

#endif
