/*
 * node.h - inode numbers: what they say, and nothing else.
 *
 * Every number carries all that is needed to serve it, so the daemon keeps no
 * table of inodes and a forgotten one costs nothing.  It is st_ino too, and cp
 * reads a directory in the order of these: `checkpoint` has the lowest number
 * of its directory and `xxh128sums` the highest.
 *
 *	1                                       the root
 *	2 3 4 5                                 .restore .status .log .log.raw
 *	0 | generation:29 | low:32              a file of a checkpoint
 *	01 | start time:35 | pid:22 | sub:5     a process's directory, or one
 *	                                        of those directly below it, or
 *	                                        (sub 31) its .track,
 *	                                        (sub 30) its .hold
 *	1 | generation:29 | low:32              the last file, xxh128sums
 *
 * Directories that every checkpoint has belong to the process and are shared
 * by all readers: a walk through them stays on the same inodes whoever walks.
 * Of a named checkpoint the directories are numbered as its files are.
 */
#ifndef NODE_H
#define NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A process that is not mistaken for a later one with the same pid. */
struct proc_id {
	pid_t pid;
	uint64_t start; /* clock ticks since boot, 35 bits of them */
};

#define PROC_START_MASK ((UINT64_C(1) << 35) - 1)

static inline bool
proc_id_equal(struct proc_id a, struct proc_id b)
{
	return a.pid == b.pid && ((a.start ^ b.start) & PROC_START_MASK) == 0;
}

enum node_kind {
	NODE_INVALID,
	NODE_ROOT,
	NODE_RESTORE,
	NODE_STATUS,
	NODE_LOG,
	NODE_LOG_RAW,
	NODE_PROC,  /* a directory of a process */
	NODE_TRACK, /* .track in it */
	NODE_HOLD,  /* .hold in it */
	NODE_FILE,  /* anything in a checkpoint */
};

struct node {
	enum node_kind kind;
	struct proc_id proc; /* NODE_PROC, NODE_TRACK, NODE_HOLD */
	unsigned sub;	     /* NODE_PROC: 0 the top, else 1 + index of name */
	uint32_t gen;	     /* NODE_FILE, from 1 up */
	uint32_t low;	     /* NODE_FILE: see node_low() */
	bool last;	     /* NODE_FILE: to be read last */
};

#define NODE_MAX_TOP 29u /* names at the top of a checkpoint */
#define NODE_MAX_GEN ((UINT32_C(1) << 29) - 1)

/*
 * The low half of a file's number.  The files at the top are numbered by their
 * place in snap_top_names(), since they are listed before there is a
 * checkpoint; all others by their number in the checkpoint.
 */
static inline uint32_t
node_low_top(unsigned index)
{
	return index + 1;
}

static inline uint32_t
node_low_other(uint32_t n)
{
	return n + NODE_MAX_TOP + 1;
}

uint64_t node_ino(const struct node *node);
struct node node_of(uint64_t ino); /* NODE_INVALID if it says nothing */

#endif
