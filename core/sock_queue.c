#include "sock_queue.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "fdkv.h"
#include "sock_guard.h"
#include "sock_name.h"
#include "sock_option.h"

#define RIGHTS_MAX 253 /* SCM_MAX_FD */
#define QUEUE_MAX (256u << 20)

union control {
	struct cmsghdr h;
	char buf[CMSG_SPACE(RIGHTS_MAX * sizeof(int)) +
		 CMSG_SPACE(sizeof(struct ucred)) + 256];
};

struct peek {
	struct snap_ctx *cx;
	int fd;
	bool stream;
	struct sock_queue *q;
};

static void
message_fini(struct sock_message *m)
{
	for (size_t i = 0; i < m->nfds; i++)
		if (m->fds != NULL && m->fds[i] >= 0)
			close(m->fds[i]);
	free(m->fds);
	free(m->files);
}

void
sock_queue_fini(struct sock_queue *q)
{
	for (size_t i = 0; i < q->n; i++)
		message_fini(&q->v[i]);
	free(q->v);
	free(q->bytes);
	memset(q, 0, sizeof(*q));
}

/* ---- a checkpoint ---- */

#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

/* Descriptors that the kernel made for us, and that are not in the message. */
static void
close_rest(const struct cmsghdr *c)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	if (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != SCM_PIDFD)
		return;
	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
		if (fd >= 0)
			close(fd);
	}
}

static int
take_rights(struct sock_message *m, const struct cmsghdr *c)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	m->fds = malloc((n + 1) * sizeof(int));
	m->files = calloc(n + 1, sizeof(*m->files));
	if (m->fds == NULL || m->files == NULL) {
		close_rest(c);
		return -ENOMEM;
	}
	memcpy(m->fds, CMSG_DATA(c), n * sizeof(int));
	m->nfds = n;
	return 0;
}

static int
take_control(struct peek *p, struct sock_message *m, struct msghdr *h)
{
	int err = 0;

	if ((h->msg_flags & MSG_CTRUNC) != 0)
		err = snap_fail(p->cx, -ENOTSUP,
		    "a message with more control data than fits");
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL;
	     c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS && m->nfds == 0) {
			int e = take_rights(m, c);

			err = err == 0 ? e : err;
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&m->cred, CMSG_DATA(c), sizeof(m->cred));
			m->has_cred = true;
		} else {
			close_rest(c);
		}
	}
	return err;
}

/* Peek at up to `len` bytes: their number, or -errno. */
static ssize_t
look(struct peek *p, struct sock_message *m, void *buf, size_t len, int flags)
{
	struct iovec iov = { buf, len };
	union control control;
	struct msghdr h = {
		.msg_name = &m->from,
		.msg_namelen = sizeof(m->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(
	    p->fd, &h, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
	int err;

	if (n < 0)
		return -errno;
	m->from_len = h.msg_namelen;
	m->len = (size_t)n;
	err = take_control(p, m, &h);
	return err < 0 ? err : n;
}

static int
set_offset(struct peek *p, size_t off)
{
	int v = (int)off;

	return setsockopt(p->fd, SOL_SOCKET, SO_PEEK_OFF, &v, sizeof(v)) == 0
		   ? 0
		   : -errno;
}

/*
 * Descriptors come with the first byte of a message, and a look ends behind
 * the message that has some, but it may have begun before it.  Where does that
 * one begin, of the `len` bytes from `at`?
 *
 * The kernel copies message by message.  So give it memory for all but the
 * last byte: it fails at the last message, and says how much came before.
 */
static ssize_t
rights_begin(struct peek *p, size_t at, size_t len)
{
	struct iovec iov[2] = {
		{ p->q->bytes + at, len - 1 },
		{ (void *)8, 1 }, /* nothing is mapped there */
	};
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = set_offset(p, at);

	if (n < 0)
		return n;
	n = recvmsg(p->fd, &h, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return errno == EFAULT ? 0 : -errno;
	return (size_t)n < len ? n : -EIO;
}

static struct sock_message *
new_message(struct sock_queue *q)
{
	return process_grow(&q->v, &q->n, sizeof(*q->v));
}

/* The bytes before those that the descriptors came with are of their own. */
static int
split(struct peek *p, size_t at)
{
	struct sock_message *m = &p->q->v[p->q->n - 1], *next, all;
	ssize_t first;

	if (m->nfds == 0 || m->len < 2)
		return 0;
	first = rights_begin(p, at, m->len);
	if (first <= 0)
		return (int)first;
	next = new_message(p->q);
	if (next == NULL)
		return -ENOMEM;
	m = next - 1;
	all = *m;
	*next = all;
	next->len -= (size_t)first;
	m->len = (size_t)first;
	m->fds = NULL;
	m->files = NULL;
	m->nfds = 0;
	return 0;
}

/* `total` bytes; the socket's peek offset is on. */
static int
peek_stream(struct peek *p, size_t total, bool whole)
{
	int err = 0;

	while (err == 0 && p->q->len < total) {
		struct sock_message *m = new_message(p->q);
		size_t at = p->q->len;
		ssize_t n;

		if (m == NULL)
			return -ENOMEM;
		n = whole ? 0 : set_offset(p, at);
		if (n == 0)
			n = look(p, m, p->q->bytes + at, total - at, 0);
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		p->q->len += (size_t)n;
		if (whole && ((size_t)n < total || m->nfds > 0))
			return -EAGAIN;
		err = whole ? 0 : split(p, at);
	}
	return err;
}

/*
 * The next message, whose length is known by a first look.  An empty one is
 * seen by that alone: a second would find it looked at, and go on to the one
 * behind it.
 */
static int
peek_message(struct peek *p)
{
	struct sock_queue *q = p->q;
	struct sock_message *m = new_message(q);
	ssize_t len, n;
	char *b;

	if (m == NULL)
		return -ENOMEM;
	len = look(p, m, NULL, 0, MSG_TRUNC);
	if (len <= 0)
		return len < 0 ? (int)len : 0;
	message_fini(m);
	memset(m, 0, sizeof(*m));
	if (q->len + (size_t)len > QUEUE_MAX)
		return -EFBIG;
	b = realloc(q->bytes, q->len + (size_t)len + 1);
	if (b == NULL)
		return -ENOMEM;
	q->bytes = b;
	n = set_offset(p, q->len);
	if (n == 0)
		n = look(p, m, b + q->len, (size_t)len, 0);
	if (n != len)
		return n < 0 ? (int)n : -EIO;
	q->len += (size_t)len;
	return 0;
}

static int
peek_packets(struct peek *p, bool seqpacket)
{
	int err = set_offset(p, 0), total = 0;

	if (seqpacket && ioctl(p->fd, SIOCINQ, &total) != 0)
		return -errno;
	while (err == 0) {
		size_t n = p->q->n;

		err = peek_message(p);
		/*
		 * Where there is no more, a stream of packets tells so by 0,
		 * as by an empty one.
		 */
		if (err == -EAGAIN || err == -ENOTCONN ||
		    (err == 0 && seqpacket && p->q->v[n].len == 0 &&
			p->q->len >= (size_t)total)) {
			message_fini(&p->q->v[n]);
			p->q->n = n;
			return 0;
		}
	}
	return err;
}

static int
guarded(struct peek *p, size_t total, int type)
{
	struct sock_undo u = { p->fd, SOL_SOCKET, SO_PEEK_OFF,
		sock_int(p->fd, SO_PEEK_OFF) };
	struct sock_guard *g;
	int err;

	sock_queue_fini(p->q);
	err = sock_guard_begin(p->cx, &u, 1, &g);
	if (err < 0)
		return err;
	p->q->bytes = malloc(total + 1);
	if (p->q->bytes == NULL)
		err = -ENOMEM;
	else
		err = p->stream ? peek_stream(p, total, false)
				: peek_packets(p, type == SOCK_SEQPACKET);
	sock_guard_end(g);
	return err;
}

/*
 * A stream without descriptors in it can be seen whole without the offset; and
 * where nothing waits, there is no need of one.
 */
static int
peek_queue(struct peek *p, int type, int unread)
{
	struct pollfd in = { .fd = p->fd, .events = POLLIN };
	int err;

	if (!p->stream)
		return poll(&in, 1, 0) == 1 && (in.revents & POLLIN) != 0
			   ? guarded(p, 0, type)
			   : 0;
	if (unread == 0)
		return 0;
	p->q->bytes = malloc((size_t)unread + 1);
	if (p->q->bytes == NULL)
		return -ENOMEM;
	/* With an offset of the owner's, a look does not begin at the front. */
	if (sock_int(p->fd, SO_PEEK_OFF) >= 0)
		err = -EAGAIN;
	else
		err = peek_stream(p, (size_t)unread, true);
	return err == -EAGAIN ? guarded(p, (size_t)unread, type) : err;
}

/*
 * To receive is also to be told an error that waits, and it is told once: so
 * nothing must be received then.
 */
static int
check_error(struct snap_ctx *cx, int fd, int type)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int unread = 0;

	if (type == SOCK_STREAM || poll(&p, 1, 0) != 1 ||
	    (p.revents & POLLERR) == 0)
		return 0;
	if ((p.revents & POLLIN) == 0 ||
	    (type == SOCK_SEQPACKET && ioctl(fd, SIOCINQ, &unread) == 0 &&
		unread == 0))
		return 1;
	return snap_fail(cx, -ENOTSUP,
	    "a socket with an error that waits to be told, and unread bytes, "
	    "which can only be seen after it");
}

int
sock_queue_peek(struct snap_ctx *cx, int fd, struct sock_queue *q)
{
	int type = sock_int(fd, SO_TYPE), unread = 0, err = 0;
	struct peek p = { cx, fd, type == SOCK_STREAM, q };
	char oob;

	memset(q, 0, sizeof(*q));
	if (sock_int(fd, SO_ACCEPTCONN) > 0)
		return 0;
	err = check_error(cx, fd, type);
	if (err != 0)
		return err > 0 ? 0 : err;
	if (p.stream && ioctl(fd, SIOCINQ, &unread) != 0)
		err = -errno;
	if (err == 0 && unread > 0 &&
	    recv(fd, &oob, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) == 1)
		err = snap_fail(cx, -ENOTSUP,
		    "a socket with an unread urgent byte, which is not "
		    "restored");
	if (err == 0)
		err = peek_queue(&p, type, unread);
	if (err == 0 || err == -ENOMEM)
		return err;
	sock_queue_fini(q);
	return snap_fail(cx, -ENOTSUP,
	    "a socket with unread bytes that could not be seen: %s",
	    strerror(-err));
}

static int
put_rights(struct openfile *f, const struct sock_message *m, char *head)
{
	size_t size = strlen(head) + 16 + 12 * m->nfds;
	char *s = malloc(size);
	size_t n;
	int err;

	if (s == NULL)
		return -ENOMEM;
	n = (size_t)snprintf(s, size, "%s", head);
	for (size_t i = 0; i < m->nfds; i++)
		n += (size_t)snprintf(s + n, size - n, "%s%u",
		    i == 0 ? " rights=" : ",", m->files[i]);
	err = openfile_put(f, "message", "%s", s);
	free(s);
	return err;
}

static int
put_message(struct openfile *f, const struct sock_message *m)
{
	char head[SOCK_NAME_MAX + 128], name[SOCK_NAME_MAX];
	size_t n;

	n = (size_t)snprintf(head, sizeof(head), "%zu", m->len);
	if (m->from_len > sizeof(sa_family_t)) {
		sock_name_format(name, &m->from, m->from_len);
		n += (size_t)snprintf(
		    head + n, sizeof(head) - n, " from=%s", name);
	}
	if (m->has_cred)
		snprintf(head + n, sizeof(head) - n, " cred=%d:%u:%u",
		    (int)m->cred.pid, m->cred.uid, m->cred.gid);
	return put_rights(f, m, head);
}

int
sock_queue_put(
    struct process *p, struct openfile *f, const struct sock_queue *q)
{
	int fd, id, err = 0;

	if (q->n == 0)
		return 0;
	fd = contents_open(p, q->len);
	if (fd < 0)
		return fd;
	for (size_t at = 0; at < q->len;) {
		ssize_t n = pwrite(fd, q->bytes + at, q->len - at, (off_t)at);

		if (n <= 0) {
			close(fd);
			return n < 0 ? -errno : -EIO;
		}
		at += (size_t)n;
	}
	id = process_add_content(p, fd, q->len);
	if (id < 0)
		return id;
	err = openfile_put(f, "content", "%d", id);
	for (size_t i = 0; i < q->n && err == 0; i++)
		err = put_message(f, &q->v[i]);
	return err;
}

/* ---- an image ---- */

static bool
parse_cred(const char **s, struct ucred *c)
{
	uint64_t pid, uid, gid;

	if (!kv_scan_u64(s, 10, INT32_MAX, &pid) || !kv_scan_text(s, ":") ||
	    !kv_scan_u64(s, 10, UINT32_MAX, &uid) || !kv_scan_text(s, ":") ||
	    !kv_scan_u64(s, 10, UINT32_MAX, &gid))
		return false;
	*c = (struct ucred){ (pid_t)pid, (uid_t)uid, (gid_t)gid };
	return true;
}

#define RIGHTS " rights="

/* Before it is parsed: what is bad there is the image's fault. */
static bool
make_room_for_rights(const char *s, struct sock_message *m)
{
	if (strstr(s, RIGHTS) == NULL)
		return true;
	m->fds = malloc(RIGHTS_MAX * sizeof(int));
	m->files = calloc(RIGHTS_MAX, sizeof(*m->files));
	return m->fds != NULL && m->files != NULL;
}

static bool
parse_rights(const char **s, struct sock_message *m)
{
	uint64_t file;

	do {
		if (m->nfds == RIGHTS_MAX ||
		    !kv_scan_u64(s, 10, INT32_MAX, &file))
			return false;
		m->fds[m->nfds] = -1;
		m->files[m->nfds++] = (uint32_t)file;
	} while (kv_scan_text(s, ","));
	return true;
}

static bool
parse_from(const char **s, struct sock_message *m)
{
	char name[SOCK_NAME_MAX];
	size_t n = strcspn(*s, " ");

	if (n >= sizeof(name))
		return false;
	memcpy(name, *s, n);
	name[n] = '\0';
	*s += n;
	return sock_name_parse(name, &m->from, &m->from_len);
}

static bool
parse_message(const char *s, struct sock_message *m)
{
	uint64_t len;

	if (!kv_scan_u64(&s, 10, QUEUE_MAX, &len))
		return false;
	m->len = len;
	if (kv_scan_text(&s, " from=") && !parse_from(&s, m))
		return false;
	if (kv_scan_text(&s, " cred=")) {
		m->has_cred = true;
		if (!parse_cred(&s, &m->cred))
			return false;
	}
	if (kv_scan_text(&s, RIGHTS) && !parse_rights(&s, m))
		return false;
	return *s == '\0';
}

static bool
is_file(const struct process *p, uint32_t id)
{
	for (size_t i = 0; i < p->nfiles; i++)
		if (p->files[i].id == id)
			return true;
	return false;
}

static int
parse_queue(struct snap_ctx *cx, const struct process *p,
    const struct openfile *f, struct sock_queue *q)
{
	memset(q, 0, sizeof(*q));
	for (size_t i = 0; i < f->nkv; i++) {
		struct sock_message *m;

		if (strcmp(f->kv[i].key, "message") != 0)
			continue;
		m = new_message(q);
		if (m == NULL || !make_room_for_rights(f->kv[i].value, m))
			return snap_fail(cx, -ENOMEM, "no memory");
		if (!parse_message(f->kv[i].value, m))
			return snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: bad `message: %.80s'", f->id,
			    f->kv[i].value);
		q->len += m->len;
		for (size_t k = 0; k < m->nfds; k++)
			if (!is_file(p, m->files[k]))
				return snap_fail(cx, -EBADMSG,
				    "fdinfo/%u: message: there is no open "
				    "file %u",
				    f->id, m->files[k]);
	}
	return 0;
}

int
sock_queue_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const struct content *c;
	struct sock_queue q;
	int err;

	err = kv_opt_content(cx, p, f);
	if (err != 0)
		return err;
	err = parse_queue(cx, p, f, &q);
	c = process_content(p, (uint32_t)kv_u64(f, "content", 10));
	if (err == 0 && q.len != (c == NULL ? 0 : c->size))
		err = snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: the messages are not the contents", f->id);
	sock_queue_fini(&q);
	return err;
}

int
sock_queue_get(struct snap_ctx *cx, const struct process *p,
    const struct openfile *f, struct sock_queue *q)
{
	const struct content *c;
	int err = parse_queue(cx, p, f, q);

	if (err != 0 || q->n == 0)
		return err;
	c = process_content(p, (uint32_t)kv_u64(f, "content", 10));
	q->bytes = malloc(q->len + 1);
	if (q->bytes == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	if (c == NULL || c->size != q->len ||
	    pread(c->fd, q->bytes, q->len, 0) != (ssize_t)q->len)
		return snap_fail(
		    cx, -EBADMSG, "fdinfo/%u: its contents are short", f->id);
	return 0;
}

/* ---- a restore ---- */

static void
put_control(struct msghdr *h, int type, const void *data, size_t len)
{
	struct cmsghdr *c =
	    (void *)((char *)h->msg_control + h->msg_controllen);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	h->msg_controllen += CMSG_SPACE(len);
}

static ssize_t
send_part(int fd, const struct sock_message *m, void *bytes, size_t len,
    const void *to, socklen_t to_len, bool rights)
{
	struct iovec iov = { bytes, len };
	union control control;
	struct msghdr h = {
		.msg_name = (void *)to,
		.msg_namelen = to_len,
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
	};
	ssize_t n;

	memset(&control, 0, sizeof(control));
	if (m->has_cred)
		put_control(&h, SCM_CREDENTIALS, &m->cred, sizeof(m->cred));
	if (rights && m->nfds > 0)
		put_control(&h, SCM_RIGHTS, m->fds, m->nfds * sizeof(int));
	if (h.msg_controllen == 0)
		h.msg_control = NULL;
	n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

/* A stream may take it in parts, the descriptors with the first. */
int
sock_queue_send(int fd, const struct sock_queue *q,
    const struct sock_message *m, size_t at, const void *to, socklen_t to_len)
{
	size_t done = 0;

	do {
		ssize_t n = send_part(fd, m, q->bytes + at + done,
		    m->len - done, to, to_len, done == 0);

		if (n < 0)
			return (int)n;
		done += (size_t)n;
	} while (done < m->len);
	return 0;
}
