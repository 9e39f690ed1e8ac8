/*
 * checkpoint.h - a checkpoint that was taken: checkpoint.c takes it,
 * checkpoint_files.c shows it as files.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "look_ahead.h"
#include "process.h"
#include "served.h"
#include "snap.h"

struct core_node;
struct frozen_tree;

struct tracked {
	struct snap_tracker *tracker; /* with a reference; NULL: it is not */
	uint64_t generation;	      /* the tracker's number, 0: none */
	struct ahead *ahead; /* of snap_checkpoint.aheads, NULL: none */
	bool strangers;	     /* it has children that are not of the parent */
	bool copied;	     /* no twin: it has nothing but its increment, */
	char parent[33];     /* to this */
};

struct snap_checkpoint {
	struct family tree;
	struct twin **twins; /* of each; NULL: it was copied while frozen */
	struct served files;
	struct snap_tracker *tracker; /* NULL: it is not tracked */
	struct tracked *tracked;      /* each process, then; NULL: not yet */
	struct increment *increment;  /* NULL: there is no parent */
	struct aheads aheads;	      /* until it is complete */
	bool copied; /* one of them: there is nothing but the increment */
	struct frozen_tree *held; /* NULL: the original was let go */
	pthread_mutex_t lock;	  /* of: */
	struct core_node *cores;  /* of each process; NULL: not yet asked for */
};

/* With what belongs to it. */
void checkpoint_files_fini(struct snap_checkpoint *cp);

#endif
