/*
 * gather_ipc.h - who of a tree uses an object of System V IPC that belongs to no
 * process: a set of semaphores, a message queue.
 */
#ifndef GATHER_IPC_H
#define GATHER_IPC_H

#include "process.h"

struct frozen_tree;
struct snap_ctx;

/* A thread of process i of the tree sleeps in a call for this object. */
struct ipc_wait {
	size_t i;
	int32_t id;
};

/* A look at all of a kind, while all of the tree are frozen. */
struct ipc_look {
	struct family *t;
	struct ipc_wait *waits;
	size_t nwaits;
	bool *here; /* of each: is it in our IPC namespace? */
	bool *uses; /* of each: does it use the one that is looked at? */
};

struct ipc_look_kind {
	const char *file, *name; /* in /proc/sysvipc; how they are called */
	long calls[2]; /* those that wait, with an object's id first */
	/* The lines of that file, behind the first, which names the columns. */
	int (*collect)(struct ipc_look *l, const char *lines);
};

/* 0 if there are none; -errno with a sentence. */
int ipc_look(struct snap_ctx *cx, struct frozen_tree *ft, struct family *t,
    const struct ipc_look_kind *k);

/* Now at this one: who waits for it uses it.  And who has this pid. */
void ipc_look_at(struct ipc_look *l, int32_t id);
void ipc_look_used(struct ipc_look *l, pid_t pid);

/* The first that uses it, or l->t->n. */
size_t ipc_look_first(const struct ipc_look *l);

/*
 * The first that uses it and may read it, or NULL: what it may not read itself
 * does not get into its image.
 */
struct process *ipc_look_reader(const struct ipc_look *l, const struct ipc *o);

#endif
