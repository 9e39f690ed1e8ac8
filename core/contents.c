#include "contents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_MEMORY (64ull << 20) /* what one checkpoint may keep in memfds */
#define CHUNK (256ul << 10)
#define COPY_MAX (1ull << 30)

int
contents_open(const struct process *p, uint64_t size)
{
	uint64_t held = 0;
	int fd;

	for (size_t i = 0; i < p->ncontents; i++)
		held += p->contents[i].size;
	if (size <= IN_MEMORY && held <= IN_MEMORY - size) {
		fd = memfd_create("snapfs-contents", MFD_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int
contents_write(int fd, const char *buf, size_t n, uint64_t off)
{
	while (n > 0) {
		ssize_t w = pwrite(fd, buf, n, (off_t)off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -ENOSPC;
		buf += w;
		n -= (size_t)w;
		off += (uint64_t)w;
	}
	return 0;
}

/* The data between `off` and `end` by read and write. */
static int
copy_bytes(int dst, int src, off_t off, off_t end)
{
	char *buf = malloc(CHUNK);
	int err = 0;

	if (buf == NULL)
		return -ENOMEM;
	while (err == 0 && off < end) {
		size_t want =
		    end - off < (off_t)CHUNK ? (size_t)(end - off) : CHUNK;
		ssize_t n = pread(src, buf, want, off);

		if (n == 0)
			break;
		if (n > 0)
			err =
			    contents_write(dst, buf, (size_t)n, (uint64_t)off);
		if (n < 0 && errno != EINTR)
			err = -errno;
		off += n > 0 ? n : 0;
	}
	free(buf);
	return err;
}

/*
 * In the kernel where both are on file systems that can (there, blocks may
 * even be shared), else by hand.
 */
static int
copy_range(int dst, int src, off_t off, off_t end)
{
	while (off < end) {
		off_t in = off, out = off;
		uint64_t left = (uint64_t)(end - off);
		ssize_t n = copy_file_range(
		    src, &in, dst, &out, left < COPY_MAX ? left : COPY_MAX, 0);

		if (n < 0 && errno == EINTR)
			continue;
		/* 0 may be the end, or a file system that cannot say no. */
		if (n <= 0)
			return copy_bytes(dst, src, off, end);
		off += n;
	}
	return 0;
}

int
contents_copy(int dst, int src, uint64_t size)
{
	off_t end = (off_t)size, data, hole = 0;
	int err;

	if (end < 0)
		return -EFBIG;
	if (ftruncate(dst, end) != 0)
		return -errno;
	while (hole < end) {
		data = lseek(src, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0) /* knows no holes: all of it is data */
			return copy_range(dst, src, hole, end);
		hole = lseek(src, data, SEEK_HOLE);
		if (hole < 0 || hole > end)
			hole = end;
		if (data >= hole)
			return 0;
		err = copy_range(dst, src, data, hole);
		if (err != 0)
			return err;
	}
	return 0;
}
