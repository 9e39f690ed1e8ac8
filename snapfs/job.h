/*
 * job.h - the threads of checkpoints, and requests that wait for them.
 *
 * A checkpoint is taken and dropped on a thread of its own, which sleeps in
 * between: it is the tracer of the twin.  Requests that want the checkpoint
 * are answered by that thread when it is there; an interrupted one is answered
 * at once, so that whoever is blocked in this mount can be frozen.
 */
#ifndef JOB_H
#define JOB_H

#include "snapfs.h"

/* A request that wants a checkpoint. */
struct want {
	struct snapfs *fs;
	fuse_req_t req;
	/*
	 * Answers the request and nothing else.  With err == 0 the view has
	 * its checkpoint, and keeps it at least until this returns.
	 */
	void (*answer)(const struct want *w, struct view *v, int err);
	struct node node; /* the directory that it is about */
	char name[NAME_MAX + 1];
	bool make;  /* a named checkpoint, of that name */
	bool delta; /* it is `delta` that is wanted: that may be all there is */
	struct fuse_file_info fi;
};

/*
 * Answer `w`, now or later, for `who`, who may read the process `target` (that
 * was checked).  `w` is copied.  With `make`, a checkpoint whose request was
 * interrupted is dropped.
 */
void job_want(struct snapfs *fs, const struct caller *who,
    struct proc_id target, const struct want *w);

/* The view_table's `drop`. */
void job_drop(void *fs, struct view *v);

/* A detached thread that gets no signals; 0 or -errno. */
int job_thread(void *(*main)(void *), void *arg, const char *name);

/*
 * Is a checkpoint of this process being taken, kept or cleared away?  With the
 * lock.
 */
bool job_targets(const struct snapfs *fs, pid_t pid);

/*
 * Can a process that was started then (as /proc/PID/stat has it) be a twin, or
 * what makes one?  What is older than every checkpoint is not.  With the lock.
 */
bool job_can_have_made(const struct snapfs *fs, uint64_t start);

/*
 * Bytes of a file or link of the view's checkpoint were given to its reader: if
 * all of it was, increments can be made to it.  Takes the lock.
 */
void job_served(
    struct snapfs *fs, struct view *v, uint32_t n, uint64_t off, uint64_t len);

/* A node of the checkpoint was looked up: forget it when the view ends. */
void job_looked_up(struct view *v, uint32_t n);

#endif
