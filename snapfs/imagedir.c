#include "imagedir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "snap.h"

/*
 * The directories in `dir` that are images: their number, the last one open.  If
 * there are none, but may be: -errno.
 */
static int
images_in(DIR *dir, int *found)
{
	struct dirent *de;
	int fd, is, n = 0, err = 0;

	while ((de = readdir(dir)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    (de->d_type != DT_DIR && de->d_type != DT_UNKNOWN))
			continue;
		fd = openat(dirfd(dir), de->d_name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		is = snap_image_is(fd);
		if (is <= 0) {
			err = is < 0 ? is : err;
			close(fd);
			continue;
		}
		if (*found >= 0)
			close(*found);
		*found = fd;
		n++;
	}
	return n > 0 ? n : err;
}

static int
fail(const char *path, int err, char *why, size_t size)
{
	snprintf(why, size, "%s: %s", path, strerror(-err));
	return err;
}

/* `cp -r` makes dir/ or dir/PID/: if it is the latter, go down. */
static int
inside(const char *path, int fd, int *found, char *why, size_t size)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), n;
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);

	*found = -1;
	if (dir == NULL) {
		if (copy >= 0)
			close(copy);
		return fail(path, -ENOMEM, why, size);
	}
	n = images_in(dir, found);
	closedir(dir);
	if (n == 1)
		return 0;
	if (*found >= 0)
		close(*found);
	*found = -1;
	if (n < 0)
		return fail(path, n, why, size);
	if (n == 0)
		snprintf(why, size, "%s: there is no checkpoint", path);
	else
		snprintf(why, size, "%s: there are %d checkpoints: say which",
		    path, n);
	return n == 0 ? -ENOENT : -EINVAL;
}

int
imagedir_open(const char *path, int *fd, char *why, size_t size)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	*fd = dir;
	if (dir < 0)
		return fail(path, -errno, why, size);
	err = snap_image_is(dir);
	if (err == 1)
		return 0;
	*fd = -1;
	err = err < 0 ? fail(path, err, why, size)
		      : inside(path, dir, fd, why, size);
	close(dir);
	return err;
}
