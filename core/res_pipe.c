/*
 * res_pipe.c - pipes that begin and end in the process, and FIFOs, with the bytes
 * that nobody has read yet.
 *
 * Whether a process outside the tree holds an end as well cannot be known
 * without a search of all processes; what can is whether the tree's descriptors
 * reach both ends, or else that there is nobody at the other (a reader that
 * would read the end of file, a writer that would get SIGPIPE).  Anything else
 * begins or ends outside: a pipe cannot be found again then, but a FIFO can, by
 * its name, and as long as somebody has it open the kernel keeps its bytes.
 *
 * The unread bytes are seen without being read: tee(2) into a pipe of our own
 * leaves the original as it is.  In packet mode (O_DIRECT) the lengths of the
 * packets are kept with them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "fdkv.h"
#include "res.h"
#include "shared.h"

#define PIPE_MAX (1u << 31)

static bool
pipe_match(const struct fd_probe *q)
{
	return S_ISFIFO(q->st.st_mode) && strncmp(q->target, "pipe:[", 6) == 0;
}

static bool
fifo_match(const struct fd_probe *q)
{
	return S_ISFIFO(q->st.st_mode) && q->target[0] == '/';
}

/* ---- a checkpoint ---- */

/* 1: the other end is outside; 0; or an error with a sentence. */
static int
ends_outside(struct snap_ctx *cx, const struct fd_probe *q)
{
	struct pollfd pfd = { .events = POLLIN | POLLOUT };
	int n;

	if (q->reader && q->writer)
		return 0;
	pfd.fd = resource_getfd(cx, q);
	if (pfd.fd < 0)
		return pfd.fd;
	n = poll(&pfd, 1, 0);
	close(pfd.fd);
	return n < 0 || (pfd.revents & (q->reader ? POLLHUP : POLLERR)) == 0;
}

static int
check_ends(struct snap_ctx *cx, const struct fd_probe *q, struct openfile *f)
{
	int outside = ends_outside(cx, q);

	if (outside <= 0)
		return outside;
	if (fifo_match(q))
		return openfile_put(f, "outside", "1");
	return snap_fail(cx, -ENOTSUP,
	    "one end of a pipe (%s), whose other end is in another process",
	    q->target);
}

/*
 * Move all bytes of our pipe `from` into the file `to`; each read ends where a
 * packet does.
 */
static int
drain(int from, int to, uint64_t total, bool packets, struct openfile *f)
{
	char *buf = malloc(total);
	uint64_t at = 0;
	int err = 0;

	if (buf == NULL)
		return -ENOMEM;
	while (err == 0 && at < total) {
		ssize_t n = read(from, buf, total - at);

		if (n <= 0 || pwrite(to, buf, (size_t)n, (off_t)at) != n) {
			err = n == 0 ? -EIO : -errno;
			break;
		}
		at += (uint64_t)n;
		if (packets)
			err = openfile_put(f, "packet", "%zd", n);
	}
	free(buf);
	return err;
}

static int
copy_unread(
    const struct fd_probe *q, struct process *p, int fd, struct openfile *f)
{
	const uint64_t total = (uint64_t)q->unread;
	int mine[2], to, err = 0;
	struct content *c;

	if (pipe2(mine, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	to = contents_open(p, total);
	if (to < 0)
		err = to;
	else if (fcntl(mine[1], F_SETPIPE_SZ, q->pipe_size) < 0)
		err = -errno;
	else if (tee(fd, mine[1], total, SPLICE_F_NONBLOCK) != (ssize_t)total)
		err = -EIO;
	else
		err = drain(
		    mine[0], to, total, (q->group_flags & O_DIRECT) != 0, f);
	close(mine[0]);
	close(mine[1]);
	if (err != 0) {
		if (to >= 0)
			close(to);
		return err;
	}
	err = process_add_content(p, to, total);
	if (err < 0)
		return err;
	c = &p->contents[p->ncontents - 1];
	c->dev = q->st.st_dev;
	c->ino = q->st.st_ino;
	return openfile_put(f, "content", "%u", c->id);
}

/* The first reader keeps them; without a reader there is nothing to read. */
static int
keep_unread(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd, err;

	if (q->unread == 0 || (q->flags & O_ACCMODE) == O_WRONLY ||
	    shared_known(p, &q->st) != 0)
		return 0;
	fd = resource_getfd(cx, q);
	if (fd < 0)
		return fd;
	err = copy_unread(q, p, fd, f);
	close(fd);
	if (err == 0 || err == -ENOMEM)
		return err;
	return snap_fail(cx, -ENOTSUP,
	    "a pipe with %d unread bytes that could not be copied: %s",
	    q->unread, strerror(-err));
}

static int
pipe_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int err;

	if (fifo_match(q) && !resource_named(q))
		return snap_fail(cx, -ENOTSUP,
		    "the FIFO %s, which was removed or replaced", q->target);
	if (resource_put_object(f, q) != 0 ||
	    openfile_put(f, "pipe-size", "%d", q->pipe_size) != 0)
		return -ENOMEM;
	if (q->other != 0 && openfile_put(f, "with", "%d", (int)q->other) != 0)
		return -ENOMEM;
	err = check_ends(cx, q, f);
	return err != 0 ? err : keep_unread(cx, q, p, f);
}

static int
pipe_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	uint64_t sum = 0, n;
	const struct content *c;
	bool packets = false;
	int err;

	err = kv_need(cx, f, "object");
	if (err == 0)
		err = kv_need_u64(cx, f, "pipe-size", 10, PIPE_MAX);
	if (err == 0)
		err = kv_opt_u64(cx, f, "with", 10, INT_MAX);
	if (err == 0)
		err = kv_opt_content(cx, p, f);
	if (err != 0)
		return err;
	c = process_content(p, (uint32_t)kv_u64(f, "content", 10));
	if (c != NULL && c->size > kv_u64(f, "pipe-size", 10))
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: more unread bytes than the pipe can hold",
		    f->id);
	for (size_t i = 0; i < f->nkv; i++) {
		if (strcmp(f->kv[i].key, "packet") != 0)
			continue;
		packets = true;
		if (!kv_number(f->kv[i].value, 10, 4096, &n) || n == 0)
			return kv_bad(cx, f, "packet");
		sum += n;
	}
	if (packets && (c == NULL || sum != c->size))
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: the packets are not the contents", f->id);
	return 0;
}

static int
fifo_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	int err;

	if (f->target[0] != '/')
		return snap_fail(
		    cx, -EBADMSG, "fd/%u: not an absolute path", f->id);
	err = kv_opt_u64(cx, f, "outside", 10, 1);
	return err == 0 ? pipe_check(cx, p, f) : err;
}

/* ---- a restore ---- */

/* Which file of the ring has the unread bytes, if any. */
static const struct openfile *
unread_of(const struct fd_restore *r, uint32_t i)
{
	uint32_t k = i;

	do {
		if (openfile_get(&r->p->files[k], "content") != NULL)
			return &r->p->files[k];
		k = r->next[k];
	} while (k != i);
	return NULL;
}

static int
write_piece(int fd, const char *buf, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, buf, n);

		if (w < 0)
			return -errno;
		buf += w;
		n -= (size_t)w;
	}
	return 0;
}

/* `fd` does not block: what does not fit is an error. */
static int
refill(const struct openfile *f, const struct content *c, int fd)
{
	char *buf = malloc(c->size + 1);
	size_t at = 0;
	bool packets = false;
	int err = 0;

	if (buf == NULL)
		return -ENOMEM;
	if (pread(c->fd, buf, c->size, 0) != (ssize_t)c->size)
		err = -EBADMSG;
	for (size_t i = 0; err == 0 && i < f->nkv; i++) {
		uint64_t n;

		if (strcmp(f->kv[i].key, "packet") != 0 ||
		    !kv_number(f->kv[i].value, 10, c->size - at, &n))
			continue;
		if (!packets && fcntl(fd, F_SETFL, O_DIRECT | O_NONBLOCK) != 0)
			err = -errno;
		packets = true;
		if (err == 0)
			err = write_piece(fd, buf + at, n);
		at += n;
	}
	if (err == 0 && !packets)
		err = write_piece(fd, buf, c->size);
	free(buf);
	return err;
}

/*
 * The size of the pipe and what is in it, through a descriptor that writes.
 * A large pipe may be beyond what the restoring user may have; then it is as
 * large as it gets, as long as its bytes fit.
 */
static int
set_up(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	const struct openfile *u = unread_of(r, resource_index(r, f));
	int size = (int)kv_u64(f, "pipe-size", 10), err = 0;
	const struct content *c;

	if (fcntl(fd, F_GETPIPE_SZ) != size &&
	    fcntl(fd, F_SETPIPE_SZ, size) < 0)
		resource_note(r, "fd %u: a pipe of %d bytes: %s", f->id, size,
		    strerror(errno));
	if (u != NULL) {
		c = process_content(r->p, (uint32_t)kv_u64(u, "content", 10));
		err = c == NULL ? -EBADMSG : refill(u, c, fd);
	}
	return err == 0 ? 0
			: snap_fail(cx, err, "fd %u: its unread bytes: %s",
			      f->id, strerror(-err));
}

/* The first of the ring that has the other end; nfiles if there is none. */
static uint32_t
other_end(const struct fd_restore *r, uint32_t i)
{
	const struct openfile *v = r->p->files;

	for (uint32_t k = r->next[i]; k != i; k = r->next[k])
		if ((v[k].flags & O_ACCMODE) != (v[i].flags & O_ACCMODE) &&
		    (v[k].flags & O_ACCMODE) != O_RDWR)
			return k;
	return (uint32_t)r->p->nfiles;
}

/*
 * Made once, by the first file of the ring, which puts the other end straight
 * in its place; any further file opens one of the two again.
 */
static int
make_pipe(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const uint32_t i = resource_index(r, f), k = other_end(r, i);
	const int mode = (int)(f->flags & O_ACCMODE);
	int end[2], own, err;

	if (pipe2(end, O_CLOEXEC | O_NONBLOCK) != 0)
		return snap_fail(
		    cx, -errno, "fd %u: pipe: %s", f->id, strerror(errno));
	err = set_up(cx, r, f, end[1]);
	if (err == 0 && k < r->p->nfiles &&
	    dup3(end[mode == O_RDONLY], r->base + (int)k, O_CLOEXEC) < 0)
		err = snap_fail(cx, -errno, "fd %u: %s", r->p->files[k].id,
		    strerror(errno));
	own = err;
	if (err == 0 && mode == O_RDWR)
		own = resource_open_again(cx, r, f, end[0]);
	else if (err == 0)
		own = dup(end[mode == O_WRONLY]);
	close(end[0]);
	close(end[1]);
	if (own < 0)
		return err == 0 ? snap_fail(cx, -EMFILE, "fd %u: pipe", f->id)
				: err;
	return resource_set_flags(cx, f, own);
}

static int
pipe_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const uint32_t i = resource_index(r, f);
	const int place = r->base + (int)i;

	if (r->first[i] == i)
		return make_pipe(cx, r, f);
	if (fcntl(place, F_GETFD) >= 0)
		return resource_set_flags(cx, f, place);
	return resource_open_again(cx, r, f, r->base + (int)r->first[i]);
}

/* Are the first bytes of those that wait what the image has? */
static bool
begins_with(const struct content *c, int fd, size_t left)
{
	char *want = malloc(c->size + 1), *is = malloc(c->size + 1);
	int mine[2] = { -1, -1 };
	bool same;

	same =
	    want != NULL && is != NULL && left >= c->size &&
	    pread(c->fd, want, c->size, 0) == (ssize_t)c->size &&
	    pipe2(mine, O_CLOEXEC | O_NONBLOCK) == 0 &&
	    fcntl(mine[1], F_SETPIPE_SZ, fcntl(fd, F_GETPIPE_SZ)) > 0 &&
	    tee(fd, mine[1], c->size, SPLICE_F_NONBLOCK) == (ssize_t)c->size &&
	    read(mine[0], is, c->size) == (ssize_t)c->size &&
	    memcmp(want, is, c->size) == 0;
	free(want);
	free(is);
	if (mine[0] >= 0) {
		close(mine[0]);
		close(mine[1]);
	}
	return same;
}

/*
 * Bytes wait in it, so somebody has it open.  If that was so at the checkpoint
 * they are what waited then, and what was written since.  Where the tree has
 * both ends it may have written some of them itself since then: they must be
 * what waited, and no more; and they are not for a clone, whose original may
 * have it open.
 */
static int
go_on(struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f,
    int fd, size_t left)
{
	const struct openfile *u = unread_of(r, resource_index(r, f));
	const struct content *c = NULL;

	if (u != NULL)
		c = process_content(r->p, (uint32_t)kv_u64(u, "content", 10));
	if (openfile_get(f, "outside") == NULL &&
	    (!r->numbers || c == NULL || c->size != left ||
		!begins_with(c, fd, left)))
		return snap_fail(cx, -EBUSY,
		    "fd %u: %s: another process uses this FIFO, and what waits "
		    "in it may not be for this one",
		    f->id, f->target);
	if (c == NULL || begins_with(c, fd, left))
		return 0;
	return snap_fail(cx, -ESTALE,
	    "fd %u: %s: bytes that waited in it have been read since, and "
	    "others wait",
	    f->id, f->target);
}

/*
 * A descriptor that reads and writes keeps either open(2) from waiting, or
 * failing, for want of the other end.
 */
static int
fifo_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const uint32_t i = resource_index(r, f);
	struct stat st;
	int both, fd, left = 0, err = 0;

	both = open(f->target, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (both < 0)
		return snap_fail(cx, -errno, "fd %u: %s: %s", f->id, f->target,
		    strerror(errno));
	if (fstat(both, &st) != 0 || !S_ISFIFO(st.st_mode))
		err = snap_fail(cx, -ESTALE,
		    "fd %u: %s: it was a FIFO and is none now", f->id,
		    f->target);
	else if (r->first[i] == i && ioctl(both, FIONREAD, &left) != 0)
		err = snap_fail(cx, -errno, "fd %u: %s: %s", f->id, f->target,
		    strerror(errno));
	else if (r->first[i] == i)
		err = left > 0 ? go_on(cx, r, f, both, (size_t)left)
			       : set_up(cx, r, f, both);
	fd = err != 0 ? err : resource_open(cx, r, f, f->target);
	close(both);
	return fd;
}

const struct resource res_pipe = {
	.name = "pipe",
	.match = pipe_match,
	.collect = pipe_collect,
	.check = pipe_check,
	.restore = pipe_restore,
};

const struct resource res_fifo = {
	.name = "fifo",
	.match = fifo_match,
	.collect = pipe_collect,
	.check = fifo_check,
	.restore = fifo_restore,
};
