#include "contents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_MEMORY (64ull << 20) /* what one checkpoint may keep in memfds */
#define CHUNK (256ul << 10)
#define COPY_MAX (64ull << 20)

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

/* What is to be copied, and how much of it was. */
struct copy {
	int dst, src;
	const struct copytime *time;
	uint64_t size, done;
};

static int
copied(struct copy *c, uint64_t n)
{
	/* Of a file system that compresses, more may come than it said. */
	c->done += n;
	if (c->size < c->done)
		c->size = c->done;
	return copytime_check(c->time, c->done, c->size - c->done);
}

/* The data between `off` and `end` by read and write. */
static int
copy_bytes(struct copy *c, off_t off, off_t end)
{
	char *buf = malloc(CHUNK);
	int err = 0;

	if (buf == NULL)
		return -ENOMEM;
	while (err == 0 && off < end) {
		size_t want =
		    end - off < (off_t)CHUNK ? (size_t)(end - off) : CHUNK;
		ssize_t n = pread(c->src, buf, want, off);

		if (n == 0)
			break;
		if (n > 0)
			err = contents_write(
			    c->dst, buf, (size_t)n, (uint64_t)off);
		if (n < 0 && errno != EINTR)
			err = -errno;
		off += n > 0 ? n : 0;
		if (err == 0)
			err = copied(c, n > 0 ? (uint64_t)n : 0);
	}
	free(buf);
	return err;
}

/*
 * In the kernel where both are on file systems that can (there, blocks may
 * even be shared), else by hand.
 */
static int
copy_range(struct copy *c, off_t off, off_t end)
{
	int err = 0;

	while (err == 0 && off < end) {
		off_t in = off, out = off;
		uint64_t left = (uint64_t)(end - off);
		ssize_t n = copy_file_range(c->src, &in, c->dst, &out,
		    left < COPY_MAX ? left : COPY_MAX, 0);

		if (n < 0 && errno == EINTR)
			continue;
		/* 0 may be the end, or a file system that cannot say no. */
		if (n <= 0)
			return copy_bytes(c, off, end);
		off += n;
		err = copied(c, (uint64_t)n);
	}
	return err;
}

/* Not its holes: how many bytes there are, so as to see how long it takes. */
static uint64_t
data_size(int fd, uint64_t size)
{
	struct stat st;
	uint64_t data;

	if (fstat(fd, &st) != 0)
		return size;
	data = (uint64_t)st.st_blocks * 512;
	return data < size ? data : size;
}

int
contents_copy(int dst, int src, uint64_t size, const struct copytime *time)
{
	struct copy c = { .dst = dst, .src = src, .time = time };
	off_t end = (off_t)size, data, hole = 0;
	int err;

	if (end < 0)
		return -EFBIG;
	if (ftruncate(dst, end) != 0)
		return -errno;
	c.size = data_size(src, size);
	while (hole < end) {
		data = lseek(src, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0) /* knows no holes: all of it is data */
			return copy_range(&c, hole, end);
		hole = lseek(src, data, SEEK_HOLE);
		if (hole < 0 || hole > end)
			hole = end;
		if (data >= hole)
			return 0;
		err = copy_range(&c, data, hole);
		if (err != 0)
			return err;
	}
	return 0;
}
