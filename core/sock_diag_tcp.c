#include "sock_diag_tcp.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "process.h"
#include "sock_diag.h"

#define REPLY_MAX 32768

struct search {
	struct snap_ctx *cx;
	int diag;
	const struct sockaddr_storage *name, *peer; /* peer: NULL, any */
	bool owned;
	struct inet_diag_sockid *found; /* no process's */
	size_t n;
};

static uint16_t
port_of(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET
		   ? ((const struct sockaddr_in *)a)->sin_port
		   : ((const struct sockaddr_in6 *)a)->sin6_port;
}

static bool
same_address(const struct sockaddr_storage *a, const void *raw)
{
	return a->ss_family == AF_INET
		   ? memcmp(&((const struct sockaddr_in *)a)->sin_addr, raw,
			 4) == 0
		   : memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, raw,
			 16) == 0;
}

static int
request(const struct search *s, int type, int flags,
    const struct inet_diag_sockid *id)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} q = {
		.h = {
			.nlmsg_len = sizeof(q),
			.nlmsg_type = (uint16_t)type,
			.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
		},
		.r = {
			.sdiag_family = (uint8_t)s->name->ss_family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = ~0u,
		},
	};

	if (id != NULL)
		q.r.id = *id;
	return send(s->diag, &q, sizeof(q), 0) == (ssize_t)sizeof(q) ? 0
								     : -errno;
}

/* Of all from a port only one that listens stands for a process's claim. */
static int
look(struct search *s, const struct inet_diag_msg *m)
{
	struct inet_diag_sockid *id;

	if (m->id.idiag_sport != port_of(s->name))
		return 0;
	if (s->peer != NULL && (m->id.idiag_dport != port_of(s->peer) ||
				   !same_address(s->name, m->id.idiag_src) ||
				   !same_address(s->peer, m->id.idiag_dst)))
		return 0;
	if (m->idiag_inode != 0) {
		s->owned |= s->peer != NULL || m->idiag_state == TCP_LISTEN;
		return 0;
	}
	id = process_grow(&s->found, &s->n, sizeof(*id));
	if (id == NULL)
		return -ENOMEM;
	*id = m->id;
	return 0;
}

static int
search(struct search *s)
{
	char *buf = malloc(REPLY_MAX);
	int err = buf == NULL ? -ENOMEM : 0;
	bool done = false;

	if (err == 0)
		err = request(s, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, NULL);
	while (err == 0 && !done) {
		ssize_t n = recv(s->diag, buf, REPLY_MAX, 0);
		size_t left = n > 0 ? (size_t)n : 0;
		struct nlmsghdr *h = (void *)buf;

		err = n < 0 ? -errno : n == 0 ? -EPROTO : 0;
		for (; err == 0 && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			done |= h->nlmsg_type == NLMSG_DONE;
			if (h->nlmsg_type == NLMSG_ERROR)
				err = -EPROTO;
			if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY &&
			    h->nlmsg_len >=
				NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
				err = look(s, NLMSG_DATA(h));
		}
	}
	free(buf);
	return err;
}

/* The answer is an error message, of 0 if it went well. */
static int
destroy(struct search *s, const struct inet_diag_sockid *id)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		char room[256];
	} a;
	int err = request(s, SOCK_DESTROY, NLM_F_ACK, id);
	ssize_t n;

	if (err < 0)
		return err;
	n = recv(s->diag, &a, sizeof(a), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(a.e)) ||
	    a.h.nlmsg_type != NLMSG_ERROR)
		return n < 0 ? -errno : -EPROTO;
	return a.e.error == -ENOENT ? 0 : a.e.error;
}

static int
run(struct search *s)
{
	int err;

	s->diag = sock_diag_open(s->cx, 0);
	if (s->diag < 0)
		return s->diag;
	err = search(s);
	for (size_t i = 0; err == 0 && !s->owned && i < s->n; i++)
		err = destroy(s, &s->found[i]);
	free(s->found);
	close(s->diag);
	if (err < 0)
		return snap_fail(
		    s->cx, err, "sock_diag of TCP: %s", strerror(-err));
	return s->owned;
}

int
sock_diag_tcp_clear(struct snap_ctx *cx, const struct sockaddr_storage *name,
    const struct sockaddr_storage *peer)
{
	struct search s = { .cx = cx, .name = name, .peer = peer };

	return run(&s);
}
