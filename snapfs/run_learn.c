/*
 * run_learn.c - `prefetch` of an image: written beside it, and put in place when
 * it is whole.
 */
#include "run.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "prefetch"
#define UNFINISHED "prefetch.new"

/* What is left of one that was killed is in the way. */
int
learn_open(int dir, const char *path)
{
	int fd;

	(void)unlinkat(dir, UNFINISHED, 0);
	fd = openat(dir, UNFINISHED,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (fd < 0)
		err(RUN_FAILED, "%s/" UNFINISHED, path);
	return fd;
}

/* One that knows of nothing does not take the place of a better one. */
void
learn_close(int dir, int fd, bool keep)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size == 0)
		keep = false;
	close(fd);
	if (keep && renameat(dir, UNFINISHED, dir, NAME) == 0)
		return;
	if (keep)
		warn(NAME);
	(void)unlinkat(dir, UNFINISHED, 0);
}
