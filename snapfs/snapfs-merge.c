/*
 * snapfs-merge.c - the program: of an increment and its parents a whole image.
 */
#include "snap.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MORE_MAX 64

static const char usage[] =
    "usage: snapfs-merge [-p DIRECTORY]... -o IMAGE INCREMENT\n"
    "\n"
    "    -o, --output IMAGE       the directory to make\n"
    "    -p, --parent DIRECTORY   a parent, or where parents are\n"
    "\n"
    "See snapfs-merge(1).\n";

static int
open_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* What was written so far is no image and of no use. */
static void
remove_tree(int parent, const char *name)
{
	int fd = openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, e->d_name, 0) < 0)
			remove_tree(fd, e->d_name);
	}
	if (dir != NULL)
		closedir(dir);
	unlinkat(parent, name, AT_REMOVEDIR);
}

/*
 * Made under another name: whoever sees IMAGE sees all of it, also if we are
 * killed.
 */
static int
merge(const char *increment, const int *more, size_t nmore, const char *image)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	int dir = open_directory(increment), out, rc;
	char *part;

	if (cx == NULL || asprintf(&part, "%s.part", image) < 0)
		errx(1, "%s", strerror(ENOMEM));
	if (access(image, F_OK) == 0)
		errx(1, "%s: %s", image, strerror(EEXIST));
	if (mkdir(part, 0700) < 0)
		err(1, "%s", part);
	out = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = out < 0 ? -1 : snap_merge(cx, dir, more, nmore, out);
	if (out < 0)
		warn("%s", part);
	else if (rc < 0)
		warnx("%s: %s", increment, snap_error(cx));
	else if (rename(part, image) < 0) {
		warn("%s", image);
		rc = -1;
	}
	if (rc < 0)
		remove_tree(AT_FDCWD, part);
	snap_ctx_free(cx);
	free(part);
	return rc < 0;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "parent", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *image = NULL;
	int more[MORE_MAX];
	size_t nmore = 0;
	int c;

	while ((c = getopt_long(argc, argv, "o:p:h", options, NULL)) != -1) {
		switch (c) {
		case 'o':
			image = optarg;
			break;
		case 'p':
			if (nmore == MORE_MAX)
				errx(2, "too many directories");
			more[nmore++] = open_directory(optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (argc - optind != 1 || image == NULL) {
		fputs(usage, stderr);
		return 2;
	}
	return merge(argv[optind], more, nmore, image);
}
