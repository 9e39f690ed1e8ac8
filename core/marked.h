/*
 * marked.h - what an inotify or fanotify group watches: from what
 * /proc/PID/fdinfo tells to a path.
 *
 * The kernel knows watched inodes, not paths, but tells a file handle of each:
 * open_by_handle_at(2) on a mount of that file system leads to a path.
 */
#ifndef MARKED_H
#define MARKED_H

#include <fcntl.h>
#include <limits.h>

#include "resource.h"

struct marked {
	unsigned long long ino;
	dev_t dev;
	struct file_handle *handle; /* points to `room` */
	union {
		struct file_handle h;
		char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} room;
};

/* ... ino:a720d3 sdev:fe00000 ... fhandle-bytes:8 fhandle-type:1 f_handle:d32... */
bool marked_parse(const char *line, struct marked *m);

/*
 * A path, as the process sees it, that leads to it.  On a FUSE mount nothing
 * is looked for: its server may be what is frozen.
 */
bool marked_path(const struct fd_probe *q, const struct marked *m,
    const char *mountinfo, char path[PATH_MAX]);

/*
 * A place where a mount is seen: the one with this id, or (id 0) any of the file
 * system `dev`.
 */
bool marked_mount(const struct fd_probe *q, unsigned id, dev_t dev,
    const char *mountinfo, char path[PATH_MAX]);

/*
 * What waits to be read cannot be put into a new queue: -ENOTSUP if anything
 * does, with a sentence on `what`.
 */
int marked_unread(
    struct snap_ctx *cx, const struct fd_probe *q, const char *what);

#endif
