/*
 * restorer.h - what the plan of a restore and the free-standing loop that
 * carries it out agree on.  Plain data; included by both sides.
 *
 * All of it lives in one shared mapping, the area, at an address that is free
 * in the agent's layout and in the image's:
 *
 *	start                                                           end
 *	| moved things | stacks | data | operations | lanes | area | code |
 *
 * "Moved things" are what is kept across the great unmapping: our own vDSO,
 * and shared anonymous memory that the agent filled.  A lane is what one
 * thread of the new process does; the leader's comes first and creates the
 * others.
 */
#ifndef RESTORER_H
#define RESTORER_H

#include <stdint.h>

enum op_kind {
	OP_CALL,  /* the system call nr(args) */
	OP_READ,  /* preadv(fd, iov, n, offset) until `want` bytes are in */
	OP_UFFD,  /* make a userfaultfd, by /dev/userfaultfd open as args[0]
		     (-1: without), for the agent to take */
	OP_TAKEN, /* wait until the agent has it; close it */
	OP_CLEAR, /* unmap all but the area and args[1] ranges at args[0]:
		     sorted, start and end of each */
	OP_CLONE, /* clone3(args[0]); the new thread does lane args[1] */
	OP_STORE, /* the 8 bytes args[1] to address args[0] */
	OP_COPY,  /* args[2] bytes from args[1] to args[0] */
	OP_SWAP,  /* 4 bytes at args[0]: if they are args[1], make it args[2] */
	OP_TIMER, /* timer_create(args[0], args[1]), which must get id want */
	OP_TILES, /* touch the AMX tiles, so that the kernel makes room */
	OP_BARRIER, /* wait until all other lanes are done */
	OP_FDS,	    /* args[2] descriptors from the socket args[0], to where the
		       struct fd_place at args[1] say */
};

enum op_check {
	CHECK_OK,   /* a result below 0 ends the restore */
	CHECK_IS,   /* any result but `want` does */
	CHECK_NOTE, /* a result below 0 is worth a note */
	CHECK_ANY,
};

struct op {
	uint8_t kind, check;
	uint8_t rel; /* bit i: args[i] is an offset from the area's start */
	uint8_t tid; /* bit i: args[i] is a lane, and its tid is meant */
	int32_t nr;
	uint64_t args[6];
	int64_t want;
	int64_t ret;   /* what came of it */
	uint32_t what; /* offset in the plan's text: "maps:14" */
	uint32_t pad;
};

struct lane {
	uint32_t first, n; /* its operations */
	int32_t tid;
	uint32_t pad;
};

/* Where a descriptor that was received is to be; ascending. */
struct fd_place {
	int32_t fd, cloexec;
};

#define FDS_BATCH 128 /* descriptors in one message */

/*
 * A template, once its memory is there, serves: for each of these messages,
 * which bring the area of an instance and two descriptors more for it, it
 * clones itself, and the clone does lane 0 of that area.
 *
 * A message with one descriptor is an order for a *spare*: a clone made ahead,
 * which has that for its socket.  It gets one such message there, and does
 * lane 0 itself.  It ends with its template, and when nobody has the other end.
 */
struct serve {
	uint64_t at, len; /* the area's mapping */
	uint64_t area;	  /* struct area in it */
	uint64_t stack, stack_size;
	int32_t tid, has_tid; /* the pid it must have */
};

/* The descriptors of a template, and of an instance at its birth. */
enum { SERVE_CONTROL, SERVE_AREA, SERVE_GO, SERVE_FDS, SERVE_NFDS };

/* With an order for a spare: its socket.  What it keeps: who is its template. */
enum {
	SPARE_SOCKET = SERVE_CONTROL + 1,
	SPARE_NFDS,
	SPARE_TEMPLATE = SERVE_NFDS
};
#define SPARE_LANE UINT64_MAX /* what it does */
/* `born`, while it is a spare that is waited for: else it comes too late. */
#define SPARE_UNBORN INT32_MIN

struct area {
	uint64_t start, end;
	struct op *ops;
	struct lane *lanes;
	uint32_t nlanes;
	uint32_t done;	 /* a futex: lanes that are through */
	uint32_t never;	 /* a futex that nobody wakes */
	uint32_t failed; /* 1 + the operation that ended the restore */
	int32_t uffd;	 /* a futex: 1 + the descriptor, once it is there */
	uint32_t taken;	 /* a futex: 1 once the agent has it */
	uint32_t serves; /* it is a template's */
	uint64_t spare_stack; /* then: LANE_STACK bytes; 0: it has no spares */

	/* Of the time before the loop: what the new process has to say. */
	int32_t born;  /* a futex: 1 once it has a pid, or -errno */
	int32_t error; /* -errno */
	char text[1024];
	char note[512];
};

#define LANE_STACK 4096

#endif
