/*
 * resource.h - kinds of open files, one row of a const table and one file
 * res_KIND.c each: how a checkpoint reads it, how a restore makes it again.
 *
 * To add a kind: write res_KIND.c with a `const struct resource`, name it in
 * the table in resource.c, write a paragraph in snapfs(5) and a subject.
 */
#ifndef RESOURCE_H
#define RESOURCE_H

#include <sys/stat.h>

#include "process.h"

struct snap_ctx;

/* What is known of a descriptor of the frozen process before its kind is. */
struct fd_probe {
	pid_t pid;
	int pidfd;
	int fd;		    /* its number there */
	const char *target; /* readlink /proc/PID/fd/N */
	struct stat st;	    /* stat of /proc/PID/fd/N: the object itself */
	const char *fdinfo; /* the text of /proc/PID/fdinfo/N */
	uint32_t flags;	    /* O_*, as fdinfo has them */
	const struct process *p;
};

/* What a restore offers to the kinds.  Runs in the new process. */
struct fd_restore {
	const struct process *p;
	int tty;    /* the terminal to use, or -1 */
	int base;   /* files[i] is to be open at base + i meanwhile */
	char *note; /* room for what came back differently, 512 bytes */
};

struct resource {
	const char *name; /* as `kind:` in fdinfo has it */
	bool (*match)(const struct fd_probe *q);
	/*
	 * The process is frozen.  Put what a restore needs into f, contents
	 * into p.  -ENOTSUP: listed as unsupported, with the context's
	 * sentence; any other error ends the checkpoint.
	 */
	int (*collect)(struct snap_ctx *cx, const struct fd_probe *q,
	    struct process *p, struct openfile *f);
	/*
	 * Is what an image says of it well-formed?  Pure.  The caller adds
	 * FILE: to the sentence.
	 */
	int (*check)(struct snap_ctx *cx, const struct process *p,
	    const struct openfile *f);
	/* Open it: a descriptor of any number, or -errno.  O_CLOEXEC or not. */
	int (*restore)(struct snap_ctx *cx, const struct fd_restore *r,
	    const struct openfile *f);
	/*
	 * Once all are open at their final numbers: what refers to other
	 * descriptors (epoll), locks, owners.  `fd` is one that refers to f.
	 * May be NULL.
	 */
	int (*finish)(struct snap_ctx *cx, const struct fd_restore *r,
	    const struct openfile *f, int fd);
};

/* The rows of the table, in order of matching; ends with NULL. */
extern const struct resource *const resources[];
const struct resource *resource_find(const char *name);

/*
 * Fill p->files, p->fds and contents from the frozen process `pid`.  What has
 * no kind is listed in p->unsupported as "fd N".
 */
int fds_collect(struct snap_ctx *cx, pid_t pid, struct process *p);

/* Check everything that an image says of descriptors; pure. */
int fds_check(struct snap_ctx *cx, const struct process *p);

/*
 * In the new process: open every file at base + its index, close all other
 * descriptors below `base` (the caller's own are above base + nfiles), put
 * each at its number, finish them, close base .. base + nfiles - 1.
 * `r->base` is above every p->fds[].fd.
 */
int fds_restore(struct snap_ctx *cx, const struct fd_restore *r);

#endif
