#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snap.h"
#include "uapi.h"

#define EVENTS \
	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | \
	    UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP)

int
uffd_new(int dev)
{
	int fd;

	if (dev > 0)
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	else
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int
uffd_handshake(int fd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = EVENTS };

	return ioctl(fd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

/*
 * What is sent by somebody with fewer rights may be anything; a request to it
 * must not reach, say, a file system of his.
 */
int
snap_uffd_handshake(int fd)
{
	char name[64], is[64];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, is, sizeof(is) - 1);
	is[n < 0 ? 0 : n] = '\0';
	if (strcmp(is, "anon_inode:[userfaultfd]") != 0)
		return -EBADF;
	return uffd_handshake(fd);
}

int
uffd_register(int fd, uint64_t start, uint64_t len)
{
	struct uffdio_register r = { .range = { start, len },
		.mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(fd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}

/* What was done before an error is told in the request itself. */
static int64_t
outcome(int ret, int64_t done)
{
	if (ret == 0 || done > 0)
		return done;
	return -errno;
}

int64_t
uffd_copy(int fd, uint64_t dst, const void *src, uint64_t len)
{
	struct uffdio_copy c = {
		.dst = dst, .src = (uint64_t)(uintptr_t)src, .len = len
	};
	int r = ioctl(fd, UFFDIO_COPY, &c);

	return outcome(r, c.copy);
}

int64_t
uffd_zero(int fd, uint64_t dst, uint64_t len)
{
	struct uffdio_zeropage z = { .range = { dst, len } };
	int r = ioctl(fd, UFFDIO_ZEROPAGE, &z);

	return outcome(r, z.zeropage);
}

int64_t
uffd_poison(int fd, uint64_t dst, uint64_t len)
{
	struct uapi_uffdio_poison p = { .start = dst, .len = len };
	int r = ioctl(fd, UAPI_UFFDIO_POISON, &p);

	return outcome(r, p.updated);
}

void
uffd_wake(int fd, uint64_t start, uint64_t len)
{
	struct uffdio_range r = { start, len };

	ioctl(fd, UFFDIO_WAKE, &r);
}

/*
 * Of a request that cannot succeed, for nothing was registered for it, the
 * kernel says first what we want to know.
 */
int
uffd_state(int fd)
{
	struct uffdio_writeprotect w = { .range = { 0x7fff00000000, 4096 } };
	int err = ioctl(fd, UFFDIO_WRITEPROTECT, &w) < 0 ? errno : 0;

	return err == EAGAIN || err == ESRCH ? -err : 0;
}
