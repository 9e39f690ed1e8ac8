#include "sock_record.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "snap.h"

#define DIRECTORY "/run/snapfs"
#define TEXT_MAX (1u << 20)

/* ---- making one ---- */

static int
open_directory(void)
{
	struct stat st;
	int fd;

	if (geteuid() != 0)
		return -1;
	(void)mkdir(DIRECTORY, 0700);
	fd = open(DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && (fstat(fd, &st) != 0 || st.st_uid != 0 ||
			   (st.st_mode & 022) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* One line for each: the socket's inode, and what is to be set to what. */
static bool
write_lines(int fd, const struct sock_undo *v, size_t n)
{
	char line[96];
	struct stat st;

	for (size_t i = 0; i < n; i++) {
		int len;

		if (fstat(v[i].fd, &st) != 0)
			return false;
		len = snprintf(line, sizeof(line), "%llu %d %d %d\n",
		    (unsigned long long)st.st_ino, v[i].level, v[i].name,
		    v[i].value);
		if (write(fd, line, (size_t)len) != len)
			return false;
	}
	return true;
}

/* Without a name until it is locked: so nobody finds one that is not. */
void
sock_record_begin(struct sock_record *r, const struct sock_undo *v, size_t n)
{
	int dir = open_directory();
	char self[32];

	r->fd = dir < 0
		    ? -1
		    : openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (dir >= 0)
		close(dir);
	if (r->fd < 0)
		return;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", r->fd);
	snprintf(r->path, sizeof(r->path), DIRECTORY "/sockets.%d.%d",
	    (int)gettid(), v[0].fd);
	if (flock(r->fd, LOCK_EX | LOCK_NB) == 0 && write_lines(r->fd, v, n) &&
	    linkat(AT_FDCWD, self, AT_FDCWD, r->path, AT_SYMLINK_FOLLOW) == 0)
		return;
	close(r->fd);
	r->fd = -1;
}

void
sock_record_end(struct sock_record *r)
{
	if (r->fd < 0)
		return;
	(void)unlink(r->path);
	close(r->fd);
	r->fd = -1;
}

/* ---- sweeping ---- */

/* A copy of the socket of this inode, whoever has it; -1: nobody. */
static int
find_in(pid_t pid, const char *link)
{
	struct snap_ctx quiet = { .error = 0 };
	int fd = proc_open(&quiet, pid, "fd", O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	char is[64];
	int found = -1;

	if (d == NULL && fd >= 0)
		close(fd);
	while (d != NULL && found < 0 && (e = readdir(d)) != NULL) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, is, sizeof(is) - 1);
		int pidfd;

		is[n < 0 ? 0 : n] = '\0';
		if (strcmp(is, link) != 0)
			continue;
		pidfd = pidfd_open(pid, 0);
		found = pidfd_getfd(pidfd, atoi(e->d_name), 0);
		if (pidfd >= 0)
			close(pidfd);
	}
	if (d != NULL)
		closedir(d);
	return found;
}

static int
find_socket(unsigned long long ino)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	char link[64];
	int found = -1;

	snprintf(link, sizeof(link), "socket:[%llu]", ino);
	while (d != NULL && found < 0 && (e = readdir(d)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]))
			found = find_in((pid_t)atoi(e->d_name), link);
	if (d != NULL)
		closedir(d);
	return found;
}

/* Only what a guard would do; and not if it was done in time. */
static bool
put_right(int fd, int level, int name, int value)
{
	socklen_t len = sizeof(int);
	int is = 0;

	if (level == IPPROTO_TCP && name == TCP_REPAIR)
		return getsockopt(fd, level, name, &is, &len) == 0 && is != 0 &&
		       setsockopt(fd, level, name, &value, sizeof(value)) == 0;
	if (level != SOL_SOCKET ||
	    (name != SO_PEEK_OFF && name != SO_REUSEADDR))
		return false;
	return getsockopt(fd, level, name, &is, &len) == 0 && is != value &&
	       setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

static void
do_lines(struct snap_ctx *cx, char *text)
{
	char *save = NULL;

	for (char *s = strtok_r(text, "\n", &save); s != NULL;
	     s = strtok_r(NULL, "\n", &save)) {
		unsigned long long ino;
		int level, name, value, fd;

		if (sscanf(s, "%llu %d %d %d", &ino, &level, &name, &value) !=
		    4)
			continue;
		fd = find_socket(ino);
		if (fd < 0)
			continue;
		if (put_right(fd, level, name, value))
			snap_logf(cx, SNAP_NOTICE,
			    "socket:[%llu]: an option that was left, %d, is "
			    "as it was",
			    ino, name);
		close(fd);
	}
}

/* One that is locked is at work. */
static void
sweep_one(struct snap_ctx *cx, int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	char *text = NULL;

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
	    proc_read_fd(fd, &text, NULL) == 0) {
		do_lines(cx, text);
		free(text);
		(void)unlinkat(dir, name, 0);
	}
	close(fd);
}

void
sock_record_sweep(struct snap_ctx *cx)
{
	int fd = geteuid() != 0 ? -1
				: open(DIRECTORY, O_RDONLY | O_DIRECTORY |
						      O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (d == NULL && fd >= 0)
		close(fd);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (strncmp(e->d_name, "sockets.", 8) == 0)
			sweep_one(cx, dirfd(d), e->d_name);
	if (d != NULL)
		closedir(d);
}
