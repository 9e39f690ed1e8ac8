/*
 * res_epoll.c - epoll(7).
 *
 * An epoll instance watches open files, by the descriptors through which they
 * were added.  Where such a number has meanwhile been closed or means another
 * file, the kernel still lists it, but nobody could add it again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"

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

/* tfd:        4 events:       19 data:                4  pos:0 ino:2e22 sdev:f */
static int
watch_line(struct snap_ctx *cx, const struct fd_probe *q, const char *line,
    struct openfile *f)
{
	struct kcmp_epoll_slot slot = { .efd = (unsigned)q->fd };
	unsigned long long data;
	unsigned tfd, events;

	if (sscanf(line, "tfd: %u events: %x data: %llx", &tfd, &events,
		&data) != 3 ||
	    tfd >= MAX_FD)
		return snap_fail(
		    cx, -ENOTSUP, "an epoll whose watches are not known");
	slot.tfd = tfd;
	slot.toff = slot_of(q->fdinfo, line, tfd);
	if (syscall(SYS_kcmp, q->pid, q->pid, KCMP_EPOLL_TFD, tfd, &slot) != 0)
		return snap_fail(cx, -ENOTSUP,
		    "an epoll that watches a file added as descriptor %u, "
		    "which is closed or another file now",
		    tfd);
	return openfile_put(
	    f, "tfd", "%u events %x data %llx", tfd, events, data);
}

static int
epoll_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	const char *s = q->fdinfo;
	int err = 0;

	(void)p;
	while (err == 0 && (s = strstr(s, "\ntfd:")) != NULL) {
		s++;
		err = watch_line(cx, q, s, f);
	}
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
		if (!parse(value, &fd, &ev) || find_fd(p, fd) == NULL)
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

/* What was put in a descriptor's place need not be a thing to wait for. */
static int
add_watch(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int epfd, const char *value)
{
	struct epoll_event ev = { .events = 0 };
	const struct fdent *e;
	int fd = -1;

	if (!parse(value, &fd, &ev) || (e = find_fd(r->p, fd)) == NULL)
		return snap_fail(
		    cx, -EBADMSG, "fdinfo/%u: bad `tfd: %s'", f->id, value);
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	if (errno == EPERM && resource_edited(&r->p->files[e->file])) {
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

const struct resource res_epoll = {
	.name = "epoll",
	.match = epoll_match,
	.collect = epoll_collect,
	.check = epoll_check,
	.restore = epoll_restore,
	.finish = epoll_finish,
};
