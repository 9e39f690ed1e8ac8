/*
 * res_ptmx.c - the master side of a pseudo-terminal whose other side is in the
 * tree as well, or has been closed.
 *
 * The pair is made anew, with the number that it had if that is free.  What
 * was written to one side and not yet read on the other cannot be seen without
 * taking it away.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <asm/termbits.h>

#include "ctx.h"
#include "family.h"
#include "fdkv.h"
#include "res.h"

#define TTYAUX_MAJOR 5
#define PTMX_MINOR 2
#define TRIES 64 /* how far a number is looked for */
#define PTY_MAX (1u << 20)

static bool
ptmx_match(const struct fd_probe *q)
{
	return S_ISCHR(q->st.st_mode) &&
	       q->st.st_rdev == makedev(TTYAUX_MAJOR, PTMX_MINOR) &&
	       (q->flags & O_PATH) == 0;
}

/* ---- a checkpoint ---- */

static int
put_output(struct process *p, const struct fd_probe *q, int fd)
{
	char what[32];
	int unread = 0;

	if (ioctl(fd, FIONREAD, &unread) != 0 || unread == 0)
		return 0;
	snprintf(what, sizeof(what), "output of fd %d", q->fd);
	return process_unsupported(p, what,
	    "%d bytes that were written to a pseudo-terminal and not yet read "
	    "by its master cannot be seen",
	    unread);
}

/* The other side was open, and no longer is: reading gives EIO. */
static bool
is_alone(int fd)
{
	struct pollfd p = { fd, 0, 0 };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
}

static int
ptmx_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd = resource_getfd(cx, q), err, packet = 0, locked = 0;
	unsigned number;

	if (fd < 0)
		return fd;
	if (ioctl(fd, TIOCGPTN, &number) != 0)
		err = snap_fail(cx, -ENOTSUP,
		    "the master side of a pseudo terminal (%s) that does not "
		    "tell its number: %s",
		    q->target, strerror(errno));
	else
		err = openfile_put(f, "pty", "%u", number);
	(void)ioctl(fd, TIOCGPKT, &packet);
	(void)ioctl(fd, TIOCGPTLCK, &locked);
	if (err == 0)
		err = res_tty_put_mode(f, fd);
	if (err == 0 && packet != 0)
		err = openfile_put(f, "packet-mode", "1");
	if (err == 0 && locked != 0)
		err = openfile_put(f, "locked", "1");
	if (err == 0 && is_alone(fd))
		err = openfile_put(f, "alone", "1");
	if (err == 0)
		err = put_output(p, q, fd);
	close(fd);
	return err;
}

static int
ptmx_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	int err = kv_need_u64(cx, f, "pty", 10, PTY_MAX);

	if (err == 0)
		err = kv_opt_u64(cx, f, "packet-mode", 10, 1);
	if (err == 0)
		err = kv_opt_u64(cx, f, "locked", 10, 1);
	if (err == 0)
		err = kv_opt_u64(cx, f, "alone", 10, 1);
	if (err == 0 && res_ptmx_find(p, kv_u64(f, "pty", 10)) != f)
		err = snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: another master has its `pty'", f->id);
	return err == 0 ? res_tty_check_mode(cx, f) : err;
}

const struct openfile *
res_ptmx_find(const struct process *p, uint64_t number)
{
	for (size_t i = 0; i < p->nfiles; i++)
		if (strcmp(p->files[i].kind, "ptmx") == 0 &&
		    !resource_edited(&p->files[i]) &&
		    kv_u64(&p->files[i], "pty", 10) == number)
			return &p->files[i];
	return NULL;
}

static bool
has_terminal(const struct process *p, uint64_t number)
{
	uint64_t n;

	for (size_t i = 0; i < p->nfiles; i++)
		if (strcmp(p->files[i].kind, "tty") == 0 &&
		    res_tty_number(&p->files[i], &n) && n == number)
			return true;
	return false;
}

bool
res_ptmx_outside(const struct process *p, const struct openfile *f)
{
	const uint64_t number = kv_u64(f, "pty", 10);
	bool inside =
	    openfile_get(f, "alone") != NULL || has_terminal(p, number);

	for (size_t i = 0; p->tree != NULL && !inside && i < p->tree->n; i++)
		inside = has_terminal(p->tree->v[i], number);
	return !inside;
}

bool
res_ptmx_in_tree(const struct process *p, uint64_t number)
{
	bool inside = res_ptmx_find(p, number) != NULL;

	for (size_t i = 0; p->tree != NULL && !inside && i < p->tree->n; i++)
		inside = res_ptmx_find(p->tree->v[i], number) != NULL;
	return inside;
}

/* ---- a restore ---- */

/* The lowest free number is given, so take those below it, and let them go. */
static int
open_number(unsigned want)
{
	int held[TRIES], n = 0, fd;
	unsigned got;

	for (;;) {
		fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (fd < 0 || n == TRIES || ioctl(fd, TIOCGPTN, &got) != 0 ||
		    got >= want)
			break;
		held[n++] = fd;
	}
	while (n > 0)
		close(held[--n]);
	return fd < 0 ? -errno : fd;
}

static void
close_other(int fd)
{
	int other = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (other >= 0)
		close(other);
}

static int
make(struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const unsigned want = (unsigned)kv_u64(f, "pty", 10);
	int fd, locked = openfile_get(f, "locked") != NULL;
	int packet = openfile_get(f, "packet-mode") != NULL, open = 0;
	unsigned got = 0;

	fd = open_number(want);
	if (fd < 0)
		return snap_fail(
		    cx, fd, "fd %u: /dev/ptmx: %s", f->id, strerror(-fd));
	/* In packet mode the master would be told of a change of mode. */
	res_tty_set_mode(r, f, fd);
	if (ioctl(fd, TIOCSPTLCK, &open) != 0 ||
	    ioctl(fd, TIOCGPTN, &got) != 0 ||
	    ioctl(fd, TIOCPKT, &packet) != 0) {
		int err = -errno;

		close(fd);
		return snap_fail(cx, err, "fd %u: a pseudo terminal: %s", f->id,
		    strerror(-err));
	}
	if (got != want)
		resource_note(r, "fd %u: its terminal is /dev/pts/%u, not %u",
		    f->id, got, want);
	if (openfile_get(f, "alone") != NULL)
		close_other(fd);
	if (locked)
		(void)ioctl(fd, TIOCSPTLCK, &locked);
	return fd;
}

static int
place_of(const struct fd_restore *r, const struct openfile *f)
{
	return r->base + (int)resource_index(r, f);
}

int
res_ptmx_open(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const int place = place_of(r, f);
	int fd, err;

	if (fcntl(place, F_GETFD) >= 0)
		return place;
	fd = make(cx, r, f);
	/* The numbers below may all be taken, so that it is there at once. */
	if (fd < 0 || fd == place)
		return fd;
	err = dup3(fd, place, O_CLOEXEC) < 0 ? -errno : 0;
	close(fd);
	return err == 0
		   ? place
		   : snap_fail(cx, err, "fd %u: %s", f->id, strerror(-err));
}

static int
ptmx_try(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	if (res_ptmx_outside(r->p, f))
		return snap_fail(cx, -ENOTSUP,
		    "fd %u: %s; to restore without it: ignore=fd %u", f->id,
		    PTMX_OUTSIDE, f->id);
	return 0;
}

static int
ptmx_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd = ptmx_try(cx, r, f);

	if (fd == 0)
		fd = res_ptmx_open(cx, r, f);
	return fd < 0 ? fd : resource_set_flags(cx, f, fd);
}

const struct resource res_ptmx = {
	.name = "ptmx",
	.match = ptmx_match,
	.collect = ptmx_collect,
	.check = ptmx_check,
	.try = ptmx_try,
	.restore = ptmx_restore,
};
