/*
 * tcp_restore.c - sockets of TCP, made again.
 *
 * A connection is made without its peer hearing of it, by the kernel's
 * TCP_REPAIR: numbers, queues and windows are told to it, and as long as that
 * mode is on nothing is sent.  It stays on until the process is complete
 * (tcp_wake()): if the restore fails before, the socket is closed without a
 * word and whoever is at the other end may still be connected to the original.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "family.h"
#include "fdkv.h"
#include "sock_diag_tcp.h"
#include "sock_name.h"
#include "sock_option.h"
#include "tcp_packet.h"
#include "tcp_sock.h"

#define PIECE 65536u

static int
fail(struct snap_ctx *cx, const struct openfile *f, int err, const char *what)
{
	return snap_fail(cx, err, "fd %u: %s: %s%s", f->id, what,
	    strerror(-err),
	    err == -EPERM ? " (a connection of TCP needs CAP_NET_ADMIN)" : "");
}

static int
set(int fd, int name, const void *v, socklen_t len)
{
	return setsockopt(fd, IPPROTO_TCP, name, v, len) == 0 ? 0 : -errno;
}

static int
set_int(int fd, int name, int v)
{
	return set(fd, name, &v, sizeof(v));
}

/* ---- not connected ---- */

static int
bind_name(struct snap_ctx *cx, const struct openfile *f,
    const struct tcp_sock *t, int fd)
{
	char text[SOCK_NAME_MAX];

	if (t->name_len == 0 ||
	    bind(fd, (const void *)&t->name, t->name_len) == 0)
		return 0;
	sock_name_format(text, &t->name, t->name_len);
	return fail(cx, f, -errno, text);
}

/*
 * A port may be in use by nothing but what remains of connections that the old
 * process had accepted, and which have ended: then it is ours.
 */
static int
bind_and_listen(struct snap_ctx *cx, const struct openfile *f,
    const struct tcp_sock *t, int fd)
{
	char text[SOCK_NAME_MAX];
	struct snap_ctx quiet = { .error = 0 };
	int err;

	for (int tries = 0;; tries++) {
		err = 0;
		if (t->name_len != 0 &&
		    bind(fd, (const void *)&t->name, t->name_len) != 0)
			err = -errno;
		if (err == 0 && t->kind == TCP_LISTENING &&
		    listen(fd, t->backlog) != 0)
			err = -errno;
		if (tries > 0 || err != -EADDRINUSE ||
		    sock_diag_tcp_clear(&quiet, &t->name, NULL) != 0)
			break;
	}
	if (err == 0)
		return 0;
	sock_name_format(text, &t->name, t->name_len);
	return fail(cx, f, err, text);
}

static int
make(struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f,
    const struct tcp_sock *t)
{
	int fd = socket(t->domain, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int err, on = 1;

	if (fd < 0)
		return fail(cx, f, -errno, "socket");
	/*
	 * What the old one had accepted may linger on (TIME_WAIT): bind
	 * whatever it says of that; what it said is set afterwards.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	err = sock_option_begin(cx, r, f, fd);
	if (err == 0)
		err = bind_and_listen(cx, f, t, fd);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

/* What the peer had said before. */
static int
send_all(const struct fd_restore *r, const struct openfile *f,
    const struct tcp_sock *t, int peer)
{
	const struct content *c =
	    process_content(r->p, (uint32_t)kv_u64(f, "content", 10));
	char *bytes = malloc(t->s.in + 1);
	ssize_t n = (ssize_t)t->s.in;
	int err = 0;

	if (bytes == NULL)
		return -ENOMEM;
	(void)sock_enlarge(peer, SO_SNDBUF, 4 * t->s.in + 65536);
	if (c != NULL &&
	    (pread(c->fd, bytes, t->s.in, 0) != n ||
		send(peer, bytes, t->s.in, MSG_DONTWAIT | MSG_NOSIGNAL) != n))
		err = -EIO;
	free(bytes);
	return err;
}

/* The other end of `fd`, not somebody who was faster. */
static int
accept_own(int l, int fd)
{
	struct sockaddr_storage a, b;
	socklen_t alen, blen = sizeof(b);
	int peer;

	if (getsockname(fd, (void *)&b, &blen) != 0)
		return -1;
	for (;;) {
		alen = sizeof(a);
		peer = accept4(l, (void *)&a, &alen, SOCK_CLOEXEC);
		if (peer < 0 || sock_name_equal(&a, alen, &b, blen))
			return peer;
		close(peer);
	}
}

/* A connection of our own, which we end at once. */
static int
make_ended(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct tcp_sock *t)
{
	struct sockaddr_storage a = { .ss_family = (sa_family_t)t->domain };
	socklen_t len = t->domain == AF_INET ? sizeof(struct sockaddr_in)
					     : sizeof(struct sockaddr_in6);
	struct linger now = { 1, 0 };
	int l = socket(t->domain, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, peer, err;
	int done = 0;
	socklen_t n = sizeof(done);

	if (t->domain == AF_INET)
		((struct sockaddr_in *)&a)->sin_addr.s_addr =
		    htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&a)->sin6_addr = in6addr_loopback;
	fd = socket(t->domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)sock_enlarge(fd, SO_RCVBUF, 4 * t->s.in + 65536);
	if (l < 0 || fd < 0 || bind(l, (void *)&a, len) != 0 ||
	    listen(l, 1) != 0 || getsockname(l, (void *)&a, &len) != 0 ||
	    connect(fd, (void *)&a, len) != 0 ||
	    (peer = accept_own(l, fd)) < 0) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		fd = fail(cx, f, err, "a connection that has ended");
	} else {
		err = send_all(r, f, t, peer);
		(void)setsockopt(
		    peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(peer);
		if (!t->reset)
			(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &done, &n);
		if (err < 0) {
			close(fd);
			fd = fail(cx, f, err, "what it had received");
		}
	}
	if (l >= 0)
		close(l);
	return fd;
}

/* ---- connected ---- */

/* The end of a stream has a number, too, but is in no queue. */
static int
set_numbers(int fd, const struct tcp_sock *t)
{
	uint32_t in = t->s.in_seq - (uint32_t)t->s.in -
		      (tcp_has_got_end(t->state) ? 1 : 0);
	uint32_t out = t->s.out_seq - (uint32_t)t->s.out -
		       (tcp_has_sent_end(t->state) ? 1 : 0);
	int err = set_int(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);

	if (err == 0)
		err = set(fd, TCP_QUEUE_SEQ, &in, sizeof(in));
	if (err == 0)
		err = set_int(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
	return err == 0 ? set(fd, TCP_QUEUE_SEQ, &out, sizeof(out)) : err;
}

static int
set_agreed(int fd, const struct tcp_sock *t)
{
	struct tcp_repair_opt v[4];
	socklen_t n = 0;
	int err;

	v[n++] = (struct tcp_repair_opt){ TCPOPT_MAXSEG, t->s.mss };
	if ((t->s.options & TCPI_OPT_WSCALE) != 0)
		v[n++] = (struct tcp_repair_opt){ TCPOPT_WINDOW,
			t->s.snd_wscale | t->s.rcv_wscale << 16 };
	if ((t->s.options & TCPI_OPT_SACK) != 0)
		v[n++] = (struct tcp_repair_opt){ TCPOPT_SACK_PERMITTED, 0 };
	if ((t->s.options & TCPI_OPT_TIMESTAMPS) != 0)
		v[n++] = (struct tcp_repair_opt){ TCPOPT_TIMESTAMP, 0 };
	err = set(fd, TCP_REPAIR_OPTIONS, v, n * (socklen_t)sizeof(v[0]));
	if (err == 0 && (t->s.options & TCPI_OPT_TIMESTAMPS) != 0)
		err = set(fd, TCP_TIMESTAMP, &t->s.timestamp, 4);
	return err;
}

static int
fill_queue(int fd, int which, const char *bytes, size_t len)
{
	int err = set_int(fd, TCP_REPAIR_QUEUE, which);

	while (err == 0 && len > 0) {
		ssize_t n = send(fd, bytes, len < PIECE ? len : PIECE,
		    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return err;
}

static int
fill(const struct fd_restore *r, const struct openfile *f,
    const struct tcp_sock *t, int fd)
{
	const struct content *c =
	    process_content(r->p, (uint32_t)kv_u64(f, "content", 10));
	size_t len = t->s.out + t->s.in;
	char *bytes = malloc(len + 1);
	int err = 0;

	if (bytes == NULL)
		return -ENOMEM;
	if (len > 0 && (c == NULL || c->size != len ||
			   pread(c->fd, bytes, len, 0) != (ssize_t)len))
		err = -EBADMSG;
	(void)sock_enlarge(fd, SO_RCVBUF, 4 * t->s.in + 65536);
	(void)sock_enlarge(fd, SO_SNDBUF, 4 * t->s.out + 65536);
	if (err == 0)
		err = fill_queue(fd, TCP_RECV_QUEUE, bytes + t->s.out, t->s.in);
	if (err == 0)
		err = fill_queue(fd, TCP_SEND_QUEUE, bytes, t->s.out);
	free(bytes);
	return err;
}

/* The end of the peer's stream, which is within it, comes after this. */
static int
set_window(const struct tcp_sock *t, int fd)
{
	struct tcp_repair_window w;

	memcpy(&w, t->s.window, sizeof(w));
	if (tcp_has_got_end(t->state)) {
		w.rcv_wup -= w.rcv_wup == t->s.in_seq;
		w.rcv_wnd++;
	}
	return set(fd, TCP_REPAIR_WINDOW, &w, sizeof(w));
}

/*
 * The ends of the streams: ours is sent into the queue; that of the peer, and
 * his having heard of ours, are packets that we make as if they were his.
 */
static int
set_ends(const struct tcp_sock *t, int fd)
{
	bool first = t->state == TCP_CLOSE_WAIT || t->state == TCP_LAST_ACK;
	int err = 0;

	if (first)
		err = tcp_packet_end(
		    fd, t, t->s.out_seq - (t->state == TCP_LAST_ACK ? 1 : 0));
	if (err == 0 && tcp_has_sent_end(t->state) &&
	    (set_int(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) != 0 ||
		shutdown(fd, SHUT_WR) != 0))
		err = -errno;
	if (err == 0 && t->state == TCP_FIN_WAIT2)
		err = tcp_packet_ack(fd, t, t->s.out_seq);
	if (err == 0 && t->state == TCP_CLOSING)
		err = tcp_packet_end(fd, t, t->s.out_seq - 1);
	return err;
}

/* What remains of the very same connection is in the way. */
static int
reconnect(const struct tcp_sock *t, int fd)
{
	struct snap_ctx quiet = { .error = 0 };

	for (int tries = 0;; tries++) {
		if (connect(fd, (const void *)&t->peer, t->peer_len) == 0)
			return 0;
		if (errno != EADDRNOTAVAIL || tries > 0)
			return -errno;
		if (sock_diag_tcp_clear(&quiet, &t->name, &t->peer) != 0)
			return -EADDRNOTAVAIL;
	}
}

static int
connect_silently(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct tcp_sock *t, int fd)
{
	char text[SOCK_NAME_MAX];
	int err;

	err = set_int(fd, TCP_REPAIR, 1);
	if (err < 0)
		return fail(cx, f, err, "TCP_REPAIR");
	err = bind_name(cx, f, t, fd);
	if (err < 0)
		return err;
	err = set_numbers(fd, t);
	if (err < 0)
		return fail(cx, f, err, "its sequence numbers");
	err = reconnect(t, fd);
	if (err < 0) {
		sock_name_format(text, &t->name, t->name_len);
		return snap_fail(cx, err, "fd %u: the connection of %s: %s%s",
		    f->id, text, strerror(-err),
		    err == -EADDRNOTAVAIL || err == -EADDRINUSE
			? " (another socket has it)"
			: "");
	}
	err = set_agreed(fd, t);
	if (err < 0)
		return fail(cx, f, err, "the options of its connection");
	err = fill(r, f, t, fd);
	if (err < 0)
		return fail(cx, f, err, "its queues");
	err = set_window(t, fd);
	if (err < 0)
		return fail(cx, f, err, "its window");
	err = set_ends(t, fd);
	return err < 0 ? fail(cx, f, err, "the end of its stream") : 0;
}

static int
make_connected(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct tcp_sock *t)
{
	int fd = socket(t->domain, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int err;

	if (fd < 0)
		return fail(cx, f, -errno, "socket");
	err = sock_option_begin(cx, r, f, fd);
	if (err == 0)
		err = connect_silently(cx, r, f, t, fd);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

/* The very socket, from the process that is replaced. */
static int
again(struct snap_ctx *cx, const struct openfile *f, int taken)
{
	int fd = fcntl(taken, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? fail(cx, f, -errno, "its socket") : fd;
}

int
tcp_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct tcp_sock t;
	int fd;

	if (!tcp_sock_parse(f, &t))
		return kv_bad(cx, f, "state");
	if (r->taken != NULL && r->taken[resource_index(r, f)] >= 0)
		fd = again(cx, f, r->taken[resource_index(r, f)]);
	else if (t.kind == TCP_CONNECTED)
		fd = make_connected(cx, r, f, &t);
	else if (t.kind == TCP_ENDED)
		fd = make_ended(cx, r, f, &t);
	else
		fd = make(cx, r, f, &t);
	return fd < 0 ? fd : resource_set_flags(cx, f, fd);
}

/* Of a socket in repair, SO_REUSEADDR is the kernel's until it wakes. */
static void
set_reuse(const struct openfile *f, int fd)
{
	int on = sock_option_has(f, "SO_REUSEADDR");

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

int
tcp_settle(struct snap_ctx *cx, const struct fd_restore *r)
{
	int err = 0;

	for (size_t i = 0; i < r->p->nfiles && err == 0; i++) {
		const struct openfile *f = &r->p->files[i];
		struct tcp_sock t;

		if (strcmp(f->kind, "tcp") != 0 || resource_edited(f))
			continue;
		err = sock_option_end(cx, r, f, resource_place(r, f));
		if (err == 0 && tcp_sock_parse(f, &t) &&
		    t.kind != TCP_CONNECTED)
			set_reuse(f, resource_place(r, f));
	}
	return err;
}

static int
wake(const struct openfile *f, int state, int pidfd)
{
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, f->id, 0), err;

	if (fd < 0)
		return -errno;
	/* With a probe, so that it is known soon if nobody is there. */
	err = set_int(fd, TCP_REPAIR,
	    state == TCP_ESTABLISHED ? 0 : TCP_REPAIR_OFF_NO_WP);
	set_reuse(f, fd);
	close(fd);
	return err;
}

int
tcp_wake(struct snap_ctx *cx, pid_t pid, const struct process *p)
{
	int pidfd = -1, err = 0;

	for (size_t i = 0; i < p->nfiles && err == 0; i++) {
		const struct openfile *f = &p->files[i];
		struct tcp_sock t;
		uint32_t index;

		/* Once, by the one of several that has it. */
		if (strcmp(f->kind, "tcp") != 0 || resource_edited(f) ||
		    family_file(p, f, &index) != p ||
		    openfile_get(f, "in-flight") != NULL ||
		    !tcp_sock_parse(f, &t) || t.kind != TCP_CONNECTED)
			continue;
		if (pidfd < 0)
			pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		err = pidfd < 0 ? -errno : wake(f, t.state, pidfd);
		/* It may be something else, see res_dead.c. */
		if (openfile_get(f, "ignored") != NULL)
			err = 0;
		if (err < 0)
			fail(cx, f, err, "letting it go on");
	}
	if (pidfd >= 0)
		close(pidfd);
	return err;
}
