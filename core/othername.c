#include "othername.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proc.h"

/* How many names are looked at. */
#define NAMES_MAX 100000u

static bool
is(DIR *d, const struct dirent *e, const struct stat *st)
{
	struct stat there;

	return e->d_ino == st->st_ino &&
	       fstatat(dirfd(d), e->d_name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       there.st_dev == st->st_dev && there.st_ino == st->st_ino;
}

/* Takes `dir` over. */
static char *
name_in(int dir, const struct stat *st)
{
	DIR *d = fdopendir(dir);
	struct dirent *e;
	char *name = NULL;

	if (d == NULL) {
		close(dir);
		return NULL;
	}
	for (size_t n = 0; name == NULL && n < NAMES_MAX; n++) {
		e = readdir(d);
		if (e == NULL)
			break;
		if (is(d, e, st))
			name = strdup(e->d_name);
	}
	closedir(d);
	return name;
}

static int
open_dir(struct snap_ctx *cx, pid_t pid, const char *dir)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT };
	int root = proc_open(cx, pid, "root", O_PATH), fd;

	if (root < 0)
		return -1;
	fd = (int)syscall(SYS_openat2, root, dir, &how, sizeof(how));
	close(root);
	return fd;
}

char *
othername(
    struct snap_ctx *cx, pid_t pid, const char *path, const struct stat *st)
{
	const char *slash = strrchr(path, '/');
	char *dir, *name, *other = NULL;
	int fd;

	if (slash == NULL)
		return NULL;
	dir = strndup(path, (size_t)(slash - path) + 1);
	fd = dir == NULL ? -1 : open_dir(cx, pid, dir);
	name = fd < 0 ? NULL : name_in(fd, st);
	if (name != NULL && asprintf(&other, "%s%s", dir, name) < 0)
		other = NULL;
	free(name);
	free(dir);
	return other;
}
