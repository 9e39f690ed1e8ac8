/*
 * handle.h - what an open file or directory of the mount is to the daemon.
 */
#ifndef HANDLE_H
#define HANDLE_H

#include "snapfs.h"

struct named_entry {
	char *name;
	uint64_t ino;
};

struct restore;

struct handle {
	uint32_t magic;
	struct node node;
	struct view *view; /* NODE_PROC and NODE_FILE: open in it */
	uint32_t n;	   /* its number in the checkpoint, if that is taken */
	bool in_checkpoint;
	bool closing; /* under the lock; see view_closing() */

	/* The root: the processes, and named checkpoints, the opener may see.
	 */
	struct proc_id *procs;
	size_t nprocs;
	struct named_entry *named; /* the names are owned */
	size_t nnamed;

	/* A control file: what is read from it. */
	char *text;
	size_t len;
	struct holder *holder; /* .hold, open for writing; else NULL */
	/*
	 * .restore: who opened it; where a read begins after a write, for the
	 * file offset went on with what was written.
	 */
	struct view_creds creds;
	off_t base;
	/*
	 * What was written and waits for more: options before the path, or the
	 * path of a process that runs here, whose options may still come.
	 * Under the lock: a flush may come beside a write.
	 */
	struct restore_request *pending;
	struct proc_id pending_of; /* who wrote it */
	off_t pending_end;	   /* the file offset behind it */
	bool requested;		   /* a path was acted upon already */
	int failed;		   /* -errno, with a sentence in text; or 0 */
	struct restore *waits;	   /* what it restored, and waits for a word */
	/*
	 * What was restored has its writer's terminal until the end of file is
	 * here; -1: it has not.  Under the lock.
	 */
	int terminal;
};

struct handle *handle_new(const struct node *node); /* NULL: no memory */
void handle_free(struct handle *h);

/* What a read of `size` bytes of h->text at `off` gives: *text and the length.
 * With the lock. */
size_t handle_text(struct handle *h, size_t size, off_t off, const char **text);

/* To and from the integer that FUSE keeps for us. */
uint64_t handle_fh(struct handle *h);
struct handle *handle_of(const struct fuse_file_info *fi);

#endif
