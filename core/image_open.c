#include "image_open.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "process.h"
#include "text.h"

#define MAX_NUMBER (1u << 22) /* of a descriptor, of a process */

int
image_open_fail(struct snap_ctx *cx, const char *path, int err)
{
	switch (err) {
	case ENOENT:
		return snap_fail(cx, -EBADMSG, "%s: missing", path);
	case ELOOP:
	case ENXIO: /* a socket */
		return snap_fail(cx, -EBADMSG, "%s: not a plain file", path);
	case ENOTDIR:
		return snap_fail(cx, -EBADMSG, "%s: not a directory", path);
	default:
		return snap_fail(cx, -err, "%s: %s", path, strerror(err));
	}
}

int
image_open_below(int dir, const char *path, int flags)
{
	const char *slash = strchr(path, '/');
	char first[NAME_MAX + 1];
	int sub, fd, err;

	flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	if (slash == NULL)
		return openat(dir, path, flags);
	snprintf(first, sizeof(first), "%.*s", (int)(slash - path), path);
	sub =
	    openat(dir, first, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0)
		return -1;
	fd = openat(sub, slash + 1, flags);
	err = errno;
	close(sub);
	errno = err;
	return fd;
}

int
image_open_plain(struct snap_ctx *cx, const char *path, int fd, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return snap_fail(cx, -EBADMSG, "%s: not a plain file", path);
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

int
image_open_file(struct snap_ctx *cx, int dir, const char *path, uint64_t *size)
{
	int fd = image_open_below(dir, path, O_RDONLY);

	return fd < 0 ? image_open_fail(cx, path, errno)
		      : image_open_plain(cx, path, fd, size);
}

int
image_load(struct snap_ctx *cx, int dir, const char *path, uint64_t max,
    char **text, size_t *len)
{
	uint64_t size, n = 0;
	ssize_t got = 1;
	int fd, err = 0;
	char *buf;

	fd = image_open_file(cx, dir, path, &size);
	if (fd < 0)
		return fd;
	if (size > max) {
		close(fd);
		return snap_fail(cx, -EBADMSG, "%s: larger than it may be: %lu",
		    path, (unsigned long)size);
	}
	buf = malloc(size + 1);
	while (buf != NULL && n < size && got != 0) {
		got = read(fd, buf + n, size - n);
		if (got < 0 && errno != EINTR) {
			err = snap_fail(
			    cx, -errno, "%s: %s", path, strerror(errno));
			break;
		}
		n += got > 0 ? (uint64_t)got : 0;
	}
	close(fd);
	if (buf == NULL)
		return snap_fail(cx, -ENOMEM, "%s: out of memory", path);
	if (err < 0) {
		free(buf);
		return err;
	}
	buf[n] = '\0';
	*text = buf;
	*len = n;
	return 0;
}

int
image_by_number(const void *a, const void *b)
{
	const int *m = a, *n = b;

	return *m < *n ? -1 : *m > *n;
}

static int
list_entry(
    struct snap_ctx *cx, const char *path, const char *name, int **v, size_t *n)
{
	uint64_t number;
	int *slot;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (!text_dec(name, MAX_NUMBER, &number))
		return snap_fail(cx, -EBADMSG,
		    "%s/%.64s: not the number of a %s", path, name,
		    strcmp(path, "children") == 0 ? "process" : "descriptor");
	slot = process_grow(v, n, sizeof(*slot));
	if (slot == NULL)
		return -ENOMEM;
	*slot = (int)number;
	return 0;
}

int
image_list_numbers(
    struct snap_ctx *cx, int dir, const char *path, int **v, size_t *n)
{
	struct dirent *e;
	int fd, err = 0;
	DIR *d;

	fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : image_open_fail(cx, path, errno);
	d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return -ENOMEM;
	}
	while (err == 0 && (e = readdir(d)) != NULL)
		err = list_entry(cx, path, e->d_name, v, n);
	closedir(d);
	if (*n > 0)
		qsort(*v, *n, sizeof(**v), image_by_number);
	return err;
}
