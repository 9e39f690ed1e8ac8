#include "forget.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

/*
 * Newer than the headers and the library, 6.18: drop the names of these inodes
 * that nobody uses.  The older FUSE_NOTIFY_INVAL_ENTRY must not be used here:
 * it waits for the lock of the directory, which every look-up in it holds, and
 * one that takes a checkpoint holds it for long.  A thread of ours that waits
 * like this cannot be killed, and while it is there the kernel does not know
 * that the daemon is dead: readers would wait for ever, and so would the twin.
 * An older kernel keeps the names, until they are looked up again or it wants
 * the memory.
 */
#define NOTIFY_PRUNE 9

struct prune {
	struct fuse_out_header head;
	uint32_t count, padding;
	uint64_t spare;
	uint64_t ino[FORGET_MAX];
};

void
forget_flush(struct forget *f)
{
	struct prune p = { .count = (uint32_t)f->n };
	size_t size = offsetof(struct prune, ino) + f->n * sizeof(*f->ino);
	ssize_t n;

	if (f->n == 0)
		return;
	/* Someone may have a name open: at least its pages go. */
	for (size_t i = 0; i < f->n; i++)
		fuse_lowlevel_notify_inval_inode(f->se, f->ino[i], 0, 0);
	memcpy(p.ino, f->ino, f->n * sizeof(*f->ino));
	p.head.len = (uint32_t)size;
	p.head.error = NOTIFY_PRUNE;
	n = write(fuse_session_fd(f->se), &p, size);
	(void)n; /* there may be no mount any more */
	f->n = 0;
}

void
forget_add(struct forget *f, uint64_t ino)
{
	f->ino[f->n++] = ino;
	if (f->n == FORGET_MAX)
		forget_flush(f);
}
