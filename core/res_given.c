/*
 * res_given.c - a descriptor that is whoever restores the process's own.
 *
 * It is shared with him, as any program shares what it inherits; with one
 * exception: a program that had O_NONBLOCK set on its standard input must not
 * set it on his.  A pipe or a terminal can be opened anew for that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "res.h"

static bool
can_reopen(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(fd));
}

static int
open_nonblocking(const struct fd_restore *r, const struct openfile *f, int fd)
{
	const int mode = fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND);
	char path[40];
	int again = -1;

	if (can_reopen(fd)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		again = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	if (again < 0)
		resource_note(r, "fd %u blocks, as yours does", f->id);
	return again;
}

int
res_given_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int from = f->std < 0 ? -1 : r->std[f->std], fd = -1, have;

	/* For duplicates of one that is closed: anything, but not nothing. */
	if (from < 0)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	have = from < 0 ? O_NONBLOCK : fcntl(from, F_GETFL);
	if ((f->flags & O_NONBLOCK) != 0 && (have & O_NONBLOCK) == 0)
		fd = open_nonblocking(r, f, from);
	if (fd < 0)
		fd = fcntl(from, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return snap_fail(
		    cx, -errno, "fd %u: yours: %s", f->id, strerror(errno));
	if (from >= 0 && strcmp(f->kind, "tty") == 0 && isatty(fd))
		res_tty_adopt(r, f, fd);
	return fd;
}
