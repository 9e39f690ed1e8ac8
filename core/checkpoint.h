/*
 * checkpoint.h - a checkpoint that was taken: checkpoint.c takes it,
 * checkpoint_files.c shows it as files.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "process.h"
#include "served.h"
#include "snap.h"

struct ahead;
struct core_node;
struct frozen_tree;

struct tracked {
	struct snap_tracker *tracker; /* with a reference; NULL: it is not */
	uint64_t generation;	      /* the tracker's number, 0: none */
};

struct snap_checkpoint {
	struct family tree;
	struct twin **twins; /* of each; NULL: it was copied while frozen */
	struct served files;
	struct snap_tracker *tracker; /* NULL: it is not tracked */
	struct tracked *tracked;      /* each process, then; NULL: not yet */
	struct increment *increment;  /* NULL: there is no parent */
	struct ahead *ahead; /* until it is thawed; NULL: with a twin */
	bool copied;	     /* no twin: there is nothing but its increment */
	char parent[33];     /* of that */
	struct frozen_tree *held; /* NULL: the original was let go */
	pthread_mutex_t lock;	  /* of: */
	struct core_node *cores;  /* of each process; NULL: not yet asked for */
};

/* With what belongs to it. */
void checkpoint_files_fini(struct snap_checkpoint *cp);

#endif
