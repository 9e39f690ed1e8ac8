#include "marked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"

bool
marked_parse(const char *line, struct marked *m)
{
	const char *s = strstr(line, "ino:"), *h;
	unsigned dev, bytes, type, b;
	int at = -1;

	if (s == NULL || sscanf(s, "ino:%llx sdev:%x", &m->ino, &dev) != 2)
		return false;
	h = strstr(s, "fhandle-bytes:");
	if (h == NULL || memchr(s, '\n', (size_t)(h - s)) != NULL ||
	    sscanf(h, "fhandle-bytes:%x fhandle-type:%x f_handle:%n", &bytes,
		&type, &at) != 2 ||
	    at < 0 || bytes > MAX_HANDLE_SZ)
		return false;
	m->dev = makedev(dev >> 20, dev & 0xfffff);
	m->handle = &m->room.h;
	m->handle->handle_bytes = bytes;
	m->handle->handle_type = (int)type;
	for (unsigned i = 0; i < bytes; i++) {
		if (sscanf(h + at + 2 * i, "%2x", &b) != 1)
			return false;
		m->handle->f_handle[i] = (unsigned char)b;
	}
	return true;
}

/* ---- mounts ---- */

struct mount {
	unsigned id;
	dev_t dev;
	char point[PATH_MAX];
};

/* Undo the \040 of mountinfo, in place. */
static void
unescape(char *s)
{
	char *to = s;

	while (*s != '\0') {
		unsigned c;

		if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1 &&
		    strspn(s + 1, "01234567") >= 3) {
			*to++ = (char)c;
			s += 4;
		} else
			*to++ = *s++;
	}
	*to = '\0';
}

static int
open_in(const struct fd_probe *q, const char *path, int flags)
{
	if (q->root == AT_FDCWD)
		return open(path, flags | O_CLOEXEC);
	return openat(
	    q->root, path[1] == '\0' ? "." : path + 1, flags | O_CLOEXEC);
}

/*
 * 27 1 254:0 / /mnt rw,... - ext4 /dev/vda rw
 *
 * The next one that is not of FUSE; *s moves on.
 */
static bool
next_mount(const char **s, struct mount *m)
{
	unsigned maj, min;

	while (**s != '\0') {
		const char *line = *s, *type = strstr(line, " - ");
		const char *end = strchrnul(line, '\n');

		*s = *end == '\n' ? end + 1 : end;
		if (type == NULL || type > end ||
		    strncmp(type, " - fuse", 7) == 0 ||
		    sscanf(line, "%u %*u %u:%u %*s %4095s", &m->id, &maj, &min,
			m->point) != 4)
			continue;
		m->dev = makedev(maj, min);
		unescape(m->point);
		return true;
	}
	return false;
}

/* Through that mount: is there a path, and does it lead back? */
static bool
path_through(const struct fd_probe *q, const struct marked *m,
    const char *mountpoint, char path[PATH_MAX])
{
	char link[40];
	struct stat st;
	ssize_t n = -1;
	int mnt, fd;

	mnt = open_in(q, mountpoint, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (mnt < 0)
		return false;
	fd = open_by_handle_at(mnt, m->handle, O_PATH | O_CLOEXEC);
	if (fd >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, path, PATH_MAX - 1);
		close(fd);
	}
	close(mnt);
	if (n <= 0 || path[0] != '/')
		return false;
	path[n] = '\0';
	fd = open_in(q, path, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return false;
	n = fstat(fd, &st);
	close(fd);
	return n == 0 && st.st_ino == m->ino;
}

bool
marked_path(const struct fd_probe *q, const struct marked *m,
    const char *mountinfo, char path[PATH_MAX])
{
	const char *s = mountinfo;
	struct mount mount;

	while (next_mount(&s, &mount))
		if (mount.dev == m->dev &&
		    path_through(q, m, mount.point, path))
			return true;
	return false;
}

/* Another may be mounted above it. */
static bool
is_on_top(const struct fd_probe *q, const struct mount *m)
{
	struct statx x = { 0 };
	int fd = open_in(q, m->point, O_PATH), n;

	if (fd < 0)
		return false;
	n = statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &x);
	close(fd);
	return n == 0 && (x.stx_mask & STATX_MNT_ID) != 0 &&
	       x.stx_mnt_id == m->id;
}

bool
marked_mount(const struct fd_probe *q, unsigned id, dev_t dev,
    const char *mountinfo, char path[PATH_MAX])
{
	const char *s = mountinfo;
	struct mount m;

	while (next_mount(&s, &m)) {
		if (id != 0 ? m.id != id : m.dev != dev)
			continue;
		if (!is_on_top(q, &m))
			continue;
		memcpy(path, m.point, sizeof(m.point));
		return true;
	}
	return false;
}

int
marked_unread(struct snap_ctx *cx, const struct fd_probe *q, const char *what)
{
	int fd = resource_getfd(cx, q), unread = 0, err;

	if (fd < 0)
		return fd;
	err = ioctl(fd, FIONREAD, &unread);
	close(fd);
	if (err != 0 || unread != 0)
		return snap_fail(cx, -ENOTSUP,
		    "%s with %d bytes of unread events", what, unread);
	return 0;
}
