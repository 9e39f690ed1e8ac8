/*
 * tcp_peek.c - what a connection of TCP is made of, seen without touching it.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ctx.h"
#include "sock_guard.h"
#include "sock_option.h"
#include "tcp_sock.h"

#define TRIES 20

bool
tcp_has_sent_end(int state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 ||
	       state == TCP_CLOSING || state == TCP_LAST_ACK;
}

bool
tcp_has_got_end(int state)
{
	return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK ||
	       state == TCP_CLOSING;
}

static int
get(int fd, int name, void *v, socklen_t len)
{
	return getsockopt(fd, IPPROTO_TCP, name, v, &len) == 0 ? 0 : -errno;
}

static int
set(int fd, int name, int v)
{
	return setsockopt(fd, IPPROTO_TCP, name, &v, sizeof(v)) == 0 ? 0
								     : -errno;
}

static int
queue(int fd, int which, uint32_t *seq)
{
	int err = set(fd, TCP_REPAIR_QUEUE, which);

	return err == 0 ? get(fd, TCP_QUEUE_SEQ, seq, sizeof(*seq)) : err;
}

bool
tcp_is_connected(int fd)
{
	struct tcp_info ti = { 0 };

	return get(fd, TCP_INFO, &ti, sizeof(ti)) == 0 &&
	       ti.tcpi_state != TCP_CLOSE && ti.tcpi_state != TCP_LISTEN &&
	       ti.tcpi_state != TCP_SYN_SENT && ti.tcpi_state != TCP_SYN_RECV;
}

static int
peek_bytes(int fd, char *to, size_t len)
{
	size_t at = 0;
	ssize_t n;

	if (len == 0)
		return 0;
	/* One look shows all: each begins at the front of the queue. */
	n = recv(fd, to, len, MSG_PEEK | MSG_DONTWAIT);
	if (n >= 0)
		at = (size_t)n;
	return n < 0 ? -errno : at == len ? 0 : -EAGAIN;
}

/*
 * An end of the stream that was sent and not acknowledged is counted as a byte
 * that waits, and is none.
 */
static int
lengths(int fd, int state, size_t *out, size_t *in)
{
	int o = 0, i = 0;

	if (ioctl(fd, SIOCOUTQ, &o) != 0 || ioctl(fd, SIOCINQ, &i) != 0)
		return -errno;
	if (tcp_has_sent_end(state) && o > 0)
		o--;
	*out = (size_t)o;
	*in = (size_t)i;
	return 0;
}

static int
look_queues(int fd, int state, struct tcp_state *s)
{
	uint32_t seq;
	size_t out, in;
	int err = lengths(fd, state, &s->out, &s->in);

	if (err == 0)
		err = queue(fd, TCP_RECV_QUEUE, &s->in_seq);
	free(s->bytes);
	s->bytes = err == 0 ? malloc(s->out + s->in + 1) : NULL;
	if (err == 0 && s->bytes == NULL)
		err = -ENOMEM;
	if (err == 0)
		err = peek_bytes(fd, s->bytes + s->out, s->in);
	if (err == 0)
		err = queue(fd, TCP_SEND_QUEUE, &s->out_seq);
	if (err == 0)
		err = peek_bytes(fd, s->bytes, s->out);
	if (err == 0)
		err = lengths(fd, state, &out, &in);
	/* Its owner is held; but the network goes on. */
	if (err == 0)
		err = queue(fd, TCP_RECV_QUEUE, &seq);
	if (err == 0 && (seq != s->in_seq || out != s->out || in != s->in))
		err = -EAGAIN;
	return err;
}

static int
look_once(int fd, struct tcp_state *s)
{
	struct tcp_info ti = { 0 }, after = { 0 };
	int err = get(fd, TCP_INFO, &ti, sizeof(ti));

	if (err == 0)
		err = look_queues(fd, ti.tcpi_state, s);
	if (err == 0)
		err = get(fd, TCP_REPAIR_WINDOW, s->window, sizeof(s->window));
	if (err == 0)
		err = get(fd, TCP_MAXSEG, &s->mss, sizeof(s->mss));
	if (err == 0)
		err = get(fd, TCP_TIMESTAMP, &s->timestamp, 4);
	if (err == 0)
		err = get(fd, TCP_INFO, &after, sizeof(after));
	if (err == 0 && after.tcpi_state != ti.tcpi_state)
		err = -EAGAIN;
	s->options = ti.tcpi_options;
	s->snd_wscale = ti.tcpi_snd_wscale;
	s->rcv_wscale = ti.tcpi_rcv_wscale;
	return err;
}

/* The kernel forgets SO_REUSEADDR on the way. */
static int
look(int fd, struct tcp_state *s)
{
	int reuse = sock_int(fd, SO_REUSEADDR), err, tries = 0;

	memset(s, 0, sizeof(*s));
	err = set(fd, TCP_REPAIR, 1);
	if (err < 0)
		return err;
	do
		err = look_once(fd, s);
	while (err == -EAGAIN && ++tries < TRIES);
	set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	return err;
}

/* What puts them out of TCP_REPAIR again. */
static struct sock_undo *
undos(const int *fd, size_t n)
{
	struct sock_undo *u = calloc(2 * n + 1, sizeof(*u));

	for (size_t i = 0; u != NULL && i < n; i++) {
		u[2 * i] = (struct sock_undo){ fd[i], IPPROTO_TCP, TCP_REPAIR,
			TCP_REPAIR_OFF_NO_WP };
		u[2 * i + 1] = (struct sock_undo){ fd[i], SOL_SOCKET,
			SO_REUSEADDR, sock_int(fd[i], SO_REUSEADDR) };
	}
	return u;
}

int
tcp_peek(
    struct snap_ctx *cx, const int *fd, size_t n, struct tcp_state *v, int *err)
{
	struct sock_undo *u = undos(fd, n);
	struct sock_guard *g;
	int e;

	if (u == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	e = sock_guard_begin(cx, u, 2 * n, &g);
	for (size_t i = 0; e == 0 && i < n; i++)
		err[i] = look(fd[i], &v[i]);
	if (e == 0)
		sock_guard_end(g);
	free(u);
	return e;
}
