/*
 * twin.h - the fork that is the checkpoint.
 *
 * The twin has the memory of the process at the instant of its birth, and
 * shares it until one of the two writes.  It is traced from birth and never
 * runs code of the process; it dies with the thread that made it.
 */
#ifndef TWIN_H
#define TWIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct snap_ctx;
struct frozen;
struct process;
struct twin;

/* The name of a twin is this and the number of its original. */
#define TWIN_NAME "snapfs:"

/*
 * Fork the frozen process, for which heal_open() has been done.
 *
 * By default through an intermediate: the twin is then adopted by whoever
 * adopts orphans there, and the process itself never sees a child.  Where the
 * process would be the one to adopt it (z->adopts), directly: a child that
 * sends no signal and is not found by wait(2) without __WALL; twin_free() then
 * has to have it reaped in the process.
 *
 * 0 with *out NULL: it may not fork (RLIMIT_NPROC, no memory, ...), or it
 * would find the twin.
 */
int twin_fork(struct snap_ctx *cx, struct frozen *z, const struct process *p,
    struct twin **out);

/*
 * A call of the twin that is not settled yet: what it answers, or -errno.  It
 * may write TWIN_ROOM bytes at twin_room().
 */
#define TWIN_ROOM 192
int64_t twin_call(struct twin *t, long nr, const uint64_t args[6]);
uint64_t twin_room(const struct twin *t);

/*
 * Once the original runs again: let go of all that the twin holds besides
 * private memory (descriptors, session, working directory, the System V
 * segments of p), and name it.
 */
int twin_settle(struct snap_ctx *cx, struct twin *t, const struct process *p);

/*
 * What a struct rseq (linux/rseq.h) says of the CPU that its thread ran on, as
 * it is before rseq(2): at its beginning, and at RSEQ_NODE.
 */
struct rseq_blank {
	uint32_t cpu_id_start, cpu_id, node_id, mm_cid;
};
#define RSEQ_BLANK ((struct rseq_blank){ 0, UINT32_MAX, 0, 0 })
#define RSEQ_HALF 8 /* bytes, of either place */
#define RSEQ_NODE 20

/* After the last call in it: its memory says nothing of the CPU it ran on. */
void twin_forget_cpu(
    struct snap_ctx *cx, const struct twin *t, const struct process *p);

pid_t twin_pid(const struct twin *t);

/*
 * On the thread that made it, now and then.  If it was killed it is let go: the
 * first process of a pid namespace ends only when all others there have.  Is
 * that to be looked after again?  Accepts NULL.
 */
bool twin_tend(struct twin *t);

/* End it.  On the thread that made it.  Accepts NULL. */
void twin_free(struct snap_ctx *cx, struct twin *t);

/*
 * Is `pid` a twin of `original`, made with `direct`, that is either ours or
 * dead (its program was killed)?  Such a child is none of the process's own.
 */
bool twin_is(pid_t pid, pid_t original, bool *dead);

/* Is `pid` a twin that a thread of this program has? */
bool twin_is_ours(pid_t pid);

/* Let the frozen original reap a dead one. */
void twin_reap_dead(struct snap_ctx *cx, struct frozen *z, pid_t pid);

/* Freeze `original` for a moment and have its dead child reaped. */
int twin_reap_in_original(struct snap_ctx *cx, pid_t original, pid_t pid);

/* ---- other children that it makes for a moment ---- */

struct tracee;

/*
 * Is there a thread that would find the child of another one?  Then none may
 * be made.
 */
bool twin_would_be_found(const struct frozen *z);

/* Kill a child; those of a thread that are traced by this thread of ours. */
void twin_end_child(struct tracee *t);
void twin_end_children(const struct frozen *z, pid_t pid, pid_t tid);

/* The number that a process has in its own PID namespace, its parent's too. */
pid_t twin_inner_number(pid_t pid);

#endif
