/*
 * written.h - an increment without a twin.
 *
 * A fork takes the longer the more memory there is.  Where few pages were
 * written since the parent it is shorter to copy these, most of them before the
 * process is frozen and the rest while it is; then the checkpoint has nothing
 * but its increment.  What a fork would have kept is seen in four moments:
 *
 *	ahead_copy(), running		the bytes of what was written so far
 *	the tracker's scan, frozen	which pages are there, which are written
 *	written_copy(), frozen		the bytes of those that are not copied
 *	written_settle(), running	VMA flags and files, which take long
 *
 * The last looks at a process that goes on.  What it sees is taken only if it
 * was not changed meanwhile, as far as can be told; else the checkpoint is to
 * be taken again, with a twin.
 */
#ifndef WRITTEN_H
#define WRITTEN_H

#include "process.h"
#include "seen.h"
#include "spans.h"

struct ahead;
struct frozen;
struct snap_ctx;

/* What a scan finds. */
struct written {
	struct process *p;	/* gets runs of what is there: HELD and GUARD */
	uint64_t written_bytes; /* of pages that are held and were written */
	uint64_t resident;	/* pages that a fork would have to look at */
	bool odd;		/* there is memory that cannot be scanned so */
	struct spans fresh;	/* what was written since the scan before, */
	uint64_t nth;		/* whose number is less by one */
};

void written_fini(struct written *w);

/* Of a VMA whose first run is runs[first], a region with PAGE_IS_... bits. */
int written_add(struct written *w, size_t first, uint64_t start, uint64_t end,
    uint64_t categories);

/* All that the scan saw of the VMAs of w->p.  Pure. */
int written_find(struct written *w, const struct seen *seen, bool odd);

/* Add what of the HELD runs is in `dirty`: 0 or -ENOMEM. */
int written_spans(
    const struct process *p, const struct spans *dirty, struct spans *held);

/* Is it shorter to copy `bytes`, frozen, than to fork?  Pure. */
bool written_is_shorter(const struct written *w, uint64_t bytes);

/*
 * Memory for the copy, had before the process is frozen, since that takes as
 * long as to fill it.
 */
struct written_room {
	int fd; /* a memfd, -1: none */
	char *map;
	size_t size;
};

#define WRITTEN_CHUNK (256u << 10) /* so much of it is read at once */

/* For `expected` bytes; there may be more, or no memory. */
void written_room_open(struct written_room *room, uint64_t expected);
void written_room_close(struct written_room *room);

/*
 * Frozen: what ahead_settle() left is copied into the room.
 */
int written_copy(
    struct snap_ctx *cx, struct frozen *z, struct process *p, struct ahead *a);

/*
 * After that: of the HELD runs, what was written is in p->frozen_fd, which is
 * that of the room; the rest of them become RUN_PARENT.
 */
int written_runs(struct process *p, struct ahead *a);

/* Flags of VMAs that madvise(2) and the like can change. */
#define VMA_F_CHANGING \
	(VMA_F_SEQ | VMA_F_RAND | VMA_F_DONTCOPY | VMA_F_WIPEONFORK | \
	    VMA_F_DONTDUMP | VMA_F_HUGEPAGE | VMA_F_NOHUGEPAGE | \
	    VMA_F_MERGEABLE | VMA_F_SEALED)

/* Those of a VMA, as they were at the checkpoint before. */
struct vma_flags {
	uint64_t start, end, flags;
};

/*
 * Flags of VMAs and identities of files, of the process as it goes on; before[]
 * are in order.  -ESTALE, with a sentence: it cannot be told whether they are
 * those of the instant.
 */
int written_settle(struct snap_ctx *cx, struct process *p,
    const struct vma_flags *before, size_t n);

/*
 * Are the flags of p->vmas those that were there before?  Of what is new, are
 * there none that change?  The first VMA of which it is not so, or NULL.  Pure.
 */
const struct vma *written_differs(
    const struct process *p, const struct vma_flags *before, size_t n);

#endif
