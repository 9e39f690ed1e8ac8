/*
 * secret_make.c - secret memory at a restore: a new one, filled.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"
#include "secret.h"
#include "uapi.h"

#define PAGE 4096ull
#define WINDOW_PAGES 64 /* how much of it is mapped at a time */

static bool
is_zero(const char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Pages of zeros are not written to: they take no memory then. */
static int
fill_part(int fd, const char *buf, uint64_t off, uint64_t len)
{
	uint64_t size = WINDOW_PAGES * PAGE, base, at;
	char *to;

	for (base = 0; base < len; base += size) {
		do
			to = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, (off_t)(off + base));
		while (
		    to == MAP_FAILED && errno == EAGAIN && (size /= 2) >= PAGE);
		if (to == MAP_FAILED)
			return -errno;
		for (at = 0; at < size && base + at < len; at += PAGE)
			if (!is_zero(buf + base + at))
				memcpy(to + at, buf + base + at, PAGE);
		munmap(to, size);
	}
	return 0;
}

/* `buf` has zeros behind the end of what is read. */
static int
fill_from(int fd, int from, uint64_t off, uint64_t end, char *buf)
{
	ssize_t n;
	int err = 0;

	for (; err == 0 && off < end; off += WINDOW_PAGES * PAGE) {
		uint64_t len = WINDOW_PAGES * PAGE;

		if (end - off < len)
			len = end - off;
		n = pread(from, buf, len, (off_t)off);
		if (n != (ssize_t)len)
			return n < 0 ? -errno : -EIO;
		memset(buf + len, 0, WINDOW_PAGES * PAGE - len);
		err = fill_part(fd, buf, off, len);
	}
	return err;
}

static int
fill(int fd, int from, uint64_t size, char *buf)
{
	uint64_t end = 0, at;
	off_t data, hole;
	int err = 0;

	while (err == 0 && end < size) {
		data = lseek(from, (off_t)end, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		at = data < 0 ? end : (uint64_t)data & ~(PAGE - 1);
		hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
		end = hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole;
		err = fill_from(fd, from, at, end, buf);
	}
	return err;
}

static const char *
reason(int err)
{
	if (err == -ENOSYS)
		return "memfd_secret(2) is not there: this kernel has none, or "
		       "was started without secretmem.enable";
	if (err == -EAGAIN)
		return "secret memory is locked, and RLIMIT_MEMLOCK allows no "
		       "more of that to whoever restores it";
	return strerror(-err);
}

int
secret_make(struct snap_ctx *cx, const char *what, int from, uint64_t size)
{
	char *buf = malloc(WINDOW_PAGES * PAGE);
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC), err = 0;

	/* Its size can be set once. */
	if (fd < 0 || (size > 0 && ftruncate(fd, (off_t)size) != 0))
		err = -errno;
	if (err == 0)
		err = buf == NULL ? -ENOMEM : fill(fd, from, size, buf);
	if (buf != NULL)
		explicit_bzero(buf, WINDOW_PAGES * PAGE);
	free(buf);
	if (err == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return snap_fail(cx, err, "%s: %s", what, reason(err));
}
