/*
 * res_socket.c - sockets of TCP that carry nothing: new, neither bound nor
 * connected.
 *
 * Options are not brought back, so one that has any other than a new socket of
 * its kind has is not restored.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"

/* A structure is compared whole; the longest is struct timeval, or linger. */
#define OPTION_MAX 16

static const struct {
	int level, name;
} options[] = {
	{ SOL_SOCKET, SO_DEBUG },
	{ SOL_SOCKET, SO_REUSEADDR },
	{ SOL_SOCKET, SO_REUSEPORT },
	{ SOL_SOCKET, SO_KEEPALIVE },
	{ SOL_SOCKET, SO_BROADCAST },
	{ SOL_SOCKET, SO_DONTROUTE },
	{ SOL_SOCKET, SO_OOBINLINE },
	{ SOL_SOCKET, SO_LINGER },
	{ SOL_SOCKET, SO_PRIORITY },
	{ SOL_SOCKET, SO_MARK },
	{ SOL_SOCKET, SO_SNDBUF },
	{ SOL_SOCKET, SO_RCVBUF },
	{ SOL_SOCKET, SO_RCVLOWAT },
	{ SOL_SOCKET, SO_RCVTIMEO },
	{ SOL_SOCKET, SO_SNDTIMEO },
	{ SOL_SOCKET, SO_PASSCRED },
	{ SOL_SOCKET, SO_PASSSEC },
	{ SOL_SOCKET, SO_TIMESTAMP },
	{ SOL_SOCKET, SO_TIMESTAMPNS },
	{ SOL_SOCKET, SO_TIMESTAMPING },
	{ SOL_SOCKET, SO_PEEK_OFF },
	{ SOL_SOCKET, SO_BUSY_POLL },
	{ SOL_SOCKET, SO_ZEROCOPY },
	{ SOL_SOCKET, SO_BINDTODEVICE },
	{ SOL_SOCKET, SO_LOCK_FILTER },
	{ SOL_SOCKET, SO_MAX_PACING_RATE },
	{ SOL_SOCKET, SO_NOFCS },
	{ SOL_SOCKET, SO_RXQ_OVFL },
	{ SOL_SOCKET, SO_SELECT_ERR_QUEUE },
	{ SOL_SOCKET, SO_TXTIME },
	{ SOL_SOCKET, SO_WIFI_STATUS },
	{ IPPROTO_IP, IP_TOS },
	{ IPPROTO_IP, IP_TTL },
	{ IPPROTO_IP, IP_FREEBIND },
	{ IPPROTO_IP, IP_TRANSPARENT },
	{ IPPROTO_IP, IP_PKTINFO },
	{ IPPROTO_IP, IP_RECVERR },
	{ IPPROTO_IP, IP_RECVTOS },
	{ IPPROTO_IP, IP_RECVTTL },
	{ IPPROTO_IP, IP_MTU_DISCOVER },
	{ IPPROTO_IP, IP_MINTTL },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT },
	{ IPPROTO_IP, IP_MULTICAST_TTL },
	{ IPPROTO_IP, IP_MULTICAST_LOOP },
	{ IPPROTO_IP, IP_OPTIONS },
	{ IPPROTO_IPV6, IPV6_V6ONLY },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO },
	{ IPPROTO_IPV6, IPV6_RECVERR },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS },
	{ IPPROTO_IPV6, IPV6_TCLASS },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER },
	{ IPPROTO_IPV6, IPV6_ADDR_PREFERENCES },
	{ IPPROTO_IPV6, IPV6_AUTOFLOWLABEL },
	{ IPPROTO_TCP, TCP_NODELAY },
	{ IPPROTO_TCP, TCP_CORK },
	{ IPPROTO_TCP, TCP_KEEPIDLE },
	{ IPPROTO_TCP, TCP_KEEPINTVL },
	{ IPPROTO_TCP, TCP_KEEPCNT },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT },
	{ IPPROTO_TCP, TCP_FASTOPEN },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT },
	{ IPPROTO_TCP, TCP_CONGESTION },
	{ IPPROTO_TCP, TCP_MAXSEG },
	{ IPPROTO_TCP, TCP_SYNCNT },
	{ IPPROTO_TCP, TCP_LINGER2 },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP },
	{ IPPROTO_TCP, TCP_QUICKACK },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT },
	{ IPPROTO_TCP, TCP_FASTOPEN_CONNECT },
	{ IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE },
	{ IPPROTO_TCP, TCP_SAVE_SYN },
	{ IPPROTO_TCP, TCP_ULP },
	{ IPPROTO_TCP, TCP_REPAIR },
	{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS },
	{ IPPROTO_TCP, TCP_INQ },
	{ IPPROTO_TCP, TCP_TX_DELAY },
};

static bool
socket_match(const struct fd_probe *q)
{
	return S_ISSOCK(q->st.st_mode);
}

/* ---- a checkpoint ---- */

static int
int_option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	return getsockopt(fd, SOL_SOCKET, name, &v, &len) == 0 ? v : -1;
}

/*
 * A length of 0 asks for the number of instructions; of a program of eBPF the
 * kernel tells nothing, which is an error (net/core/filter.c).
 */
static bool
has_filter(int fd)
{
	socklen_t n = 0;

	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) != 0 ||
	       n != 0;
}

static bool
same_options(int a, int b)
{
	if (has_filter(a))
		return false;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		char x[OPTION_MAX] = { 0 }, y[OPTION_MAX] = { 0 };
		socklen_t m = sizeof(x), n = sizeof(y);
		int r, s;

		r = getsockopt(a, options[i].level, options[i].name, x, &m);
		s = getsockopt(b, options[i].level, options[i].name, y, &n);
		if (r != s || (r == 0 && (m != n || memcmp(x, y, m) != 0)))
			return false;
	}
	return true;
}

/* No address, no peer, no port; not listening. */
static bool
is_new(int fd)
{
	struct sockaddr_storage none = { 0 }, a = { 0 };
	socklen_t len = sizeof(a);

	if (int_option(fd, SO_ACCEPTCONN) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) != 0 ||
	    len > sizeof(a))
		return false;
	none.ss_family = a.ss_family;
	if (memcmp(&a, &none, sizeof(a)) != 0)
		return false;
	len = sizeof(a);
	return getpeername(fd, (struct sockaddr *)&a, &len) != 0 &&
	       errno == ENOTCONN;
}

/*
 * Not datagrams of the Internet: nobody tells which multicast groups such a
 * socket has joined.
 */
static bool
is_known(uint64_t domain, uint64_t type)
{
	return (domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM;
}

/* Can it be made again? */
static bool
is_plain(int fd, int domain, int type, int protocol)
{
	bool same;
	int other;

	if (!is_known((uint64_t)domain, (uint64_t)type))
		return false;
	if (!is_new(fd))
		return false;
	other = socket(domain, type | SOCK_CLOEXEC, protocol);
	if (other < 0)
		return false;
	same = same_options(fd, other);
	close(other);
	return same;
}

static int
socket_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd = resource_getfd(cx, q), domain, type, protocol;
	bool plain;

	(void)p;
	if (fd < 0)
		return fd;
	domain = int_option(fd, SO_DOMAIN);
	type = int_option(fd, SO_TYPE);
	protocol = int_option(fd, SO_PROTOCOL);
	plain = is_plain(fd, domain, type, protocol);
	close(fd);
	if (!plain)
		return snap_fail(cx, -ENOTSUP,
		    "a socket (%s), a kind that is not restored", q->target);
	if (openfile_put(f, "domain", "%d", domain) != 0 ||
	    openfile_put(f, "type", "%d", type) != 0 ||
	    openfile_put(f, "protocol", "%d", protocol) != 0)
		return -ENOMEM;
	return openfile_put(f, "peer", "none");
}

/* ---- a restore ---- */

static int
socket_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	int err;

	(void)p;
	err = kv_need_u64(cx, f, "domain", 10, INT16_MAX);
	if (err == 0)
		err = kv_need_u64(cx, f, "type", 10, INT16_MAX);
	if (err == 0)
		err = kv_need_u64(cx, f, "protocol", 10, IPPROTO_MAX - 1);
	if (err == 0)
		err = kv_need(cx, f, "peer");
	if (err != 0)
		return err;
	if (!is_known(kv_u64(f, "domain", 10), kv_u64(f, "type", 10)))
		return kv_bad(cx, f, "type");
	if (strcmp(openfile_get(f, "peer"), "none") != 0)
		return kv_bad(cx, f, "peer");
	return 0;
}

static int
socket_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd;

	(void)r;
	fd = socket((int)kv_u64(f, "domain", 10),
	    (int)kv_u64(f, "type", 10) | SOCK_CLOEXEC,
	    (int)kv_u64(f, "protocol", 10));
	if (fd < 0)
		return snap_fail(
		    cx, -errno, "fd %u: socket: %s", f->id, strerror(errno));
	return resource_set_flags(cx, f, fd);
}

const struct resource res_socket = {
	.name = "socket",
	.match = socket_match,
	.collect = socket_collect,
	.check = socket_check,
	.restore = socket_restore,
};
