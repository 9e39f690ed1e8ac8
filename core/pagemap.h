/*
 * pagemap.h - which pages of a process hold something of their own.
 *
 * By the PAGEMAP_SCAN ioctl (Linux 6.7), or else by reading the file: then
 * zero pages count as held, and guard pages are known from Linux 6.15 on.
 */
#ifndef PAGEMAP_H
#define PAGEMAP_H

#include "process.h"

struct snap_ctx;

struct pagemap {
	int fd;
	bool scan;	/* PAGEMAP_SCAN works */
	uint64_t guard; /* its bit for guard pages, 0: not known there */
};

/* /proc/PID/pagemap; release with pagemap_close(), which accepts fd -1. */
int pagemap_open(struct snap_ctx *cx, pid_t pid, struct pagemap *pm);
void pagemap_close(struct pagemap *pm);

/*
 * Append to p->runs what [start, end), which lies inside one private VMA,
 * holds: pages that are neither the file's nor the zero page, and guard pages.
 * Neighbours of one kind are one run.  offset, src_fd, src_off are left 0.
 */
int pagemap_runs(struct snap_ctx *cx, const struct pagemap *pm, uint64_t start,
    uint64_t end, struct process *p);

/*
 * Append to p->huge what [start, end), which lies inside one private VMA of
 * anonymous memory, has in transparent huge pages.  Nothing where that is not
 * known.  0 or -ENOMEM.
 */
int pagemap_huge(const struct pagemap *pm, uint64_t start, uint64_t end,
    struct process *p);

/*
 * The first guard pages in [start, end): 1 and where they are; 0 if there are
 * none, or they are not told from others here; or -errno.
 */
int pagemap_guards(const struct pagemap *pm, uint64_t start, uint64_t end,
    uint64_t *from, uint64_t *to);

/* Does it hold any page?  1, 0 or -errno; cheap where it does. */
int pagemap_any(struct snap_ctx *cx, const struct pagemap *pm, uint64_t start,
    uint64_t end);

#endif
