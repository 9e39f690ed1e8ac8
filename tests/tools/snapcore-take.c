/*
 * snapcore-take - take a checkpoint of a process without the file system.
 *
 *	snapcore-take PID DIR	write it as the directory DIR, which is made
 *	snapcore-take PID -	write nothing
 *	snapcore-take -n COUNT PID	take it COUNT times, write nothing
 *	snapcore-take -s		clear away what a killed program left
 *
 * Prints how long the process was held, in us.  SNAPCORE_VERBOSE=1 in the
 * environment shows each step; SNAPCORE_TRACK=1 keeps what it writes meanwhile.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap.h"

static void
show(void *arg, const struct snap_log_record *record)
{
	char line[2048];

	if (snap_log_text(arg, record, line, sizeof(line)) == 0)
		fprintf(stderr, "%d %s\n", record->level, line);
}

/* The path of node `n` below the directory, in `buf`. */
static void
path_of(struct snap_checkpoint *cp, uint32_t n, char *buf, size_t size)
{
	const struct snap_node *node = snap_checkpoint_node(cp, n);
	size_t len;

	if (n == 0) {
		snprintf(buf, size, ".");
		return;
	}
	path_of(cp, node->parent, buf, size);
	len = strlen(buf);
	snprintf(buf + len, size - len, "/%s", node->name);
}

static void
write_file(struct snap_checkpoint *cp, int dir, uint32_t n, const char *path)
{
	static char buf[1 << 20];
	uint64_t off = 0;
	ssize_t got;
	int fd;

	fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL, 0400);
	if (fd < 0)
		err(1, "%s", path);
	while ((got = snap_checkpoint_read(cp, n, buf, sizeof(buf), off)) > 0) {
		if (write(fd, buf, (size_t)got) != got)
			err(1, "%s", path);
		off += (uint64_t)got;
	}
	if (got < 0)
		errx(1, "%s: %s", path, strerror((int)-got));
	if (off != snap_checkpoint_node(cp, n)->size)
		errx(1, "%s: %llu bytes, %llu announced", path,
		    (unsigned long long)off,
		    (unsigned long long)snap_checkpoint_node(cp, n)->size);
	close(fd);
}

static void
write_tree(struct snap_checkpoint *cp, const char *name)
{
	char path[4096], target[4097];
	ssize_t len;
	int dir;

	if (mkdir(name, 0700) < 0)
		err(1, "%s", name);
	dir = open(name, O_RDONLY | O_DIRECTORY);
	for (uint32_t n = 1; n < snap_checkpoint_nodes(cp); n++) {
		const struct snap_node *node = snap_checkpoint_node(cp, n);

		path_of(cp, n, path, sizeof(path));
		if (node->type == SNAP_FILE) {
			write_file(cp, dir, n, path);
		} else if (node->type == SNAP_DIR) {
			if (mkdirat(dir, path, 0700) < 0)
				err(1, "%s", path);
		} else {
			len = snap_checkpoint_read(
			    cp, n, target, sizeof(target) - 1, 0);
			if (len < 0)
				errx(1, "%s: %s", path, strerror((int)-len));
			target[len] = '\0';
			if (symlinkat(target, dir, path) < 0)
				err(1, "%s", path);
		}
	}
	close(dir);
}

int
main(int argc, char **argv)
{
	struct snap_log_table table;
	struct snap_options opt = {
		.log = getenv("SNAPCORE_VERBOSE") != NULL ? show : NULL,
		.log_arg = &table,
		.log_level = SNAP_DEBUG,
	};
	struct snap_take_options take = { 0 };
	struct snap_checkpoint_info info;
	struct snap_checkpoint *cp;
	struct snap_ctx *cx;
	const char *track = getenv("SNAPCORE_TRACK");
	int count = 1;

	if (track != NULL && *track != '\0')
		take.tracker = snap_tracker_new();
	snap_log_table_own(&table);
	if (argc == 2 && strcmp(argv[1], "-s") == 0) {
		cx = snap_ctx_new(&opt);
		if (cx == NULL)
			err(1, NULL);
		snap_sweep(cx);
		snap_ctx_free(cx);
		return 0;
	}
	if (argc == 4 && strcmp(argv[1], "-n") == 0) {
		count = atoi(argv[2]);
		argv += 2;
		argc = 2;
	} else if (argc != 3) {
		errx(2, "usage: snapcore-take [-n COUNT] PID [DIR]");
	}
	while (count-- > 0) {
		cx = snap_ctx_new(&opt);
		if (cx == NULL)
			err(1, NULL);
		if (snap_checkpoint_take(cx, atoi(argv[1]), &take, &cp) != 0)
			errx(1, "%s", snap_error(cx));
		snap_checkpoint_info(cp, &info);
		printf("%llu us\n", (unsigned long long)info.frozen_us);
		if (argc == 3 && strcmp(argv[2], "-") != 0)
			write_tree(cp, argv[2]);
		snap_checkpoint_drop(cp);
		snap_ctx_free(cx);
	}
	return 0;
}
