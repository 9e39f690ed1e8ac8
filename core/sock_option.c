#include "sock_option.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "resource.h"

/* A value is a number, or a structure; the longest is a filter of ICMPv6. */
#define OPTION_MAX 32
#define FILTER_MAX 4096 /* BPF_MAXINSNS */

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_RESERVE_MEM
#define SO_RESERVE_MEM 73
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH 74
#endif
#ifndef SO_RCVMARK
#define SO_RCVMARK 75
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_RCVPRIORITY
#define SO_RCVPRIORITY 82
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif
#ifndef ICMP_FILTER
#define ICMP_FILTER 1
#endif

/*
 * EARLY: before there is an address.  SIZE: of a buffer, which the kernel
 * doubles.  FIXED: can be asked for, but not set.  UNCONNECTED: of a connection
 * the kernel tells something else.  PACKETS: not of streams.
 */
enum how { LATE, EARLY, SIZE, FIXED, UNCONNECTED, PACKETS };

#define OPTION(level, name, how) \
	{ \
#name, level, name, how \
	}

static const struct option {
	const char *text;
	int level, name;
	enum how how;
} options[] = {
	OPTION(SOL_SOCKET, SO_DEBUG, LATE),
	OPTION(SOL_SOCKET, SO_REUSEADDR, EARLY),
	OPTION(SOL_SOCKET, SO_REUSEPORT, EARLY),
	OPTION(SOL_SOCKET, SO_MARK, EARLY),
	OPTION(SOL_SOCKET, SO_BINDTODEVICE, EARLY),
	OPTION(SOL_SOCKET, SO_KEEPALIVE, LATE),
	OPTION(SOL_SOCKET, SO_BROADCAST, EARLY),
	OPTION(SOL_SOCKET, SO_DONTROUTE, LATE),
	OPTION(SOL_SOCKET, SO_OOBINLINE, LATE),
	OPTION(SOL_SOCKET, SO_LINGER, LATE),
	OPTION(SOL_SOCKET, SO_SNDBUF, SIZE),
	OPTION(SOL_SOCKET, SO_RCVBUF, SIZE),
	OPTION(SOL_SOCKET, SO_BUF_LOCK, LATE),
	OPTION(SOL_SOCKET, SO_RCVLOWAT, LATE),
	OPTION(SOL_SOCKET, SO_RCVTIMEO, LATE),
	OPTION(SOL_SOCKET, SO_SNDTIMEO, LATE),
	OPTION(SOL_SOCKET, SO_PASSCRED, LATE),
	OPTION(SOL_SOCKET, SO_PASSSEC, LATE),
	OPTION(SOL_SOCKET, SO_PASSPIDFD, LATE),
	OPTION(SOL_SOCKET, SO_PASSRIGHTS, LATE),
	OPTION(SOL_SOCKET, SO_TIMESTAMP, LATE),
	OPTION(SOL_SOCKET, SO_TIMESTAMPNS, LATE),
	OPTION(SOL_SOCKET, SO_TIMESTAMPING, LATE),
	OPTION(SOL_SOCKET, SO_PEEK_OFF, LATE),
	OPTION(SOL_SOCKET, SO_BUSY_POLL, LATE),
	OPTION(SOL_SOCKET, SO_PREFER_BUSY_POLL, LATE),
	OPTION(SOL_SOCKET, SO_ZEROCOPY, LATE),
	OPTION(SOL_SOCKET, SO_MAX_PACING_RATE, LATE),
	OPTION(SOL_SOCKET, SO_NOFCS, LATE),
	OPTION(SOL_SOCKET, SO_RXQ_OVFL, LATE),
	OPTION(SOL_SOCKET, SO_SELECT_ERR_QUEUE, LATE),
	OPTION(SOL_SOCKET, SO_TXTIME, LATE),
	OPTION(SOL_SOCKET, SO_WIFI_STATUS, LATE),
	OPTION(SOL_SOCKET, SO_RESERVE_MEM, LATE),
	OPTION(SOL_SOCKET, SO_TXREHASH, LATE),
	OPTION(SOL_SOCKET, SO_RCVMARK, LATE),
	OPTION(SOL_SOCKET, SO_RCVPRIORITY, LATE),
	OPTION(IPPROTO_IP, IP_FREEBIND, EARLY),
	OPTION(IPPROTO_IP, IP_TRANSPARENT, EARLY),
	OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, EARLY),
	OPTION(IPPROTO_IP, IP_HDRINCL, LATE),
	OPTION(SOL_RAW, ICMP_FILTER, LATE),
	OPTION(IPPROTO_ICMPV6, ICMP6_FILTER, LATE),
	OPTION(IPPROTO_IP, IP_TOS, LATE),
	OPTION(IPPROTO_IP, IP_TTL, LATE),
	OPTION(IPPROTO_IP, IP_PKTINFO, LATE),
	OPTION(IPPROTO_IP, IP_RECVERR, LATE),
	OPTION(IPPROTO_IP, IP_RECVTOS, LATE),
	OPTION(IPPROTO_IP, IP_RECVTTL, LATE),
	OPTION(IPPROTO_IP, IP_RECVORIGDSTADDR, LATE),
	OPTION(IPPROTO_IP, IP_MTU_DISCOVER, LATE),
	OPTION(IPPROTO_IP, IP_MINTTL, LATE),
	OPTION(IPPROTO_IP, IP_MULTICAST_TTL, PACKETS),
	OPTION(IPPROTO_IP, IP_MULTICAST_LOOP, PACKETS),
	OPTION(IPPROTO_IP, IP_MULTICAST_ALL, PACKETS),
	OPTION(IPPROTO_IP, IP_OPTIONS, FIXED),
	OPTION(IPPROTO_IPV6, IPV6_V6ONLY, EARLY),
	OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS, LATE),
	OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO, LATE),
	OPTION(IPPROTO_IPV6, IPV6_RECVERR, LATE),
	OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS, LATE),
	OPTION(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, LATE),
	OPTION(IPPROTO_IPV6, IPV6_TCLASS, LATE),
	OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER, LATE),
	OPTION(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, PACKETS),
	OPTION(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, PACKETS),
	OPTION(IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, LATE),
	OPTION(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, LATE),
	OPTION(IPPROTO_TCP, TCP_NODELAY, LATE),
	OPTION(IPPROTO_TCP, TCP_CORK, LATE),
	OPTION(IPPROTO_TCP, TCP_MAXSEG, UNCONNECTED),
	OPTION(IPPROTO_TCP, TCP_WINDOW_CLAMP, UNCONNECTED),
	OPTION(IPPROTO_TCP, TCP_KEEPIDLE, LATE),
	OPTION(IPPROTO_TCP, TCP_KEEPINTVL, LATE),
	OPTION(IPPROTO_TCP, TCP_KEEPCNT, LATE),
	OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, LATE),
	OPTION(IPPROTO_TCP, TCP_FASTOPEN, LATE),
	OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT, LATE),
	OPTION(IPPROTO_TCP, TCP_CONGESTION, LATE),
	OPTION(IPPROTO_TCP, TCP_SYNCNT, LATE),
	OPTION(IPPROTO_TCP, TCP_LINGER2, LATE),
	OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT, LATE),
	OPTION(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, LATE),
	OPTION(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, LATE),
	OPTION(IPPROTO_TCP, TCP_SAVE_SYN, LATE),
	OPTION(IPPROTO_TCP, TCP_ULP, FIXED),
	OPTION(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, LATE),
	OPTION(IPPROTO_TCP, TCP_INQ, LATE),
	OPTION(IPPROTO_TCP, TCP_TX_DELAY, LATE),
	OPTION(IPPROTO_TCP, TCP_RTO_MAX_MS, LATE),
};
#define NOPTIONS (sizeof(options) / sizeof(options[0]))

int
sock_int(int fd, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	return getsockopt(fd, SOL_SOCKET, name, &v, &len) == 0 ? v : -1;
}

/* ---- a checkpoint ---- */

/* What cannot be asked for has length 0. */
static void
get(int fd, const struct option *o, uint8_t v[OPTION_MAX], socklen_t *len)
{
	*len = OPTION_MAX;
	memset(v, 0, OPTION_MAX);
	if (getsockopt(fd, o->level, o->name, v, len) != 0)
		*len = 0;
}

static int
put_hex(struct openfile *f, const char *key, const char *name, const uint8_t *v,
    size_t len)
{
	char *hex = malloc(2 * len + 1);
	int err;

	if (hex == NULL)
		return -ENOMEM;
	hex[0] = '\0';
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", v[i]);
	err = openfile_put(f, key, "%s%s", name, hex);
	free(hex);
	return err;
}

static int
put_option(struct snap_ctx *cx, struct openfile *f, const struct option *o,
    const uint8_t *v, socklen_t len)
{
	char name[48];

	if (o->how == FIXED)
		return snap_fail(cx, -ENOTSUP,
		    "a socket with the option %s, which is not restored",
		    o->text);
	snprintf(name, sizeof(name), "%s ", o->text);
	return put_hex(f, "option", name, v, len);
}

/*
 * A length of 0 asks for the number of instructions; of a program of eBPF the
 * kernel tells nothing, which is an error (net/core/filter.c).
 */
static int
collect_filter(struct snap_ctx *cx, struct openfile *f, int fd)
{
	struct sock_filter *v;
	socklen_t n = 0;
	int err = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) != 0)
		return snap_fail(cx, -ENOTSUP,
		    "a socket with a filter of eBPF, which the kernel does not "
		    "tell");
	if (n == 0)
		return 0;
	v = calloc(n, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, v, &n) != 0)
		err = snap_fail(cx, -ENOTSUP, "the filter of a socket: %s",
		    strerror(errno));
	if (err == 0)
		err = put_hex(
		    f, "filter", "", (const uint8_t *)v, n * sizeof(*v));
	if (err == 0 && sock_int(fd, SO_LOCK_FILTER) > 0)
		err = openfile_put(f, "filter-locked", "1");
	free(v);
	return err;
}

/* To make a raw one takes a right, so one of UDP is what it is compared to. */
static int
fresh_one(int fd)
{
	int domain = sock_int(fd, SO_DOMAIN), type = sock_int(fd, SO_TYPE);

	if (type == SOCK_RAW && domain != AF_NETLINK)
		return socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return socket(domain, type | SOCK_CLOEXEC, sock_int(fd, SO_PROTOCOL));
}

/* As `state` has it, which was noted before. */
static bool
was_connected(const struct openfile *f)
{
	const char *state = openfile_get(f, "state");

	return state != NULL && strcmp(state, "new") != 0 &&
	       strcmp(state, "listening") != 0;
}

int
sock_option_collect(struct snap_ctx *cx, struct openfile *f, int fd)
{
	int fresh = fresh_one(fd);
	uint8_t a[OPTION_MAX], b[OPTION_MAX];
	bool connected = was_connected(f);
	bool inet = sock_int(fd, SO_DOMAIN) == AF_INET ||
		    sock_int(fd, SO_DOMAIN) == AF_INET6;
	bool stream = sock_int(fd, SO_TYPE) == SOCK_STREAM;
	socklen_t m, n;
	int err = 0;

	if (fresh < 0)
		return snap_fail(
		    cx, -ENOTSUP, "a socket like it: %s", strerror(errno));
	for (size_t i = 0; i < NOPTIONS && err == 0; i++) {
		if (!inet && options[i].level != SOL_SOCKET)
			continue;
		if ((connected && options[i].how == UNCONNECTED) ||
		    (stream && options[i].how == PACKETS))
			continue;
		get(fd, &options[i], a, &m);
		get(fresh, &options[i], b, &n);
		if (m != 0 && (m != n || memcmp(a, b, m) != 0))
			err = put_option(cx, f, &options[i], a, m);
	}
	close(fresh);
	return err == 0 ? collect_filter(cx, f, fd) : err;
}

/* ---- an image ---- */

/* NAME HEX */
static const struct option *
parse(const char *s, uint8_t v[OPTION_MAX], size_t *len)
{
	const char *hex = strchr(s, ' ');

	if (hex == NULL)
		return NULL;
	*len = strlen(hex + 1) / 2;
	if (*len == 0 || *len > OPTION_MAX || !kv_hex(hex + 1, v, *len))
		return NULL;
	for (size_t i = 0; i < NOPTIONS; i++)
		if (strlen(options[i].text) == (size_t)(hex - s) &&
		    strncmp(options[i].text, s, (size_t)(hex - s)) == 0 &&
		    options[i].how != FIXED)
			return &options[i];
	return NULL;
}

bool
sock_option_has(const struct openfile *f, const char *name)
{
	uint8_t v[OPTION_MAX];
	size_t len;

	for (size_t i = 0; i < f->nkv; i++) {
		const struct option *o;

		if (strcmp(f->kv[i].key, "option") != 0)
			continue;
		o = parse(f->kv[i].value, v, &len);
		if (o != NULL && strcmp(o->text, name) == 0)
			return v[0] != 0;
	}
	return false;
}

static size_t
filter_length(const struct openfile *f)
{
	const char *hex = openfile_get(f, "filter");

	return hex == NULL ? 0 : strlen(hex) / (2 * sizeof(struct sock_filter));
}

static bool
parse_filter(const struct openfile *f, struct sock_filter *v)
{
	return kv_hex(openfile_get(f, "filter"), (uint8_t *)v,
	    filter_length(f) * sizeof(*v));
}

int
sock_option_check(struct snap_ctx *cx, const struct openfile *f)
{
	struct sock_filter *v;
	uint8_t value[OPTION_MAX];
	size_t len;
	bool ok;

	for (size_t i = 0; i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "option") == 0 &&
		    parse(f->kv[i].value, value, &len) == NULL)
			return snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: bad `option: %.80s'", f->id,
			    f->kv[i].value);
	if (openfile_get(f, "filter") == NULL)
		return 0;
	len = filter_length(f);
	if (len == 0 || len > FILTER_MAX)
		return kv_bad(cx, f, "filter");
	v = calloc(len, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	ok = parse_filter(f, v);
	free(v);
	return ok ? kv_opt_u64(cx, f, "filter-locked", 10, 1)
		  : kv_bad(cx, f, "filter");
}

/* ---- a restore ---- */

static int
forced(int name)
{
	return name == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
}

/* Of the size that SO_SNDBUF tells, which is twice what it is told. */
static void
set_size(int fd, int name, int size)
{
	int half = size / 2;

	if (setsockopt(fd, SOL_SOCKET, forced(name), &half, sizeof(half)) != 0)
		(void)setsockopt(fd, SOL_SOCKET, name, &half, sizeof(half));
}

static void
restore_size(const struct fd_restore *r, const struct openfile *f, int fd,
    const struct option *o, const uint8_t *v)
{
	int want;

	memcpy(&want, v, sizeof(want));
	set_size(fd, o->name, want);
	if (sock_int(fd, o->name) < want)
		resource_note(
		    r, "fd %u: %s is smaller than it was", f->id, o->text);
}

/*
 * Sizes that nobody has set grow by themselves, so they must not stay fixed by
 * our having set them.
 */
static void
unlock_sizes(const struct openfile *f, int fd)
{
	int none = 0;

	for (size_t i = 0; i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "option") == 0 &&
		    strncmp(f->kv[i].value, "SO_BUF_LOCK ", 12) == 0)
			return;
	(void)setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &none, sizeof(none));
}

int
sock_enlarge(int fd, int name, uint64_t bytes)
{
	int was = sock_int(fd, name);

	if (bytes > (uint64_t)was && bytes < INT32_MAX)
		set_size(fd, name, (int)bytes);
	return was;
}

void
sock_shrink(int fd, int name, int was)
{
	if (sock_int(fd, name) != was)
		set_size(fd, name, was);
}

static int
set_option(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd, const char *value, bool early)
{
	uint8_t v[OPTION_MAX];
	size_t len;
	const struct option *o = parse(value, v, &len);

	if (o == NULL)
		return kv_bad(cx, f, "option");
	if ((o->how == EARLY) != early)
		return 0;
	if (o->how == SIZE) {
		if (len != sizeof(int))
			return kv_bad(cx, f, "option");
		restore_size(r, f, fd, o, v);
		return 0;
	}
	if (setsockopt(fd, o->level, o->name, v, (socklen_t)len) != 0)
		return snap_fail(cx, -errno, "fd %u: option %s: %s", f->id,
		    o->text, strerror(errno));
	return 0;
}

static int
set_options(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd, bool early)
{
	int err = 0;

	for (size_t i = 0; i < f->nkv && err == 0; i++)
		if (strcmp(f->kv[i].key, "option") == 0)
			err = set_option(cx, r, f, fd, f->kv[i].value, early);
	return err;
}

int
sock_option_begin(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	return set_options(cx, r, f, fd, true);
}

static int
set_filter(struct snap_ctx *cx, const struct openfile *f, int fd)
{
	struct sock_fprog prog = { .len = (unsigned short)filter_length(f) };
	int one = 1, err = 0;

	if (prog.len == 0)
		return 0;
	prog.filter = calloc(prog.len, sizeof(*prog.filter));
	if (prog.filter == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	parse_filter(f, prog.filter);
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) !=
		0 ||
	    (openfile_get(f, "filter-locked") != NULL &&
		setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof(one)) !=
		    0))
		err = snap_fail(cx, -errno, "fd %u: its filter: %s", f->id,
		    strerror(errno));
	free(prog.filter);
	return err;
}

int
sock_option_end(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	int err;

	err = set_options(cx, r, f, fd, false);
	unlock_sizes(f, fd);
	return err == 0 ? set_filter(cx, f, fd) : err;
}
