/*
 * restore_ipc.h - objects of System V IPC, made again with their ids; those that
 * belong to no process, taken if they are there still.
 */
#ifndef RESTORE_IPC_H
#define RESTORE_IPC_H

#include "msgqueue.h"
#include "restore_tree.h"
#include "semset.h"

/* One of the image that belongs to no process. */
struct taken_ipc {
	const struct ipc_kind *kind;
	const struct ipc *want; /* what it is begins with; borrowed */
	size_t owner;		/* which process has it in the image */
	bool created;
	/* As it was, if it was there. */
	union {
		struct ipc ipc;
		struct semset set;
		struct msgqueue queue;
	} before;
};

struct ipc_kind {
	const char *name, *unit; /* what one is called, and what it has */
	const char *next_id;	 /* the file that chooses the next one's id */
	/* Make `what`, mode 0600: its id or -errno.  In a child of the agent. */
	int (*make)(const void *what);
	uint64_t (*size)(const void *what);
	int (*give)(int id, uid_t uid, gid_t gid, uint32_t mode);
	void (*remove)(int id);

	/* Of those that belong to no process, whose `what` is x->want: */

	/* The i-th of p, by id, or NULL. */
	const struct ipc *(*nth)(const struct process *p, size_t i);
	/* Fill x->before; -EINVAL, -EIDRM: it is not there. */
	int (*read)(struct taken_ipc *x);
	/* Has it the size that is wanted? */
	bool (*fits)(const struct taken_ipc *x);
	/* Who uses what is there: 0 nobody, -1 that is not known. */
	pid_t (*user)(const struct taken_ipc *x);
	/* What was there is there again; before the end of x->before. */
	void (*put_back)(const struct taken_ipc *x);
	void (*forget)(struct taken_ipc *x);
};

extern const struct ipc_kind restore_sets, restore_queues;

/*
 * Make one with the id of `want` and, if the writer may, its creator; it is the
 * agent's.  0 or -errno, with a sentence, and nothing is left.
 */
int restore_ipc_make(struct restore *r, const struct ipc_kind *k,
    const struct ipc *want, const void *what);

/* Of what restore_ipc_check() has found; or NULL. */
const struct taken_ipc *restore_ipc_find(
    const struct restore_tree *t, const struct ipc_kind *k, int32_t id);

/*
 * restore_semset.c: what is to be undone is to sets that are there; in a new
 * process: values, and what it has to undo.
 */
int restore_semsets_check(struct restore_tree *t);
int restore_semsets(struct restore *r);

/* restore_msgqueue.c: in a new process: messages. */
int restore_msgqueues(struct restore *r);

#endif
