/*
 * restore_tree.h - the restore of a tree of processes, as its parts see it.
 *
 * Every restore is that of a tree, if only of one process.  Whatever they have
 * open is opened once, by the first of them, at places of its own, which the
 * others inherit.  Each makes its own children, in ordinary C (restore_born.c).
 */
#ifndef RESTORE_TREE_H
#define RESTORE_TREE_H

#include "family.h"
#include "restore.h"

/* Shared memory that several processes map: made in the area of the first. */
struct made {
	uint32_t content;
	void *at;
};

/* A System V segment, which any of them may have attached. */
struct joined {
	uint32_t content;
	const struct ipc *want; /* of the image; borrowed */
	uint64_t size;
	int id;
	bool created;
	uint64_t attached; /* how often, by the agent */
};

/* Saved contents that several processes map, as a file of ours. */
struct saved {
	uint32_t content;
	int fd; /* owned */
};

/*
 * What takes part in the births: the processes, then the zombies, then helpers:
 * leaders of sessions and groups who are no more.
 */
enum infant_kind { INFANT_PROCESS, INFANT_ZOMBIE, INFANT_HELPER };

struct infant {
	enum infant_kind kind;
	size_t parent;	 /* the process that makes it, an index */
	pid_t pid;	 /* in the image */
	pid_t sid, pgid; /* likewise; those of the first where they are not
			    of this tree */
	pid_t born_in;	 /* the session in which it must be made, 0: any */
	uint32_t exit_signal;
	int32_t status; /* of a zombie */
	const char *comm;
	size_t helper; /* who makes it for its parent, 0: the parent itself */
	bool adopted;  /* and that is no brother, so the parent adopts it */
	bool adopts;
	bool heads; /* a group has its number, if not itself in it */
	bool early; /* to be made before its maker leads a session */
	/* Tables that are shared, by 1 + the index of the first that has it: the
	   one that it is born with, and its own; 0: shared with nobody. */
	uint32_t need[SHARES], own[SHARES];
};

/* Where new processes wait for all the others. */
enum restore_meeting {
	MEET_BORN,
	MEET_LED,
	MEET_JOINED,
	MEET_GROUPED,
	MEET_KEPT,     /* of the processes only: what it needs has its place */
	MEET_PLACED,   /* likewise: descriptors are at their numbers */
	MEET_VALUES,   /* likewise: semaphores have their values */
	MEET_UNDOS,    /* and each has to undo what it had */
	MEET_SENT,     /* likewise: the first message is in each queue */
	MEET_RECEIVED, /* and was received */
	MEETINGS
};

/* Shared by all from before the first birth. */
struct nursery {
	uint32_t arrived[MEETINGS]; /* futexes: how many are at each meeting */
	uint32_t
	    ipc_changes; /* what was taken of System V IPC is not as it was */
	pid_t pids[];	 /* by infant, once it is born */
};

struct taken_ipc;

/* Who came up, whether or not its maker has told its number. */
struct birth {
	pid_t pid;
	int status; /* as of wait(2) */
	bool lost;  /* it has ended, and nobody knows yet who it was */
};

struct restore_tree {
	struct snap_ctx *cx;
	const struct snap_restore_options *opt; /* &own_opt */
	struct snap_restore_options own_opt;
	struct snap_restore_result *res;
	struct family *family;
	struct restore *v;
	size_t n;

	/*
	 * Open files and contents of all, each once (borrowed from those that
	 * have them), and whose they are: indices of processes.
	 */
	struct process all;
	size_t *owner;

	struct inheritance inheritance;
	size_t nreserved; /* of its places, in the agent */

	/*
	 * Of each of `all`: the agent's descriptor of the very same socket,
	 * which a process had that is replaced, or -1.  NULL: none.
	 */
	int *taken;
	bool took; /* those processes were killed */

	struct made *made;
	size_t nmade;
	struct joined *joined;
	size_t njoined;
	struct taken_ipc *ipc; /* by kind and id */
	size_t nipc;
	struct saved *saved;
	size_t nsaved;

	struct infant *infants;
	size_t ninfants, nadopted;
	size_t *births; /* all but the first: by maker, in its order */
	bool shares;	/* do any share a table? */
	struct nursery *nursery;
	size_t nursery_len;
	size_t nborn; /* processes and threads that came up, but the first */
	struct birth *born; /* the first of them, which are all the processes */
	size_t nlost;	    /* how many have .lost set */

	struct snap_pager *pager; /* NULL: they read all themselves */
	size_t npaged;		  /* those for whom it works */

	int go[2];  /* agent -> first process: it is traced, go on */
	int end[2]; /* agent -> parent: the end, and which */
	pid_t parent;

	/* restore_template.c, restore_instance.c: of one process only */
	struct snap_template *template; /* to be filled in; or NULL */
	int control[2];			/* its socket; [1] is for itself */
	int fds[2];   /* what brings an instance its descriptors, [1] there */
	pid_t opener; /* who sends them; 0: none, or ended */
};

/* restore_merge.c: fill `all`, and r->merged of each. */
int restore_merge(struct restore_tree *t);
void restore_merge_free(struct restore_tree *t);

/*
 * restore_inherit.c: which memory a child has from its parent, and room for
 * that; the plan of it; and, in a new process, the memory.
 */
int restore_inherit(struct restore_tree *t);
void restore_inherit_free(struct restore_tree *t);
int restore_plan_inherited(struct restore *r);
int restore_take_inherited(struct restore *r);

/*
 * restore_former.c, in a new process: have the memory with which `child` is to
 * be born; NULL: have its own.
 */
int restore_former(struct restore *r, const struct process *child);

/* restore_infants.c: who is born of whom, and where; pure but for memory. */
int restore_infants(struct restore_tree *t);
void restore_infants_free(struct restore_tree *t);
/* The infant that is process `i` is number i. */
/* In which session is it when it has none of its own yet? */
static inline pid_t
restore_birth_session(const struct restore_tree *t, const struct infant *b)
{
	return b->born_in != 0 ? b->born_in : t->infants[b->parent].sid;
}

/* restore_shared.c: a part of that: with whose tables, and in which order. */
int restore_shared(struct restore_tree *t);

/*
 * restore_make.c: in a new process, or one that ends again: make those that are
 * its to make, with the tables that they need.
 */
struct maker {
	struct restore *r; /* the process, or the one for which it is made */
	size_t self;	   /* which of the infants it is */
	uint32_t has[SHARES];
};
void restore_maker_init(struct maker *m, struct restore *r, size_t self);
int restore_make(struct maker *m, bool early);
/* All are made: have no table that is not its own. */
int restore_leave(struct maker *m);
/* How many processes come up, but the first; some do so twice. */
static inline size_t
restore_births(const struct restore_tree *t)
{
	return t->ninfants - 1 + t->nadopted;
}
/* What one does that is no process. */
void restore_infant(struct restore *r, size_t i) __attribute__((noreturn));

/*
 * restore_born.c: in a new process: its session, its children, its group.
 * Returns when all of the tree are there.
 */
int restore_born(struct restore *r);
/* In it, too: all processes meet. */
void restore_meet(struct restore_tree *t, enum restore_meeting which);

/* The image's group as it is here; 0: none of them is in it. */
pid_t restore_group_of(const struct restore_tree *t, pid_t pgid);

/*
 * restore_terminal.c: ask the caller for what is wanted (files are merged); in
 * a new process, if it leads a session: take its terminal, and when all are in
 * their groups put one of these into its foreground; if it does not: give up
 * the one that was inherited.
 */
int restore_terminal_ask(struct restore_tree *t);
void restore_terminal_take(struct restore *r);
void restore_terminal_foreground(struct restore *r);
void restore_terminal_leave(struct restore *r);
/* The signal that it is to get because its terminal is another; or 0. */
int restore_terminal_signal(const struct restore *r);

/*
 * restore_replace.c: kill whoever has the ids of the image, and wait until these
 * are free.  Nothing is killed if -errno is returned while `took` is not set.
 */
int restore_replace(struct restore_tree *t);

/*
 * restore_segment.c: System V shared memory.  Attach it in the area of r; when
 * whoever had it before is gone, give it its bytes and its owner; the restore
 * has failed: what was made is removed.
 */
int restore_segment(struct restore *r, const struct moved *m);
int restore_segments_settle(struct restore_tree *t);
void restore_segments_undo(struct restore_tree *t);

/*
 * restore_ipc.c: sets of semaphores, message queues.  Which there are to be; when
 * whoever had them before is gone, take or make them; in a new process: have them
 * as they were; all are made: give them to their owners; or the restore has
 * failed: what was made is removed, what was taken is as it was.
 */
int restore_ipc_check(struct restore_tree *t);
int restore_ipc_settle(struct restore_tree *t);
int restore_ipc(struct restore *r);
int restore_ipc_give(struct restore_tree *t);
void restore_ipc_end(struct restore_tree *t, bool failed);

/*
 * restore_take.c: sockets that are taken over from those.  Are any wanted?
 * Take those of a process, which is held; are they where the image has them?
 */
bool restore_take_wanted(const struct restore_tree *t);
int restore_take(struct restore_tree *t, pid_t pid, int pidfd);
int restore_take_compare(struct restore_tree *t);
/* The new processes have them, or the restore has failed. */
void restore_take_end(struct restore_tree *t, bool failed);

/*
 * The image's pid as it is here, once all are born.  Of one that is none of
 * these: itself; -1.
 */
pid_t restore_pid_of(const struct restore_tree *t, pid_t pid);
pid_t restore_number_of(const struct restore_tree *t, pid_t pid);

#endif
