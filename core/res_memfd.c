/*
 * res_memfd.c - memfd_create(2): files in memory, with their seals.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20 /* Linux 6.3 */
#endif
#define PREFIX "/memfd:"
#define SUFFIX " (deleted)"
#define NAME_LEN 249 /* what the kernel allows */
#define KNOWN_SEALS \
	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | \
	    F_SEAL_FUTURE_WRITE | F_SEAL_EXEC)

static bool
memfd_match(const struct fd_probe *q)
{
	return S_ISREG(q->st.st_mode) && q->st.st_nlink == 0 &&
	       strncmp(q->target, PREFIX, strlen(PREFIX)) == 0;
}

static int
memfd_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd, seals;

	fd = resource_getfd(cx, q);
	if (fd < 0)
		return fd;
	seals = fcntl(fd, F_GET_SEALS);
	close(fd);
	if (seals < 0 || (seals & ~KNOWN_SEALS) != 0)
		return snap_fail(cx, -ENOTSUP,
		    "a memfd whose seals this program does not know");
	if (resource_put_object(f, q) != 0 ||
	    openfile_put(f, "seals", "%x", seals) != 0)
		return -ENOMEM;
	return res_keep_contents(cx, q, p, f);
}

static int
memfd_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	size_t n = strlen(f->target);
	int err;

	if (strncmp(f->target, PREFIX, strlen(PREFIX)) != 0 ||
	    n > strlen(PREFIX) + NAME_LEN + strlen(SUFFIX))
		return snap_fail(cx, -EBADMSG, "fd/%u: no memfd", f->id);
	err = kv_need_u64(cx, f, "seals", 16, KNOWN_SEALS);
	if (err == 0)
		err = kv_need_u64(cx, f, "mode", 8, 07777);
	if (err == 0)
		err = kv_need(cx, f, "content");
	return err != 0 ? err : kv_opt_content(cx, p, f);
}

static int
make(struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	char name[NAME_LEN + sizeof(SUFFIX)];
	size_t n = strlen(f->target + strlen(PREFIX));
	int fd, err;

	memcpy(name, f->target + strlen(PREFIX), n + 1);
	if (n >= strlen(SUFFIX) &&
	    strcmp(name + n - strlen(SUFFIX), SUFFIX) == 0)
		name[n - strlen(SUFFIX)] = '\0';
	/* Of what may be sealed; F_SEAL_SEAL itself is a seal. */
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return snap_fail(cx, -errno, "fd %u: memfd_create: %s", f->id,
		    strerror(errno));
	err = res_fill(cx, r, f, fd);
	if (err != 0) {
		close(fd);
		return err;
	}
	return fd;
}

/*
 * As it was made: a new memfd is open for reading and writing.  Whatever else
 * it was, it was opened again through /proc.
 */
static int
memfd_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const uint32_t i = resource_index(r, f);
	int made, fd;

	if (r->first[i] != i)
		fd = resource_open_again(cx, r, f, r->base + (int)r->first[i]);
	else
		fd = make(cx, r, f);
	if (fd >= 0 && r->first[i] == i && (f->flags & O_ACCMODE) != O_RDWR) {
		made = fd;
		fd = resource_open_again(cx, r, f, made);
		close(made);
	}
	if (fd >= 0)
		fd = resource_set_flags(cx, f, fd);
	return fd < 0 ? fd : resource_seek(cx, f, fd);
}

/* Seals go on a descriptor that can write: any of the ring's, or a new one. */
static int
seal(const char *path, int fd, int seals)
{
	int rw, err = 0;

	if (fcntl(fd, F_ADD_SEALS, seals) == 0)
		return 0;
	if (errno != EPERM || (fcntl(fd, F_GET_SEALS) & F_SEAL_SEAL) != 0)
		return -errno;
	rw = open(path, O_RDWR | O_CLOEXEC);
	if (rw < 0 || fcntl(rw, F_ADD_SEALS, seals) != 0)
		err = -errno;
	if (rw >= 0)
		close(rw);
	return err;
}

static int
memfd_finish(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	const uint32_t i = resource_index(r, f);
	int seals = (int)kv_u64(f, "seals", 16), err;
	char path[40];

	if (r->first[i] != i)
		return 0;
	if (fchmod(fd, (mode_t)kv_u64(f, "mode", 8)) != 0)
		return snap_fail(
		    cx, -errno, "fd %u: its mode: %s", f->id, strerror(errno));
	if (seals == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = seal(path, fd, seals);
	return err == 0 ? 0
			: snap_fail(cx, err, "fd %u: its seals: %s", f->id,
			      strerror(-err));
}

const struct resource res_memfd = {
	.name = "memfd",
	.match = memfd_match,
	.collect = memfd_collect,
	.check = memfd_check,
	.restore = memfd_restore,
	.finish = memfd_finish,
};
