#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"

#define CHUNK (256u << 10) /* stays in the cache between read and write */

uint32_t
shared_find(const struct process *p, const struct stat *st)
{
	for (size_t i = 0; i < p->ncontents; i++) {
		const struct content *c = &p->contents[i];

		if (c->ino == st->st_ino && c->dev == st->st_dev && c->ino != 0)
			return c->id;
	}
	return 0;
}

static int
copy_extent(int from, int to, off_t at, off_t end, char *buf)
{
	while (at < end) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = pread(from, buf, want, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) /* cut by another process meanwhile */
			return 0;
		for (ssize_t done = 0, w; done < n; done += w) {
			w = pwrite(
			    to, buf + done, (size_t)(n - done), at + done);
			if (w < 0)
				return -errno;
		}
		at += n;
	}
	return 0;
}

/* Where there is no SEEK_DATA the whole file is one extent. */
static int
copy_sparse(int from, int to, off_t size)
{
	off_t at = 0, end;
	char *buf;
	int err = 0;

	buf = malloc(CHUNK);
	if (buf == NULL)
		return -ENOMEM;
	while (err == 0 && at < size) {
		at = lseek(from, at, SEEK_DATA);
		if (at < 0 || at >= size) {
			err = at < 0 && errno != ENXIO ? -errno : 0;
			break;
		}
		end = lseek(from, at, SEEK_HOLE);
		if (end <= at || end > size)
			end = size;
		err = copy_extent(from, to, at, end, buf);
		at = end;
	}
	free(buf);
	return err;
}

static int
copy_to_memfd(int from, off_t size)
{
	int to, err;

	to = memfd_create("snapfs-content", MFD_CLOEXEC);
	if (to < 0)
		return -errno;
	err = ftruncate(to, size) < 0 ? -errno : copy_sparse(from, to, size);
	if (err < 0) {
		close(to);
		return err;
	}
	return to;
}

static int
add(struct process *p, int fd, const struct stat *st)
{
	int id;

	id = process_add_content(p, fd, (uint64_t)st->st_size);
	if (id > 0) {
		p->contents[p->ncontents - 1].dev = st->st_dev;
		p->contents[p->ncontents - 1].ino = st->st_ino;
	}
	return id;
}

int
shared_collect(struct snap_ctx *cx, struct process *p, int fd)
{
	struct stat st;
	uint32_t id;
	int copy;

	if (fstat(fd, &st) < 0)
		return snap_fail(cx, -errno,
		    "stat of contents to be copied: %s", strerror(errno));
	id = shared_find(p, &st);
	if (id != 0)
		return (int)id;
	copy = copy_to_memfd(fd, st.st_size);
	if (copy < 0)
		return snap_fail(cx, copy, "copying %lld bytes of contents: %s",
		    (long long)st.st_size, strerror(-copy));
	return add(p, copy, &st);
}

int
shared_keep(struct snap_ctx *cx, struct process *p, int fd)
{
	struct stat st;
	uint32_t id;

	if (fstat(fd, &st) < 0) {
		int err = -errno;

		close(fd);
		return snap_fail(
		    cx, err, "stat of contents to be kept: %s", strerror(-err));
	}
	id = shared_find(p, &st);
	if (id != 0) {
		close(fd);
		return (int)id;
	}
	return add(p, fd, &st);
}
