/*
 * tracker.h - what a process has written since earlier checkpoints.
 *
 * Its memory is registered with a userfaultfd in write-protect async mode: a
 * write to a protected page makes the kernel take away the protection, and that
 * is all that happens.  At each checkpoint PAGEMAP_SCAN tells which pages are
 * not protected any more, and protects them again.
 *
 * A generation is one such scan: what was written between it and the one
 * before.  Pages of memory that was mapped meanwhile count as written.  They are
 * kept until a checkpoint of a later generation has been copied.
 *
 *	copied ......... gen ......... gen ......... gen now
 *	   |---- dirty ---|---- dirty ---|---- dirty ---|
 *	   an increment of `now` to `copied` has all of these
 *
 * The scan comes before the twin is made: what is written between the two is in
 * the twin, and in the next increment too.  The other way round it would be in
 * none.
 *
 * What is there is remembered from scan to scan: with that, the next one is
 * short.
 */
#ifndef TRACKER_H
#define TRACKER_H

#include "process.h"
#include "seen.h"
#include "snap.h"
#include "spans.h"
#include "written.h"

struct frozen;
struct tracker_tree;

/* One more, of a process below one that has one already; NULL: no memory. */
struct snap_tracker *tracker_new_below(bool can_build);

/* Those of the processes below it; NULL: there is no memory for them. */
struct tracker_tree *tracker_below(struct snap_tracker *t);

/*
 * Frozen, and the scratch area is there, before the twin is made: scan and
 * protect again; the number of the generation.  0: it cannot be tracked, which
 * is no failure of the checkpoint.  -EAGAIN as from heal_finish().  With `w`
 * all that is there is told, too.
 */
int64_t tracker_scan(struct snap_ctx *cx, struct frozen *z, struct process *p,
    struct snap_tracker *t, struct written *w);

/*
 * The same while the process runs, where it is tracked already, so that little
 * is left for the scan, which adds what this one told.  `w` gets what is there
 * now.  No failure harms the scan: then that takes longer.
 */
int tracker_look(struct snap_ctx *cx, struct process *p, struct snap_tracker *t,
    struct written *w);

/* Has it the process's memory registered? */
bool tracker_is_at_work(struct snap_tracker *t);

/*
 * What was written between the parent and generation `gen`, or until now
 * (UINT64_MAX), if `dirty` is not NULL: 1; 0 if there is no parent below it, or, with `copy`, it is not
 * part of that copy, see tracker_copied().
 */
int tracker_since_parent(struct snap_tracker *t, uint64_t gen, const char *copy,
    char parent[33], struct spans *dirty);

/* Is the parent part of that copy? */
bool tracker_is_part(struct snap_tracker *t, const char *copy);

/*
 * May the next increment be made without a twin?  Not for a while after one
 * that could not: tracker_missed().
 */
bool tracker_may_copy(struct snap_tracker *t);
void tracker_missed(struct snap_tracker *t);

/* May any of it be copied while the process runs?  Never again once that hung. */
bool tracker_may_copy_ahead(struct snap_tracker *t);
void tracker_hung(struct snap_tracker *t);

/* Flags of VMAs at the last checkpoint that knew them: see written.h. */
int tracker_settle(
    struct snap_ctx *cx, struct snap_tracker *t, struct process *p);
void tracker_remember(
    struct snap_tracker *t, const struct process *p, bool without_twin);

/*
 * Generation `gen`, of the checkpoint `id`, was copied, together with the tree
 * whose first process's is `copy`; or it never will be.
 */
void tracker_copied(
    struct snap_tracker *t, uint64_t gen, const char *id, const char *copy);
void tracker_dropped(struct snap_tracker *t, uint64_t gen);

/* ---- tracker_uffd.c ---- */

/* Is there write-protection in async mode, by the system call? */
bool tracker_kernel_can(void);

/*
 * A userfaultfd for the memory of the frozen process, that it has not itself:
 * the descriptor, or -errno.  -EAGAIN as from heal_finish().
 */
int tracker_uffd(struct snap_ctx *cx, struct frozen *z);

/*
 * Does whoever asks what was written hear of pages that are not there, even where
 * they have no page table?  Only then one scan can build on another.
 */
bool tracker_kernel_tells_holes(void);

/* Has the process a userfaultfd itself?  -ENOTSUP, with a sentence; else 0. */
int tracker_own(struct snap_ctx *cx, pid_t pid);

/* Have a VMA registered: 0 or -errno; -EBUSY another descriptor has it. */
int tracker_watch(int uffd, const struct vma *v);

/* Is there still a process with the memory that it is for? */
bool tracker_has_memory(int uffd);

/* ---- tracker_scan.c ---- */

struct tracker_kernel {
	int uffd, pagemap;
	bool fresh;	/* nothing was registered with it yet */
	uint64_t guard; /* PAGE_IS_GUARD where the kernel knows it, else 0 */
};

struct tracker_seen {
	struct seen seen;
	struct spans where; /* the VMAs that were looked at */
	bool odd; /* there is memory that cannot be seen so: not all is here */
};

/* Append what was written of a VMA, and what is not there; change nothing. */
int tracker_scan_written(
    int pagemap, const struct vma *v, struct spans *written);

/*
 * Append what was written of a VMA and protect it, having it registered first
 * where it is new and so wholly written; and what is there.  `before`: what was
 * there at the last scan, NULL if that is not known.  -EBUSY another userfaultfd
 * has it; -ESRCH it is another memory by now; all is lost then and with other
 * errors.
 * Of a process that is not frozen it may be more than one VMA by now, of which
 * one is new: then all of it counts as such.
 */
int tracker_scan_vma(const struct tracker_kernel *k, const struct vma *v,
    const struct seen *before, struct spans *dirty, struct tracker_seen *now);

#endif
