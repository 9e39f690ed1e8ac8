/*
 * fault.h - the tests make a call of ours fail, or kill us before it.
 *
 * Nothing of this is in a build without -DSNAPFS_FAULTS=ON.  In one with it the
 * linker puts fault_wrap.c before the functions through which we ask the
 * kernel or the C library for something (--wrap), so that the code itself
 * knows nothing of it.  Each such call is a passage of a point.  A plan says
 * what is to happen at which passage.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum fault_class {
	FAULT_PTRACE = 1,  /* a request of ptrace(2) */
	FAULT_CALL = 2,	   /* a call that is run in another process */
	FAULT_MEMORY = 4,  /* an allocation */
	FAULT_TASK = 8,	   /* a thread or process is made */
	FAULT_IO = 16,	   /* open, read, write, map, ... */
	FAULT_SOCKET = 32, /* an option of a socket is set */
};

/*
 * In shared memory: either that of a file, named by SNAPFS_FAULT_PLAN in the
 * environment (in that of the daemon SNAPFS_FAULT_AGENT names the one of its
 * agents), or what fault_use() was given.
 */
struct fault_plan {
	_Atomic uint32_t classes; /* which are counted; 0: nothing happens */
	uint32_t kill;	      /* 1: SIGKILL, 2: SIGSTOP; else the call fails */
	int32_t error;	      /* with this errno; 0: one that fits */
	_Atomic uint32_t hit; /* it has happened */
	uint64_t at;	      /* the passage at which it happens, from 1 */
	_Atomic uint64_t passed;
	char what[48];	  /* the point at which it happened */
	char before[48];  /* the last request of ptrace(2) before that */
	uint32_t late_ms; /* not 0: it does not fail, but comes so much later */
	char only[20];	  /* not empty: only points of this name are counted */
};

void fault_use(struct fault_plan *plan);

/*
 * Which calls of ours were passed, failed, not survived: if SNAPFS_FAULT_SITES in
 * the environment names a directory, a file there of the program's name has a byte
 * for each byte of the program, in memory, at which a call may return
 * (tests/fault/points.py).
 */
#define FAULT_SITES_SIZE (16u << 20)
enum { FAULT_PASSED = 1, FAULT_FAILED = 2, FAULT_KILLED = 4 };

/*
 * A passage of the call that returns to `site`; true: fail, errno is set to the
 * plan's or to `error`.
 */
bool fault_hits_at(
    enum fault_class c, const char *what, int error, const void *site);
#define fault_hits(c, what, error) \
	fault_hits_at(c, what, error, __builtin_return_address(0))

#endif
