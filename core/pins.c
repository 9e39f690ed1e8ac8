#include "pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"

/*
 * What is not here may: FUSE and its like copy an answer to the very pages of
 * whoever reads without a cache.
 */
static const char *const file_systems[] = {
	"ext4",
	"xfs",
	"btrfs",
	"tmpfs",
	"overlay",
	"proc",
	"sysfs",
	"devtmpfs",
	"devpts",
	"ext3",
	"ext2",
	"f2fs",
	"ramfs",
	"squashfs",
	"erofs",
	"iso9660",
	"vfat",
	"cgroup",
	"cgroup2",
	"mqueue",
	"hugetlbfs",
	"nfs",
	"nfs4",
};

static const char *const nameless[] = {
	"pipe:[",
	"socket:[",
	"anon_inode:[eventpoll]",
	"anon_inode:[eventfd",
	"anon_inode:[timerfd]",
	"anon_inode:[signalfd]",
	"anon_inode:[pidfd]",
	"anon_inode:inotify",
};

#define MEM_MAJOR 1
#define TTYAUX_MAJOR 5
#define PTS_MAJOR 136 /* and up to 143 */

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static bool
begins_with(const char *s, const char *start)
{
	return strncmp(s, start, strlen(start)) == 0;
}

/* The line of a mount, or NULL. */
static const char *
find_mount(const char *mountinfo, uint64_t id)
{
	char head[32];
	const char *line;

	snprintf(head, sizeof(head), "\n%llu ", (unsigned long long)id);
	if (begins_with(mountinfo, head + 1))
		return mountinfo;
	line = strstr(mountinfo, head);
	return line == NULL ? NULL : line + 1;
}

/* What is behind " - " in its line, up to a blank, is its type. */
static bool
is_known_mount(const char *line)
{
	const char *end = strchr(line, '\n'), *type = strstr(line, " - ");
	size_t n;

	if (type == NULL || (end != NULL && type > end))
		return false;
	type += 3;
	n = strcspn(type, " \n");
	for (size_t i = 0; i < ARRAY(file_systems); i++)
		if (strlen(file_systems[i]) == n &&
		    strncmp(type, file_systems[i], n) == 0)
			return true;
	return false;
}

/* /dev/null and its kind, terminals. */
static bool
is_known_device(dev_t dev)
{
	unsigned m = major(dev);

	return m == MEM_MAJOR || m == TTYAUX_MAJOR ||
	       (m >= PTS_MAJOR && m < PTS_MAJOR + 8);
}

bool
pins_not(const char *target, const char *fdinfo, const char *mountinfo,
    mode_t mode, dev_t rdev)
{
	uint64_t flags, mount;
	const char *line;

	for (size_t i = 0; i < ARRAY(nameless); i++)
		if (begins_with(target, nameless[i]))
			return true;
	if (target[0] != '/' || !proc_field_u64(fdinfo, "flags", 8, &flags))
		return false;
	if ((flags & O_PATH) != 0 || S_ISFIFO(mode))
		return true;
	if (S_ISCHR(mode))
		return is_known_device(rdev);
	if ((flags & O_DIRECT) != 0 || !(S_ISREG(mode) || S_ISDIR(mode)))
		return false;
	if (!proc_field_u64(fdinfo, "mnt_id", 10, &mount))
		return false;
	line = find_mount(mountinfo, mount);
	/* A memfd is on a mount that nobody sees. */
	return line == NULL ? begins_with(target, "/memfd:")
			    : is_known_mount(line);
}

/* ---- those of a process that runs ---- */

struct look {
	struct snap_ctx *cx;
	pid_t pid;
	int fds, infos;	 /* directories */
	char *mountinfo; /* read when it is first asked for */
};

/* Nobody else is asked for its attributes. */
static bool
type_of(const struct look *l, const char *name, mode_t *mode, dev_t *rdev)
{
	int fd = openat(l->fds, name, O_PATH | O_CLOEXEC), r;
	struct statx x;

	if (fd < 0)
		return false;
	r = statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &x);
	close(fd);
	*mode = x.stx_mode;
	*rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
	return r == 0;
}

static bool
read_info(const struct look *l, const char *name, char *buf, size_t size)
{
	int fd = openat(l->infos, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	/* What is asked for stands at its head. */
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n < 0 ? 0 : n] = '\0';
	return n > 0;
}

static bool
is_harmless(struct look *l, const char *name)
{
	char target[PATH_MAX], info[512];
	ssize_t n = readlinkat(l->fds, name, target, sizeof(target) - 1);
	mode_t mode = 0;
	dev_t rdev = 0;

	/* One that is closed has no call under way. */
	if (n < 0)
		return errno == ENOENT;
	target[n] = '\0';
	if (target[0] != '/')
		return pins_not(target, "", "", 0, 0);
	if (l->mountinfo == NULL &&
	    proc_try(l->pid, "mountinfo", &l->mountinfo, NULL) != 0)
		return false;
	return type_of(l, name, &mode, &rdev) &&
	       read_info(l, name, info, sizeof(info)) &&
	       pins_not(target, info, l->mountinfo, mode, rdev);
}

static bool
are_harmless(struct look *l)
{
	DIR *dir = fdopendir(l->fds);
	struct dirent *e;
	bool are = dir != NULL;

	if (dir == NULL) {
		close(l->fds);
		return false;
	}
	while (are && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		are = is_harmless(l, e->d_name);
		if (!are)
			snap_logf(l->cx, SNAP_DEBUG,
			    "process %d: descriptor %s may have pages pinned",
			    (int)l->pid, e->d_name);
	}
	closedir(dir);
	return are;
}

bool
pins_none(struct snap_ctx *cx, pid_t pid)
{
	struct look l = { .cx = cx, .pid = pid, .fds = -1 };
	bool none;

	l.infos = proc_open(cx, pid, "fdinfo", O_PATH | O_DIRECTORY);
	if (l.infos >= 0)
		l.fds = proc_open(cx, pid, "fd", O_RDONLY | O_DIRECTORY);
	none = l.fds >= 0 && are_harmless(&l);
	if (l.infos >= 0)
		close(l.infos);
	free(l.mountinfo);
	return none;
}
