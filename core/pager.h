/*
 * pager.h - memory that comes when the process runs already.
 *
 * The pager is a few threads of the process that did the restore.  They hold
 * the userfaultfds of the new processes and serve their page faults from the
 * image; meanwhile they bring the rest.  See pager_parts.h for how.
 *
 * Promise: memory is never silently zero.  What a missing page means when the
 * last descriptor of the userfaultfd is closed is a page of zeros; so that must
 * not happen before all is there, or the process is dead: pager_guard.c.
 */
#ifndef PAGER_H
#define PAGER_H

#include "process.h"

struct snap_ctx;
struct snap_pager;
struct pagesums;

/* A file `pages`; runs say which by `up`. */
struct pager_source {
	int fd; /* not consumed */
	uint64_t size;
	const struct pagesums *sums; /* to be verified by, or NULL; copied */
	const char *name; /* of its directory, with a slash, or NULL; copied */
};

/* A new process, some of whose runs are late. */
struct pager_client {
	const struct process *p;
	pid_t pid;
	int uffd;	       /* of it, shaken hands with; taken over */
	const size_t *sources; /* by `src` of its runs */
	size_t nsources;
	/* Addresses that will be touched first. */
	uint64_t *hot;
	size_t nhot;
	bool huge; /* make huge pages of what was such, at the end */
};

struct pager_setup {
	const struct pager_client *clients;
	size_t nclients;
	const struct pager_source *sources;
	size_t nsources;
	/*
	 * Bring nothing but what the process touches, for some time, and then
	 * write to this file what that was: `prefetch` of snapfs(5).  -1: no.
	 */
	int learn; /* not consumed */
	bool tree; /* there are others: say who was killed */
};

/* Is this memory that a pager brings? */
bool pager_wants(const struct vma *v);

/* Register the memory and begin.  On failure the descriptors are closed. */
int pager_start(
    struct snap_ctx *cx, const struct pager_setup *s, struct snap_pager **out);

/*
 * Until all is there.  0, or -errno with the pager's sentence if it could not
 * be brought: then those who lack some are dead.
 */
int pager_finish(struct snap_ctx *cx, struct snap_pager *g);

/* Wait until the hot addresses have their pages, or that failed. */
void pager_hot_is_there(struct snap_pager *g);

/*
 * They are about to run: from here on each dies if the pager does before all
 * its memory is there.  0, or -errno as above.
 */
int pager_commit(struct snap_ctx *cx, struct snap_pager *g);

/*
 * It runs: bring what nobody waits for, too.  Until now the CPUs were for those
 * who make the process.
 */
void pager_let_go(struct snap_pager *g);

/* The pager's failure, as an error of `cx`; 0 if there was none. */
int pager_error(struct snap_ctx *cx, struct snap_pager *g);

bool pager_is_done(struct snap_pager *g);

/* Stop, and close everything.  Only if all is there or the process is dead. */
void pager_free(struct snap_pager *g);

#endif
