/*
 * res_tcp.c - sockets of TCP, as a checkpoint sees them and an image has them:
 * new or bound, listening, connected, or ended.  How they are made again is in
 * tcp_restore.c.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include "sock_name.h"
#include "sock_option.h"
#include "tcp_sock.h"

#define QUEUES_MAX (1u << 30)

static const struct {
	int state;
	const char *name;
} states[] = {
	{ TCP_ESTABLISHED, "established" },
	{ TCP_FIN_WAIT1, "fin-wait-1" },
	{ TCP_FIN_WAIT2, "fin-wait-2" },
	{ TCP_CLOSING, "closing" },
	{ TCP_CLOSE_WAIT, "close-wait" },
	{ TCP_LAST_ACK, "last-ack" },
};
#define NSTATES (sizeof(states) / sizeof(states[0]))

static bool
tcp_match(const struct fd_probe *q)
{
	return S_ISSOCK(q->st.st_mode) && q->tcp;
}

/* ---- a checkpoint ---- */

static int
put_name(struct openfile *f, const char *key, int fd, bool peer)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	char name[SOCK_NAME_MAX];
	int n;

	n = peer ? getpeername(fd, (void *)&a, &len)
		 : getsockname(fd, (void *)&a, &len);
	if (n != 0)
		return peer ? -ENOTCONN : -errno;
	sock_name_format(name, &a, len);
	/* Neither address nor port: not bound. */
	if (!peer && (strcmp(name, "inet:0.0.0.0:0") == 0 ||
			 strcmp(name, "inet6:[::]:0") == 0))
		return 0;
	return openfile_put(f, key, "%s", name);
}

static int put_bytes(
    struct process *p, struct openfile *f, const struct tcp_state *s);

/* One that has ended, with what nobody has read. */
static int
put_ended(struct process *pr, struct openfile *f, int fd, size_t unread)
{
	struct tcp_state s = { .in = unread, .bytes = malloc(unread) };
	struct pollfd p = { .fd = fd };
	int err = s.bytes == NULL ? -ENOMEM : 0;

	if (err == 0 && recv(fd, s.bytes, unread, MSG_PEEK | MSG_DONTWAIT) !=
			    (ssize_t)unread)
		err = -EIO;
	if (err == 0)
		err = openfile_put(f, "state", "ended");
	if (err == 0)
		err = openfile_put(f, "queues", "0 %zu", unread);
	if (err == 0)
		err = put_bytes(pr, f, &s);
	if (err == 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0)
		err = openfile_put(f, "reset", "1");
	free(s.bytes);
	return err;
}

/* Its states are alike to all but those that ask it for something. */
static int
put_closed(struct process *pr, struct openfile *f, int fd)
{
	struct pollfd p = { .fd = fd };
	int err, unread = 0;
	char c;

	if (ioctl(fd, SIOCINQ, &unread) == 0 && unread > 0)
		return put_ended(pr, f, fd, (size_t)unread);
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0) {
		err = openfile_put(f, "reset", "1");
		return err == 0 ? openfile_put(f, "state", "ended") : err;
	}
	if (recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		return openfile_put(f, "state", "ended");
	err = put_name(f, "name", fd, false);
	return err == 0 ? openfile_put(f, "state", "new") : err;
}

static int
put_listening(const struct fd_probe *q, struct process *p, struct openfile *f,
    int fd, const struct tcp_info *ti)
{
	char what[40];
	int err = openfile_put(f, "state", "listening");

	if (err == 0)
		err = put_name(f, "name", fd, false);
	if (err == 0)
		err = openfile_put(f, "backlog", "%u", ti->tcpi_sacked);
	if (err != 0 || ti->tcpi_unacked == 0)
		return err;
	snprintf(what, sizeof(what), "connections to fd %d", q->fd);
	return process_unsupported(p, what,
	    "%u of them wait to be accepted; they will be reset",
	    ti->tcpi_unacked);
}

static int
put_bytes(struct process *p, struct openfile *f, const struct tcp_state *s)
{
	size_t len = s->out + s->in;
	int fd, id;

	if (len == 0)
		return 0;
	fd = contents_open(p, len);
	if (fd < 0)
		return fd;
	if (pwrite(fd, s->bytes, len, 0) != (ssize_t)len) {
		close(fd);
		return -EIO;
	}
	id = process_add_content(p, fd, len);
	return id < 0 ? id : openfile_put(f, "content", "%d", id);
}

static int
put_connected(struct process *p, struct openfile *f, int fd, int state,
    const struct tcp_state *s)
{
	const char *name = NULL;
	int err;

	for (size_t i = 0; i < NSTATES; i++)
		if (states[i].state == state)
			name = states[i].name;
	if (name == NULL)
		return -EPROTO;
	err = openfile_put(f, "state", "%s", name);
	if (err == 0)
		err = put_name(f, "name", fd, false);
	if (err == 0)
		err = put_name(f, "peer", fd, true);
	if (err == 0)
		err = openfile_put(f, "seq", "%u %u", s->out_seq, s->in_seq);
	if (err == 0)
		err = openfile_put(f, "queues", "%zu %zu", s->out, s->in);
	if (err == 0)
		err = openfile_put(f, "window", "%u %u %u %u %u", s->window[0],
		    s->window[1], s->window[2], s->window[3], s->window[4]);
	if (err == 0)
		err = openfile_put(f, "agreed", "%u %u %u %u", s->mss,
		    s->options, s->snd_wscale, s->rcv_wscale);
	if (err == 0)
		err = openfile_put(f, "timestamp", "%u", s->timestamp);
	return err == 0 ? put_bytes(p, f, s) : err;
}

static int
put_state(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f, int fd)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) != 0)
		return -errno;
	switch (ti.tcpi_state) {
	case TCP_CLOSE:
		return put_closed(p, f, fd);
	case TCP_LISTEN:
		return put_listening(q, p, f, fd, &ti);
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
		return snap_fail(cx, -ENOTSUP,
		    "a socket that is connecting, which is not restored");
	}
	if (q->tcp_state == NULL)
		return snap_fail(
		    cx, -EAGAIN, "a socket that was connected meanwhile");
	return put_connected(p, f, fd, ti.tcpi_state, q->tcp_state);
}

static int
tcp_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd, err;

	fd = resource_getfd(cx, q);
	if (fd < 0)
		return fd;
	err = resource_put_object(f, q);
	if (err == 0)
		err = openfile_put(f, "domain", "%d", q->domain);
	if (err == 0)
		err = put_state(cx, q, p, f, fd);
	if (err == 0)
		err = sock_option_collect(cx, f, fd);
	close(fd);
	return err == -ENOTCONN ? snap_fail(cx, -ENOTSUP,
				      "a connection that ended meanwhile")
				: err;
}

/* ---- an image ---- */

static bool
numbers(const char *s, uint32_t *v, size_t n)
{
	uint64_t x;

	for (size_t i = 0; i < n; i++) {
		if (s == NULL || !kv_scan_u64(&s, 10, UINT32_MAX, &x) ||
		    !kv_scan_text(&s, i + 1 < n ? " " : ""))
			return false;
		v[i] = (uint32_t)x;
	}
	return *s == '\0';
}

static bool
parse_address(
    const char *s, int domain, struct sockaddr_storage *a, socklen_t *len)
{
	return s != NULL && sock_name_parse(s, a, len) &&
	       a->ss_family == domain;
}

static bool
parse_connected(const struct openfile *f, struct tcp_sock *t)
{
	uint32_t seq[2], queues[2], agreed[4];

	if (!parse_address(
		openfile_get(f, "name"), t->domain, &t->name, &t->name_len) ||
	    !parse_address(
		openfile_get(f, "peer"), t->domain, &t->peer, &t->peer_len) ||
	    !numbers(openfile_get(f, "seq"), seq, 2) ||
	    !numbers(openfile_get(f, "queues"), queues, 2) ||
	    !numbers(openfile_get(f, "window"), t->s.window, 5) ||
	    !numbers(openfile_get(f, "agreed"), agreed, 4) ||
	    !numbers(openfile_get(f, "timestamp"), &t->s.timestamp, 1))
		return false;
	t->s.out_seq = seq[0];
	t->s.in_seq = seq[1];
	t->s.out = queues[0];
	t->s.in = queues[1];
	t->s.mss = agreed[0];
	t->s.options = agreed[1];
	t->s.snd_wscale = agreed[2];
	t->s.rcv_wscale = agreed[3];
	return t->s.out <= QUEUES_MAX && t->s.in <= QUEUES_MAX &&
	       t->s.mss <= UINT16_MAX && t->s.snd_wscale <= 14 &&
	       t->s.rcv_wscale <= 14;
}

static bool
parse_unread(const struct openfile *f, struct tcp_sock *t)
{
	const char *s = openfile_get(f, "queues");
	uint32_t queues[2] = { 0 };

	if (s != NULL && (!numbers(s, queues, 2) || queues[0] != 0))
		return false;
	t->s.in = queues[1];
	return t->s.in <= QUEUES_MAX;
}

bool
tcp_sock_parse(const struct openfile *f, struct tcp_sock *t)
{
	const char *state = openfile_get(f, "state");
	const char *name = openfile_get(f, "name");
	const char *log = openfile_get(f, "backlog");
	uint64_t domain, backlog = 0;

	memset(t, 0, sizeof(*t));
	if (state == NULL ||
	    !kv_number(openfile_get(f, "domain"), 10, AF_INET6, &domain) ||
	    (domain != AF_INET && domain != AF_INET6) ||
	    (log != NULL && !kv_number(log, 10, INT32_MAX, &backlog)))
		return false;
	t->domain = (int)domain;
	t->backlog = (int)backlog;
	t->reset = openfile_get(f, "reset") != NULL;
	for (size_t i = 0; i < NSTATES; i++)
		if (strcmp(states[i].name, state) == 0) {
			t->kind = TCP_CONNECTED;
			t->state = states[i].state;
			return parse_connected(f, t);
		}
	t->kind = strcmp(state, "new") == 0	    ? TCP_NEW
		  : strcmp(state, "listening") == 0 ? TCP_LISTENING
						    : TCP_ENDED;
	if (t->kind == TCP_ENDED &&
	    (strcmp(state, "ended") != 0 || !parse_unread(f, t)))
		return false;
	if (t->kind == TCP_LISTENING && log == NULL)
		return false;
	return name == NULL ||
	       parse_address(name, t->domain, &t->name, &t->name_len);
}

static int
tcp_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const struct content *c;
	struct tcp_sock t;
	int err = kv_opt_content(cx, p, f);

	if (err == 0 && !tcp_sock_parse(f, &t))
		err = snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: not a well-formed socket of TCP", f->id);
	if (err == 0)
		err = sock_option_check(cx, f);
	if (err != 0)
		return err;
	c = process_content(p, (uint32_t)kv_u64(f, "content", 10));
	if (t.s.out + t.s.in != (c == NULL ? 0 : c->size))
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: the queues are not the contents", f->id);
	return 0;
}

const struct resource res_tcp = {
	.name = "tcp",
	.match = tcp_match,
	.collect = tcp_collect,
	.check = tcp_check,
	.restore = tcp_restore,
	.settle = tcp_settle,
};
