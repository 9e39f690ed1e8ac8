/*
 * subject.h - what the self-checking test programs share.
 *
 * A subject sets something up, says that it is ready, waits, and then checks
 * ITSELF: whether what it set up is still there, and whether it noticed
 * anything.  What happens to it meanwhile (nothing; a hundred checkpoints; a
 * copy, SIGKILL and a restore) is the harness's affair.
 *
 *	SUBJECT DIR [ARG...]
 *
 *	DIR/ready	written by the subject: its pid
 *	DIR/check	made by the harness: check yourself now.  In it: alone,
 *			survived, restored, cloned (with another pid),
 *			restored-cloned (both)
 *	DIR/result	written by the subject: "ok", "skip REASON", or lines of
 *			what is wrong
 *
 * With SUBJECT_DEAF in its environment it does not mind SIGCONT and the like.
 *
 * Lines in a subject's first comment tell the harness what it needs:
 *
 *	variants: musl		also build it static, with musl
 *	phases: survive twice	only these (see tests/e2e/subjects.sh)
 *	clones: alone		a clone is checked without its original
 *	clones: refused		there can be no clone beside it
 *	clones: none		it keeps pids: a clone, with others, is not
 *				right; glibc: only if built with musl
 *	needs: tty		a pseudo terminal's path is its first ARG, and
 *				`tty=` another one's at restore
 *	state: T		it is stopped when it is ready; SIGCONT goes
 *				before the check
 */
#ifndef SUBJECT_H
#define SUBJECT_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* First of all, in the main thread. */
void subject_init(int argc, char **argv);

/* DIR/name; good until the next eight calls. */
const char *subject_path(const char *name);
/* Create DIR/name with `len` patterned bytes; see subject_fill(). */
const char *subject_file(const char *name, size_t len, unsigned seed);

/*
 * What the harness may legitimately change.  Without these, everything that
 * /proc shows of the process must be the same before and after.
 */
enum {
	SUBJECT_MAPS = 1,    /* names in maps */
	SUBJECT_FDS = 2,     /* what descriptors are called */
	SUBJECT_SIGNALS = 4, /* SIGCHLD, SIGCONT, SIGURG, SIGWINCH may come */
	SUBJECT_STATUS = 8,  /* pending signals */
	SUBJECT_LIMITS = 16,
	SUBJECT_VMAS = 32,   /* all of maps */
	SUBJECT_TTY = 64,    /* which terminal it is */
	SUBJECT_MASKS = 128, /* a call or handler with a mask of its own */
};
void subject_allow(unsigned what);

/* Remember how everything is and say ready; returns at once. */
void subject_ready(void);
/* Has the harness asked for the check?  Sleeps a little if not. */
bool subject_told(void);
/* Both: ready, then wait to be told.  The usual way. */
void subject_wait(void);
/* Only if told: was this process restored meanwhile? */
bool subject_restored(void);

/*
 * Time during which this process lived, in ns: what CLOCK_MONOTONIC says,
 * without the gap between checkpoint and restore.  Runs only in
 * subject_told() and subject_rest().
 */
int64_t subject_alive(void);
/* Sleep a few ms. */
void subject_rest(void);

/* Wait until thread `tid` is asleep in system call `nr`. */
void subject_blocked(pid_t tid, long nr);

void subject_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The kernel or CPU cannot do it. */
void subject_skip(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));
/* Setting up failed. */
void subject_die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));
/* Threads have ended since: compare nothing. */
void subject_forget(void);
/* Compare with how it was, write the result, return the exit status. */
int subject_done(void);

#define expect(cond, ...) \
	do { \
		if (!(cond)) \
			subject_fail(__VA_ARGS__); \
	} while (0)

/* For setting up. */
#define must(cond) \
	do { \
		if (!(cond)) \
			subject_die("%s:%d: %s: %s", __FILE__, __LINE__, \
			    #cond, strerror(errno)); \
	} while (0)

/* Bytes that are different at every address and for every seed. */
void subject_fill(void *p, size_t len, unsigned seed);
/* Expect them; says where the first wrong one is. */
void subject_filled(const char *what, const void *p, size_t len, unsigned seed);
void subject_zero(const char *what, const void *p, size_t len);
/* Can a byte at p be read?  Without a fault. */
bool subject_readable(const void *p);

/* A thread that stores its tid in *tid; returns when it has. */
pthread_t subject_thread(void *(*fn)(void *), void *arg, pid_t *tid);
/* First line of a thread that subject_thread() made. */
void *subject_thread_begin(void *cookie);

pid_t subject_tid(void);
int64_t subject_now(clockid_t clock);

/* Field `n` behind the name in /proc/PID/stat; 1 is the state.  -1: none. */
long subject_stat(pid_t pid, int n);
/* The text of /proc/self/NAME, "" if there is none. */
const char *subject_proc(const char *name, char *buf, size_t size);

#endif
