/*
 * res_epoll.c - epoll(7).
 *
 * An epoll instance watches open files, by the descriptors through which they
 * were added.  Where such a number has meanwhile been closed or means another
 * file, the kernel still lists it, but nobody could add it again.
 *
 * Which it is tells kcmp(2), for which the kernel goes through all that the
 * instance watches.  Of sockets, of which there are thousands, the inode tells:
 * of each there is one open file only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "fds_walk.h"
#include "res.h"
#include "res_epoll.h"

#define MAX_FD (1u << 20)

static bool
epoll_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:[eventpoll]") == 0;
}

/* How many watches before this one were added by the same number. */
static unsigned
slot_of(const char *begin, const char *line, unsigned tfd)
{
	const char *s = begin;
	unsigned n = 0, t;

	while ((s = strstr(s, "\ntfd:")) != NULL && s + 1 < line) {
		s++;
		n += sscanf(s, "tfd: %u", &t) == 1 && t == tfd;
	}
	return n;
}

/* The blanks that pad the columns, then a number. */
static bool
column(const char **s, const char *name, int base, uint64_t max, uint64_t *v)
{
	*s += strspn(*s, " \t");
	if (!kv_scan_text(s, name))
		return false;
	*s += strspn(*s, " ");
	return kv_scan_u64(s, base, max, v);
}

/* pos:0 ino:2e22 sdev:f: is what the number means now a socket, and this one? */
static bool
is_that_socket(const struct fd_probe *q, const char *s, unsigned tfd)
{
	const struct stat *st = fds_stat(q->walk, (int)tfd);
	uint64_t pos, ino, dev;

	if (st == NULL || !S_ISSOCK(st->st_mode) ||
	    !column(&s, "pos:", 10, UINT64_MAX, &pos) ||
	    !column(&s, "ino:", 16, UINT64_MAX, &ino) ||
	    !column(&s, "sdev:", 16, UINT32_MAX, &dev))
		return false;
	/* As the kernel has it within: of no device, so the minor number. */
	return ino == st->st_ino && major(st->st_dev) == 0 &&
	       dev == minor(st->st_dev);
}

/*
 * tfd:        4 events:       19 data:                4  pos:0 ino:2e22 sdev:f
 *
 * `seen` has a bit for each number that was there before: rarely any, so that
 * counting them is rare too.
 */
static int
watch_line(struct snap_ctx *cx, const struct fd_probe *q, const char *line,
    uint64_t *seen, struct openfile *f)
{
	struct kcmp_epoll_slot slot = { .efd = (unsigned)q->fd };
	uint64_t tfd, events, data, bit;
	const char *s = line;

	if (!column(&s, "tfd:", 10, MAX_FD - 1, &tfd) ||
	    !column(&s, "events:", 16, UINT32_MAX, &events) ||
	    !column(&s, "data:", 16, UINT64_MAX, &data))
		return snap_fail(
		    cx, -ENOTSUP, "an epoll whose watches are not known");
	bit = 1ull << tfd % 64;
	slot.tfd = (unsigned)tfd;
	if ((seen[tfd / 64] & bit) != 0)
		slot.toff = slot_of(q->fdinfo, line, (unsigned)tfd);
	seen[tfd / 64] |= bit;
	if (!is_that_socket(q, s, (unsigned)tfd) &&
	    syscall(SYS_kcmp, q->pid, q->pid, KCMP_EPOLL_TFD, tfd, &slot) != 0)
		return snap_fail(cx, -ENOTSUP,
		    "an epoll that watches a file added as descriptor %llu, "
		    "which is closed or another file now",
		    (unsigned long long)tfd);
	return openfile_put(f, "tfd", "%llu events %llx data %llx",
	    (unsigned long long)tfd, (unsigned long long)events,
	    (unsigned long long)data);
}

static int
epoll_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	uint64_t *seen = calloc(MAX_FD / 64, sizeof(*seen));
	const char *s = q->fdinfo;
	int err = seen == NULL ? -ENOMEM : 0;

	(void)p;
	while (err == 0 && (s = strstr(s, "\ntfd:")) != NULL) {
		s++;
		err = resource_in_time(cx, q);
		if (err == 0)
			err = watch_line(cx, q, s, seen, f);
	}
	free(seen);
	return err;
}

static bool
parse(const char *s, int *fd, struct epoll_event *ev)
{
	uint64_t tfd, events, data;

	if (!kv_scan_u64(&s, 10, MAX_FD - 1, &tfd) ||
	    !kv_scan_text(&s, " events ") ||
	    !kv_scan_u64(&s, 16, UINT32_MAX, &events) ||
	    !kv_scan_text(&s, " data ") || !kv_number(s, 16, UINT64_MAX, &data))
		return false;
	*fd = (int)tfd;
	ev->events = (uint32_t)events;
	ev->data.u64 = data;
	return true;
}

static const struct fdent *
find_fd(const struct process *p, int fd)
{
	size_t lo = 0, hi = p->nfds;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->fds[mid].fd == fd)
			return &p->fds[mid];
		if (p->fds[mid].fd < fd)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int
epoll_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	struct epoll_event ev;
	int fd;

	for (size_t i = 0; i < f->nkv; i++) {
		const char *value = f->kv[i].value;

		if (strcmp(f->kv[i].key, "tfd") != 0)
			continue;
		/* What several have is known to the one that `same` names. */
		if (!parse(value, &fd, &ev) ||
		    (find_fd(p, fd) == NULL && openfile_get(f, "same") == NULL))
			return snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: bad `tfd: %.80s'", f->id, value);
	}
	return 0;
}

static int
epoll_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	(void)r;
	if (fd < 0)
		return snap_fail(cx, -errno, "fd %u: epoll_create: %s", f->id,
		    strerror(errno));
	return resource_set_flags(cx, f, fd);
}

static bool
is_signals(const struct process *p, const struct fdent *e)
{
	const struct openfile *f = &p->files[e->file];

	return !resource_edited(f) && strcmp(f->kind, res_signalfd.name) == 0;
}

/* What was put in a descriptor's place need not be a thing to wait for. */
static int
add_watch(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int epfd, const char *value)
{
	struct epoll_event ev = { .events = 0 };
	const struct fdent *e;
	int fd = -1;

	if (!parse(value, &fd, &ev))
		return snap_fail(
		    cx, -EBADMSG, "fdinfo/%u: bad `tfd: %s'", f->id, value);
	e = find_fd(r->p, fd);
	/* The process does it, see epoll_own(). */
	if (e != NULL && r->pid != 0 && is_signals(r->p, e))
		return 0;
	if (e != NULL && epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	/* Closed by whoever gave the others, or not a thing to wait for. */
	if (e == NULL ||
	    (errno == EPERM && resource_edited(&r->p->files[e->file]))) {
		resource_note(
		    r, "fd %u (epoll) no longer watches fd %d", f->id, fd);
		return 0;
	}
	return snap_fail(cx, -errno, "fd %u: epoll: watching fd %d: %s", f->id,
	    fd, strerror(errno));
}

static int
epoll_finish(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "tfd") == 0)
			err = add_watch(cx, r, f, fd, f->kv[i].value);
	return err;
}

static int
own_of(const struct process *p, const struct openfile *f, struct epoll_own **v,
    size_t *n)
{
	for (size_t i = 0; i < f->nkv; i++) {
		struct epoll_event ev = { .events = 0 };
		const struct fdent *e = NULL;
		struct epoll_own *own;
		int fd;

		if (strcmp(f->kv[i].key, "tfd") == 0 &&
		    parse(f->kv[i].value, &fd, &ev))
			e = find_fd(p, fd);
		if (e == NULL || !is_signals(p, e))
			continue;
		own = process_grow(v, n, sizeof(*own));
		if (own == NULL)
			return -ENOMEM;
		*own = (struct epoll_own){ (int)f->id, fd, ev };
	}
	return 0;
}

ssize_t
epoll_own(const struct process *p, struct epoll_own **v)
{
	size_t n = 0;
	int err = 0;

	*v = NULL;
	for (size_t i = 0; i < p->nfiles && err == 0; i++)
		if (strcmp(p->files[i].kind, res_epoll.name) == 0 &&
		    !resource_edited(&p->files[i]))
			err = own_of(p, &p->files[i], v, &n);
	if (err == 0)
		return (ssize_t)n;
	free(*v);
	*v = NULL;
	return err;
}

const struct resource res_epoll = {
	.name = "epoll",
	.match = epoll_match,
	.collect = epoll_collect,
	.check = epoll_check,
	.restore = epoll_restore,
	.finish = epoll_finish,
};
