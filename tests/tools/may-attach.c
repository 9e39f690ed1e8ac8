/*
 * may-attach - does snapfs answer what the kernel answers?
 *
 *	may-attach [-s] MNT PID[=INNER]...
 *
 * For each process the kernel is asked by PTRACE_SEIZE, with the rights that
 * this program was started with, and snapfs by each operation that there is on
 * a process: listing, stat(2), opening the directory, a file, a link, one
 * below, and mkdir(2) for a checkpoint with a name.  INNER is its number in
 * this program's pid namespace, 0 if it has none.  A line for each:
 *
 *	PID kernel yes list yes stat yes ...
 *
 * Exit status: 0 all the same, 1 not.  With -s snapfs may say no where the
 * kernel says yes.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *mnt;
static bool stricter;

/* In a child, with whose end the process is let go. */
static bool
kernel(pid_t pid)
{
	int status = 0;
	pid_t child;

	if (pid == 0)
		return false;
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 ? 0 : 1);
	if (child < 0 || waitpid(child, &status, 0) != child)
		err(2, "fork");
	return status == 0;
}

/* What failed: because one may not, or it is not there for us? */
static bool
denied(const char *pid)
{
	if (errno != EACCES && errno != EPERM && errno != ENOENT)
		err(2, "%s", pid);
	return false;
}

static bool
list(const char *pid)
{
	struct dirent *e;
	bool found = false;
	DIR *d = opendir(mnt);

	if (d == NULL)
		err(2, "%s", mnt);
	while ((e = readdir(d)) != NULL)
		found |= strcmp(e->d_name, pid) == 0;
	closedir(d);
	return found;
}

static const char *
in(const char *pid, const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s%s", mnt, pid, name);
	return path;
}

static bool
stats(const char *pid)
{
	struct stat st;

	return stat(in(pid, ""), &st) == 0 || denied(pid);
}

static bool
opens(const char *pid, const char *name)
{
	char byte;
	int fd = open(in(pid, name), O_RDONLY);
	bool can;

	if (fd < 0)
		return denied(pid);
	can = read(fd, &byte, 1) >= 0 || errno == EISDIR || denied(pid);
	close(fd);
	return can;
}

static bool
opens_dir(const char *pid)
{
	return opens(pid, "/");
}

static bool
opens_file(const char *pid)
{
	return opens(pid, "/maps");
}

static bool
opens_pages(const char *pid)
{
	return opens(pid, "/pages");
}

static bool
opens_below(const char *pid)
{
	return opens(pid, "/fdinfo/0");
}

static bool
reads_link(const char *pid)
{
	char to[4096];

	return readlink(in(pid, "/cwd"), to, sizeof(to)) > 0 || denied(pid);
}

static bool
makes(const char *pid)
{
	char name[64];
	bool can;

	snprintf(name, sizeof(name), "@may-attach-%d", getpid());
	can = mkdir(in(pid, name), 0700) == 0 || denied(pid);
	if (can && rmdir(in(pid, name)) < 0)
		err(2, "rmdir");
	return can;
}

static const struct {
	const char *name;
	bool (*may)(const char *pid);
} ways[] = {
	{ "list", list },
	{ "stat", stats },
	{ "dir", opens_dir },
	{ "file", opens_file },
	{ "pages", opens_pages },
	{ "below", opens_below },
	{ "link", reads_link },
	{ "mkdir", makes },
};

static bool
compare(char *arg)
{
	char *inner = strchr(arg, '=');
	bool yes, may, same = true;

	if (inner != NULL)
		*inner++ = '\0';
	yes = kernel(atoi(inner != NULL ? inner : arg));
	printf("%s kernel %s", arg, yes ? "yes" : "no");
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		may = ways[i].may(arg);
		same &= may == yes || (stricter && yes);
		printf(" %s %s", ways[i].name, may ? "yes" : "no");
	}
	printf("%s\n", same ? "" : " DIFFERENT");
	return same;
}

int
main(int argc, char **argv)
{
	bool same = true;

	if (argc > 1 && strcmp(argv[1], "-s") == 0) {
		stricter = true;
		argv++;
		argc--;
	}
	if (argc < 3)
		errx(2, "usage: may-attach [-s] MNT PID[=INNER]...");
	mnt = argv[1];
	for (int i = 2; i < argc; i++)
		same &= compare(argv[i]);
	return same ? 0 : 1;
}
