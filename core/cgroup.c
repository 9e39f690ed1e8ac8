#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "proc.h"
#include "snap.h"

static bool
is_octal(const char *s)
{
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' &&
	       s[2] >= '0' && s[2] <= '7';
}

/* One field of mountinfo: \040 and the like are bytes; false if too long. */
static bool
unescape(const char *s, size_t len, char *out, size_t size)
{
	size_t n = 0;

	while (len > 0) {
		if (n + 1 >= size)
			return false;
		if (*s == '\\' && len >= 4 && is_octal(s + 1)) {
			out[n++] = (char)((s[1] - '0') << 6 |
					  (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
			len -= 4;
		} else {
			out[n++] = *s++;
			len--;
		}
	}
	out[n] = '\0';
	return true;
}

/* Is `word` one of the comma-separated ones of `list`? */
static bool
has_word(const char *list, const char *word, size_t len)
{
	while (*list != '\0') {
		size_t n = strcspn(list, ",\n ");

		if (n == len && memcmp(list, word, len) == 0)
			return true;
		list += n;
		if (*list != ',')
			break;
		list++;
	}
	return false;
}

struct mount {
	const char *root, *point; /* escaped, ended by a space */
	const char *type, *super;
};

/* proc_pid_mountinfo(5): the 4th and 5th field, and those after " - ". */
static bool
parse_mount(const char *line, struct mount *m)
{
	const char *p = line, *dash = strstr(line, " - ");
	const char *end = strchr(line, '\n');
	int i;

	if (dash == NULL || (end != NULL && dash > end))
		return false;
	for (i = 0; i < 3; i++) {
		p = strchr(p, ' ');
		if (p == NULL || p >= dash)
			return false;
		p++;
	}
	m->root = p;
	p = strchr(p, ' ');
	if (p == NULL || p >= dash)
		return false;
	m->point = p + 1;
	m->type = dash + 3;
	p = strchr(m->type, ' ');
	p = p == NULL ? NULL : strchr(p + 1, ' ');
	if (p == NULL || (end != NULL && p > end))
		return false;
	m->super = p + 1;
	return true;
}

/* Is this the mount of the hierarchy that `controllers` names?  "": v2. */
static bool
is_hierarchy(const struct mount *m, const char *controllers, size_t len)
{
	size_t first = strcspn(controllers, ",:");

	if (len == 0)
		return strncmp(m->type, "cgroup2 ", 8) == 0;
	if (strncmp(m->type, "cgroup ", 7) != 0)
		return false;
	return has_word(m->super, controllers, first < len ? first : len);
}

bool
cgroup_directory(
    const char *line, const char *mountinfo, char *out, size_t size)
{
	const char *controllers, *path, *mi;
	char root[PATH_MAX], point[PATH_MAX];
	struct mount m;
	size_t len, rootlen, pathlen;
	int n;

	controllers = strchr(line, ':');
	path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
	if (path == NULL)
		return false;
	controllers++;
	len = (size_t)(path - controllers);
	path++;
	pathlen = strcspn(path, "\n");
	for (mi = mountinfo; mi != NULL && *mi != '\0';
	     mi = strchr(mi, '\n'), mi = mi == NULL ? NULL : mi + 1) {
		if (!parse_mount(mi, &m) || !is_hierarchy(&m, controllers, len))
			continue;
		if (!unescape(
			m.root, strcspn(m.root, " "), root, sizeof(root)) ||
		    !unescape(
			m.point, strcspn(m.point, " "), point, sizeof(point)))
			continue;
		/* The mount shows what is below its root only. */
		rootlen = strcmp(root, "/") == 0 ? 0 : strlen(root);
		if (pathlen < rootlen || memcmp(path, root, rootlen) != 0 ||
		    (pathlen > rootlen && path[rootlen] != '/'))
			continue;
		n = snprintf(out, size, "%s%.*s", point,
		    (int)(pathlen - rootlen), path + rootlen);
		return n > 0 && (size_t)n < size;
	}
	return false;
}

/* "0::/a/b": the path begins with a slash and goes down only. */
bool
cgroup_is_line(const char *line, size_t len)
{
	const char *path = memchr(line, ':', len), *s, *end = line + len;

	if (path == NULL || path == line || memchr(line, '\n', len) != NULL ||
	    strspn(line, "0123456789") != (size_t)(path - line))
		return false;
	path = memchr(path + 1, ':', (size_t)(end - path - 1));
	if (path == NULL || end - path < 2 || path[1] != '/')
		return false;
	for (s = path + 1; s < end; s++)
		if (end - s >= 3 && memcmp(s, "/..", 3) == 0 &&
		    (end - s == 3 || s[3] == '/'))
			return false;
	return true;
}

/* A frozen one would keep us. */
static bool
is_frozen(int dir)
{
	static const struct {
		const char *file, *frozen;
	} ways[] = { { "cgroup.events", "frozen 1" },
		{ "freezer.state", "FR" } };
	char text[256];
	ssize_t n;
	int fd;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		fd = openat(dir, ways[i].file, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n < 0 ? 0 : n] = '\0';
		if (strstr(text, ways[i].frozen) != NULL)
			return true;
	}
	return false;
}

static int
write_pid(int dir, pid_t pid)
{
	char text[16];
	int fd, n, err = 0;

	fd = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = snprintf(text, sizeof(text), "%d", (int)pid);
	if (write(fd, text, (size_t)n) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int
enter(pid_t pid, const char *path)
{
	int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), err;
	struct statfs fs;

	if (dir < 0)
		return -errno;
	if (fstatfs(dir, &fs) < 0)
		err = -errno;
	else if (fs.f_type != CGROUP_SUPER_MAGIC &&
		 fs.f_type != CGROUP2_SUPER_MAGIC)
		err = -ENOENT;
	else if (is_frozen(dir))
		err = -EBUSY;
	else
		err = write_pid(dir, pid);
	close(dir);
	return err;
}

static void
add_note(char *notes, size_t size, const char *line, int len, int err)
{
	size_t used = strlen(notes);

	snprintf(notes + used, size - used, "%scgroup %.*s not joined: %s",
	    used != 0 ? "; " : "", len, line,
	    err == -EBUSY ? "it is frozen, or has others below it"
			  : strerror(-err));
}

/* Does `text` contain this whole line? */
static bool
has_line(const char *text, const char *line, size_t len)
{
	const char *p;

	for (p = text; p != NULL; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, line, len) == 0 &&
		    (p[len] == '\n' || p[len] == '\0'))
			return true;
	}
	return false;
}

static int
read_own(const char *name, char **text)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = proc_read_fd(fd, text, NULL);
	close(fd);
	return err;
}

void
cgroup_move(pid_t pid, const char *theirs, char *notes, size_t size)
{
	char *ours = NULL, *mountinfo = NULL, dir[PATH_MAX];
	const char *line;
	size_t len;
	int err;

	err = read_own("/proc/self/cgroup", &ours);
	if (err == 0)
		err = read_own("/proc/self/mountinfo", &mountinfo);
	if (err < 0)
		add_note(notes, size, "", 0, err);
	for (line = theirs; err == 0 && *line != '\0';
	     line += len + (line[len] == '\n')) {
		int got = -ENOENT;

		len = strcspn(line, "\n");
		if (len == 0 || has_line(ours, line, len))
			continue;
		if (cgroup_directory(line, mountinfo, dir, sizeof(dir)))
			got = enter(pid, dir);
		if (got < 0)
			add_note(notes, size, line, (int)len, got);
	}
	free(ours);
	free(mountinfo);
}

void
snap_cgroup_join(const char *theirs, char *notes, size_t size)
{
	cgroup_move(0, theirs, notes, size);
}
