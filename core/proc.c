#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"

#define FIRST_SIZE (64u << 10)
#define MAX_SIZE (1u << 30)

/* ENOENT of a file that every process has means that the process is gone. */
static int
gone(pid_t pid, int err)
{
	char dir[32];

	if (err != ENOENT)
		return err;
	snprintf(dir, sizeof(dir), "/proc/%d", (int)pid);
	return access(dir, F_OK) < 0 && errno == ENOENT ? ESRCH : ENOENT;
}

static int
fail(struct snap_ctx *cx, pid_t pid, const char *name, int err)
{
	return snap_fail(cx, -err, "/proc/%d/%s: %s", (int)pid, name,
	    err == ESRCH ? "the process is gone" : strerror(err));
}

int
proc_open(struct snap_ctx *cx, pid_t pid, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return fail(cx, pid, name, gone(pid, errno));
	return fd;
}

int
proc_read_fd(int fd, char **text, size_t *len)
{
	size_t cap = FIRST_SIZE, n = 0;
	char *buf, *more;
	ssize_t got;

	buf = malloc(cap);
	if (buf == NULL)
		return -ENOMEM;
	while ((got = read(fd, buf + n, cap - n - 1)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int err = errno;

			free(buf);
			return -err;
		}
		n += (size_t)got;
		if (cap - n > 1)
			continue;
		more = cap >= MAX_SIZE ? NULL : realloc(buf, cap * 2);
		if (more == NULL) {
			free(buf);
			return cap >= MAX_SIZE ? -EFBIG : -ENOMEM;
		}
		buf = more;
		cap *= 2;
	}
	buf[n] = '\0';
	*text = buf;
	if (len != NULL)
		*len = n;
	return 0;
}

int
proc_read(
    struct snap_ctx *cx, pid_t pid, const char *name, char **text, size_t *len)
{
	int fd, err;

	fd = proc_open(cx, pid, name, O_RDONLY);
	if (fd < 0)
		return fd;
	err = proc_read_fd(fd, text, len);
	close(fd);
	return err < 0 ? fail(cx, pid, name, gone(pid, -err)) : 0;
}

int
proc_try(pid_t pid, const char *name, char **text, size_t *len)
{
	char path[PATH_MAX];
	int err, fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -gone(pid, errno);
	err = proc_read_fd(fd, text, len);
	close(fd);
	return err;
}

int
proc_readlink(struct snap_ctx *cx, pid_t pid, const char *name, char **target)
{
	char path[PATH_MAX], buf[PATH_MAX + 1];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	n = readlink(path, buf, sizeof(buf) - 1);
	if (n < 0)
		return fail(cx, pid, name, gone(pid, errno));
	buf[n] = '\0';
	*target = strdup(buf);
	return *target == NULL ? fail(cx, pid, name, ENOMEM) : 0;
}

const char *
proc_field(const char *text, const char *key)
{
	size_t n = strlen(key);

	while (text != NULL && *text != '\0') {
		if (strncmp(text, key, n) == 0 && text[n] == ':') {
			text += n + 1;
			return text + strspn(text, " \t");
		}
		text = strchr(text, '\n');
		if (text != NULL)
			text++;
	}
	return NULL;
}

bool
proc_field_u64(const char *text, const char *key, int base, uint64_t *value)
{
	const char *s = proc_field(text, key);
	char *end;

	if (s == NULL || *s == '\n')
		return false;
	errno = 0;
	*value = strtoull(s, &end, base);
	return end != s && errno == 0;
}
