/*
 * holder.h - `.hold`: who has it open keeps the original of the next checkpoint
 * frozen, until he closes it.
 *
 * The thread that took the checkpoint (job.c) has the process, and lets it go;
 * here is what it is to do.  Functions that take `fs` take its lock, unless they
 * say otherwise.
 */
#ifndef HOLDER_H
#define HOLDER_H

#include "snapfs.h"

#include <stdio.h>

struct handle;
struct holder;

/*
 * `who`, who may read the process, opens it.  -EDEADLK it is himself; -EBUSY
 * somebody has it open.
 */
int holder_open(struct snapfs *fs, const struct caller *who, struct proc_id id,
    struct holder **out);

/* The last close: let go what is held.  Accepts NULL. */
void holder_close(struct snapfs *fs, struct holder *h);

/* Answers the write, now or when it was done.  The writer's rights are told. */
void holder_write(struct snapfs *fs, fuse_req_t req, struct holder *h,
    const struct caller *who, const char *buf, size_t size);

/* What a read of it gives, in h->text. */
int holder_read(struct snapfs *fs, struct proc_id id, struct handle *h);

/* A line for each in .status, those of `uid` or all. */
void holder_print(FILE *f, struct snapfs *fs, uid_t uid, bool all);

/* The pids of all that have one open: at most n, into v.  With the lock. */
size_t holder_pids(const struct snapfs *fs, pid_t *v, size_t n);
size_t holder_count(const struct snapfs *fs);

/* ---- for the thread of a checkpoint ---- */

/* Is the process held, or being frozen for that?  With the lock. */
bool holder_has(const struct snapfs *fs, struct proc_id id);

/*
 * A checkpoint of it is taken with these rights: who waits for one with at
 * least these, NULL: nobody.  `wake` is signalled when there is something to do.
 */
struct holder *holder_claim(struct snapfs *fs, struct proc_id id,
    const struct view_creds *creds, pthread_cond_t *wake);

/* So many processes are held; 0: it failed, he waits for the next one. */
void holder_taken(struct snapfs *fs, struct holder *h, unsigned processes);

enum holder_wish { HOLDER_NOTHING, HOLDER_RELEASE, HOLDER_END };

/* With the lock.  Accepts NULL. */
enum holder_wish holder_wish(const struct snapfs *fs, const struct holder *h);

/*
 * It was done, with this result; true: nothing is held any more, and `h` is not
 * the caller's any longer.
 */
bool holder_done(
    struct snapfs *fs, struct holder *h, enum holder_wish wish, int err);

/* Unmounted: wake all.  With the lock. */
void holder_wake_all(struct snapfs *fs);

#endif
