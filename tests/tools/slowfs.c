/*
 * slowfs.c - a directory shown once more, read-only and slow.
 *
 *	slowfs DIR MOUNTPOINT CONTROL
 *
 * Before each read of a file called `pages', as many ms are waited as the file
 * CONTROL says at that moment; while it says "stop", until it says otherwise.
 * "error" makes reads fail.
 */
#define FUSE_USE_VERSION 312

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int root;
static const char *control;

static const char *
below(const char *path)
{
	return path[1] == '\0' ? "." : path + 1;
}

static int
slow_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	return fstatat(root, below(path), st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
								       : 0;
}

static int
slow_readlink(const char *path, char *buf, size_t size)
{
	ssize_t n = readlinkat(root, below(path), buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static int
slow_readdir(const char *path, void *buf, fuse_fill_dir_t filler, off_t off,
    struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int fd = openat(root, below(path), O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	(void)off;
	(void)fi;
	(void)flags;
	if (d == NULL)
		return -errno;
	while ((de = readdir(d)) != NULL)
		filler(buf, de->d_name, NULL, 0, 0);
	closedir(d);
	return 0;
}

static int
slow_open(const char *path, struct fuse_file_info *fi)
{
	int fd = openat(root, below(path), O_RDONLY);

	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	fi->direct_io = 1;
	return 0;
}

static int
wait_as_told(void)
{
	struct timespec t = { 0, 5000000 };
	char word[16];
	ssize_t n;
	int fd;

	for (;;) {
		fd = open(control, O_RDONLY);
		n = fd < 0 ? -1 : read(fd, word, sizeof(word) - 1);
		if (fd >= 0)
			close(fd);
		word[n < 0 ? 0 : n] = '\0';
		if (strncmp(word, "error", 5) == 0)
			return -EIO;
		if (strncmp(word, "stop", 4) != 0)
			break;
		nanosleep(&t, NULL);
	}
	t.tv_sec = atoi(word) / 1000;
	t.tv_nsec = atoi(word) % 1000 * 1000000l;
	nanosleep(&t, NULL);
	return 0;
}

static int
slow_read(const char *path, char *buf, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	ssize_t n;

	if (strcmp(strrchr(path, '/'), "/pages") == 0 && wait_as_told() < 0)
		return -EIO;
	n = pread((int)fi->fh, buf, size, off);
	return n < 0 ? -errno : (int)n;
}

static int
slow_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return close((int)fi->fh);
}

static const struct fuse_operations ops = {
	.getattr = slow_getattr,
	.readlink = slow_readlink,
	.readdir = slow_readdir,
	.open = slow_open,
	.read = slow_read,
	.release = slow_release,
};

int
main(int argc, char **argv)
{
	char *args[] = { argv[0], (char[]){ "-f" }, NULL, NULL };

	if (argc != 4)
		errx(2, "usage: slowfs DIR MOUNTPOINT CONTROL");
	root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		err(1, "%s", argv[1]);
	control = argv[3];
	args[2] = argv[2];
	return fuse_main(3, args, &ops, NULL);
}
