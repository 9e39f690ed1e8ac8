#include "tcp_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "sock_option.h"

#define WAIT_MS 1000

/* An address and a port, of either family, as the wire has them. */
struct endpoint {
	bool v6;
	uint8_t address[16];
	uint16_t port;
};

static struct endpoint
endpoint_of(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *in = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;
	struct endpoint e = { 0 };

	if (a->ss_family == AF_INET) {
		memcpy(e.address, &in->sin_addr, 4);
		e.port = in->sin_port;
		return e;
	}
	e.port = in6->sin6_port;
	e.v6 = !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
	if (e.v6)
		memcpy(e.address, &in6->sin6_addr, 16);
	else
		memcpy(e.address, in6->sin6_addr.s6_addr + 12, 4);
	return e;
}

static uint32_t
sum(uint32_t s, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		s += (uint32_t)p[i] << 8 | p[i + 1];
	return s;
}

static uint16_t
checksum(const struct endpoint *src, const struct endpoint *dst,
    const struct tcphdr *h)
{
	size_t n = src->v6 ? 16 : 4;
	uint32_t s = IPPROTO_TCP + sizeof(*h);

	s = sum(s, src->address, n);
	s = sum(s, dst->address, n);
	s = sum(s, h, sizeof(*h));
	s = (s >> 16) + (s & 0xffff);
	s += s >> 16;
	return htons((uint16_t)~s);
}

/* With its header of IP, which is ours too. */
static int
send_raw(
    const void *packet, size_t len, const struct sockaddr *to, socklen_t tolen)
{
	int fd = socket(to->sa_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	int err = 0;

	if (fd < 0 || sendto(fd, packet, len, 0, to, tolen) != (ssize_t)len)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

static int
send_v4(const struct endpoint *src, const struct endpoint *dst,
    const struct tcphdr *h)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} p = {
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = htons(sizeof(p)),
			.ttl = 64,
			.protocol = IPPROTO_TCP,
		},
		.tcp = *h,
	};
	struct sockaddr_in to = { .sin_family = AF_INET };

	memcpy(&p.ip.saddr, src->address, 4);
	memcpy(&p.ip.daddr, dst->address, 4);
	memcpy(&to.sin_addr, dst->address, 4);
	return send_raw(&p, sizeof(p), (void *)&to, sizeof(to));
}

static int
send_v6(const struct endpoint *src, const struct endpoint *dst,
    const struct tcphdr *h, uint32_t scope)
{
	struct {
		struct ip6_hdr ip;
		struct tcphdr tcp;
	} p = { .tcp = *h };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6,
		.sin6_scope_id = scope };

	p.ip.ip6_flow = htonl(6u << 28);
	p.ip.ip6_plen = htons(sizeof(*h));
	p.ip.ip6_nxt = IPPROTO_TCP;
	p.ip.ip6_hlim = 64;
	memcpy(&p.ip.ip6_src, src->address, 16);
	memcpy(&p.ip.ip6_dst, dst->address, 16);
	memcpy(&to.sin6_addr, dst->address, 16);
	return send_raw(&p, sizeof(p), (void *)&to, sizeof(to));
}

static int
state_of(int fd)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) == 0
		   ? ti.tcpi_state
		   : -1;
}

/* It goes by the loopback, so it is there at once; but that is not promised. */
static int
packet(int fd, const struct tcp_sock *t, uint32_t ack, bool end)
{
	struct endpoint us = endpoint_of(&t->name);
	struct endpoint peer = endpoint_of(&t->peer);
	const struct sockaddr_in6 *in6 = (const void *)&t->name;
	struct tcphdr h = {
		.source = peer.port,
		.dest = us.port,
		.seq = htonl(t->s.in_seq - (tcp_has_got_end(t->state) ? 1 : 0)),
		.ack_seq = htonl(ack),
		.doff = sizeof(h) / 4,
		.ack = 1,
		.fin = end,
		.window = htons(UINT16_MAX),
	};
	int was = state_of(fd), err;

	h.check = checksum(&peer, &us, &h);
	err = us.v6 ? send_v6(&peer, &us, &h, in6->sin6_scope_id)
		    : send_v4(&peer, &us, &h);
	for (int ms = 0; err == 0 && state_of(fd) == was; ms++) {
		if (ms == WAIT_MS)
			return -ETIMEDOUT;
		poll(NULL, 0, 1);
	}
	return err;
}

int
tcp_packet_end(int fd, const struct tcp_sock *t, uint32_t ack)
{
	return packet(fd, t, ack, true);
}

int
tcp_packet_ack(int fd, const struct tcp_sock *t, uint32_t ack)
{
	return packet(fd, t, ack, false);
}
