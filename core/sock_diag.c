#include "sock_diag.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"

#define REPLY_MAX 32768

static int
netlink(struct snap_ctx *cx)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	return fd >= 0
		   ? fd
		   : snap_fail(cx, -errno, "sock_diag: %s", strerror(errno));
}

static bool
same_namespace(pid_t pid)
{
	struct stat ours, theirs;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	return pid == 0 || stat("/proc/thread-self/ns/net", &ours) != 0 ||
	       stat(path, &theirs) != 0 ||
	       (ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev);
}

/* A socket is of the namespace that its maker, a thread, is in. */
int
sock_diag_open(struct snap_ctx *cx, pid_t pid)
{
	int ours, theirs, fd;

	if (same_namespace(pid))
		return netlink(cx);
	theirs = proc_open(cx, pid, "ns/net", O_RDONLY);
	if (theirs < 0)
		return theirs;
	ours = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (ours < 0 || setns(theirs, CLONE_NEWNET) != 0)
		fd = snap_fail(
		    cx, -errno, "its network namespace: %s", strerror(errno));
	else
		fd = netlink(cx);
	/* We may leave one namespace only if we may enter it again. */
	if (ours >= 0 && setns(ours, CLONE_NEWNET) != 0 && fd >= 0) {
		close(fd);
		fd = snap_fail(cx, -errno, "leaving its network namespace: %s",
		    strerror(errno));
	}
	close(theirs);
	if (ours >= 0)
		close(ours);
	return fd;
}

static int
request(int diag, uint32_t ino, uint32_t states, uint32_t show, int flags)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} q = {
		.h = {
			.nlmsg_len = sizeof(q),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
		},
		.r = {
			.sdiag_family = AF_UNIX,
			.udiag_states = states,
			.udiag_ino = ino,
			.udiag_show = show,
			.udiag_cookie = { ~0u, ~0u },
		},
	};

	return send(diag, &q, sizeof(q), 0) == (ssize_t)sizeof(q) ? 0 : -errno;
}

static int
take_pending(struct unix_info *u, const void *data, size_t len)
{
	u->pending = malloc(len + 1);
	if (u->pending == NULL)
		return -ENOMEM;
	memcpy(u->pending, data, len);
	u->npending = len / sizeof(uint32_t);
	return 0;
}

/* The kernel's own encoding of a device (new_encode_dev is not used here). */
static dev_t
device(uint32_t dev)
{
	return makedev(dev >> 20, dev & 0xfffff);
}

static int
take_attribute(struct unix_info *u, const struct rtattr *a)
{
	struct unix_diag_vfs vfs;
	struct unix_diag_rqlen q;

	switch (a->rta_type) {
	case UNIX_DIAG_PEER:
		u->has_peer = RTA_PAYLOAD(a) >= sizeof(u->peer);
		if (u->has_peer)
			memcpy(&u->peer, RTA_DATA(a), sizeof(u->peer));
		return 0;
	case UNIX_DIAG_SHUTDOWN:
		memcpy(&u->shutdown, RTA_DATA(a), 1);
		return 0;
	case UNIX_DIAG_VFS:
		if (RTA_PAYLOAD(a) < sizeof(vfs))
			return 0;
		memcpy(&vfs, RTA_DATA(a), sizeof(vfs));
		u->has_file = true;
		u->file_ino = vfs.udiag_vfs_ino;
		u->file_dev = device(vfs.udiag_vfs_dev);
		return 0;
	case UNIX_DIAG_RQLEN:
		if (RTA_PAYLOAD(a) < sizeof(q))
			return 0;
		memcpy(&q, RTA_DATA(a), sizeof(q));
		u->backlog = q.udiag_wqueue;
		return 0;
	case UNIX_DIAG_ICONS:
		return take_pending(u, RTA_DATA(a), RTA_PAYLOAD(a));
	default:
		return 0;
	}
}

/* 1: it is one of a socket; 0: another; -errno. */
static int
parse(const struct nlmsghdr *h, struct unix_info *u)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	const struct rtattr *a;
	int len = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));
	int err = 0;

	memset(u, 0, sizeof(*u));
	if (h->nlmsg_type == NLMSG_ERROR &&
	    h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || len < 0)
		return 0;
	u->state = m->udiag_state;
	u->ino = m->udiag_ino;
	for (a = (const void *)(m + 1); err == 0 && RTA_OK(a, len);
	     a = RTA_NEXT(a, len))
		err = take_attribute(u, a);
	return err == 0 ? 1 : err;
}

void
unix_info_fini(struct unix_info *u)
{
	free(u->pending);
	u->pending = NULL;
}

int
sock_diag_unix(
    struct snap_ctx *cx, int diag, uint32_t ino, struct unix_info *out)
{
	struct nlmsghdr *h = malloc(REPLY_MAX);
	ssize_t n;
	int err;

	memset(out, 0, sizeof(*out));
	if (h == NULL)
		return -ENOMEM;
	err = request(diag, ino, ~0u, SOCK_DIAG_SHOW, 0);
	n = err == 0 ? recv(diag, h, REPLY_MAX, 0) : 0;
	if (n < 0)
		err = -errno;
	if (err == 0)
		err = NLMSG_OK(h, (size_t)n) ? parse(h, out) : -EPROTO;
	free(h);
	if (err == 1)
		return 0;
	unix_info_fini(out);
	return snap_fail(cx, err == 0 ? -EPROTO : err,
	    "sock_diag of socket %u: %s", ino, strerror(-err));
}

/* The messages of one reply; 1: the last was among them. */
static int
each_of(struct nlmsghdr *h, size_t left,
    int (*f)(void *arg, struct unix_info *u), void *arg)
{
	bool done = false;
	int err = 0;

	for (; err >= 0 && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		struct unix_info u;

		done |= h->nlmsg_type == NLMSG_DONE;
		err = parse(h, &u);
		if (err == 1)
			err = f(arg, &u);
		else
			unix_info_fini(&u);
	}
	return err < 0 ? err : done;
}

int
sock_diag_each(struct snap_ctx *cx, int diag, uint32_t show,
    int (*f)(void *arg, struct unix_info *u), void *arg)
{
	char *buf = malloc(REPLY_MAX);
	int err = buf == NULL ? -ENOMEM : 0;

	if (err == 0)
		err = request(diag, 0, ~0u, show, NLM_F_DUMP);
	while (err == 0) {
		ssize_t n = recv(diag, buf, REPLY_MAX, 0);

		err = n < 0    ? -errno
		      : n == 0 ? -EPROTO
			       : each_of((void *)buf, (size_t)n, f, arg);
	}
	free(buf);
	return err > 0 ? 0
		       : snap_fail(cx, err, "sock_diag: %s", strerror(-err));
}

struct sought {
	uint32_t ino;
	dev_t dev;
	bool found;
};

static int
is_bound(void *arg, struct unix_info *u)
{
	struct sought *s = arg;

	s->found |=
	    u->has_file && u->file_ino == s->ino && u->file_dev == s->dev;
	unix_info_fini(u);
	return 0;
}

int
sock_diag_bound(
    struct snap_ctx *cx, int diag, uint32_t file_ino, dev_t file_dev)
{
	struct sought s = { .ino = file_ino, .dev = file_dev };
	int err = sock_diag_each(cx, diag, UDIAG_SHOW_VFS, is_bound, &s);

	return err == 0 ? s.found : err;
}
