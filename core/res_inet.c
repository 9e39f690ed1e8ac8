/*
 * res_inet.c - sockets of the Internet that have no connection to keep:
 * datagrams of UDP, with what waits in them, ping sockets, raw ones; their
 * addresses, peers, and the multicast groups that they have joined.
 *
 * The kernel does not list a socket's groups, but tells of a group whether the
 * socket is in it; so all groups that the machine is in are tried.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "proc.h"
#include "res.h"
#include "sock_name.h"
#include "sock_option.h"
#include "sock_queue.h"

#define SOURCES_MAX 64

static bool
inet_match(const struct fd_probe *q)
{
	return S_ISSOCK(q->st.st_mode) && !q->tcp &&
	       (q->domain == AF_INET || q->domain == AF_INET6);
}

/* ---- groups ---- */

union any_filter {
	struct group_filter f;
	char room[GROUP_FILTER_SIZE(SOURCES_MAX)];
};

static int
level_of(int family)
{
	return family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

/* membership: INTERFACE GROUP include|exclude [SOURCE...], as inet:A:0 */
static int
put_group(struct openfile *f, const union any_filter *u)
{
	char line[64 + (SOURCES_MAX + 1) * 64], name[SOCK_NAME_MAX];
	size_t n;

	sock_name_format(name, &u->f.gf_group, sizeof(u->f.gf_group));
	n = (size_t)snprintf(line, sizeof(line), "%u %s %s", u->f.gf_interface,
	    name, u->f.gf_fmode == MCAST_INCLUDE ? "include" : "exclude");
	for (uint32_t i = 0; i < u->f.gf_numsrc; i++) {
		sock_name_format(
		    name, &u->f.gf_slist[i], sizeof(u->f.gf_slist[i]));
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %s", name);
	}
	return openfile_put(f, "membership", "%s", line);
}

static int
try_group(struct snap_ctx *cx, struct openfile *f, int fd, unsigned interface,
    const struct sockaddr_storage *group)
{
	union any_filter u = { .f = { .gf_interface = interface,
			       .gf_group = *group,
			       .gf_numsrc = SOURCES_MAX } };
	socklen_t len = sizeof(u);

	if (getsockopt(
		fd, level_of(group->ss_family), MCAST_MSFILTER, &u, &len) != 0)
		return 0;
	if (u.f.gf_numsrc > SOURCES_MAX)
		return snap_fail(cx, -ENOTSUP,
		    "a socket with a multicast filter of %u sources",
		    u.f.gf_numsrc);
	u.f.gf_interface = interface;
	u.f.gf_group = *group;
	return put_group(f, &u);
}

/* A line of a device, `2 eth0 ...`, is followed by those of its groups. */
static int
groups4(struct snap_ctx *cx, struct openfile *f, int fd, char *text)
{
	struct sockaddr_storage a = { .ss_family = AF_INET };
	unsigned interface = 0, group;
	char *save = NULL;
	int err = 0;

	for (char *s = strtok_r(text, "\n", &save); s != NULL && err == 0;
	     s = strtok_r(NULL, "\n", &save)) {
		if (s[0] != '\t') {
			interface = (unsigned)strtoul(s, NULL, 10);
			continue;
		}
		if (interface == 0 || sscanf(s, " %x", &group) != 1)
			continue;
		((struct sockaddr_in *)&a)->sin_addr.s_addr = group;
		err = try_group(cx, f, fd, interface, &a);
	}
	return err;
}

/* `2 eth0 ff02...01 ...` */
static int
groups6(struct snap_ctx *cx, struct openfile *f, int fd, char *text)
{
	struct sockaddr_storage a = { .ss_family = AF_INET6 };
	struct sockaddr_in6 *in = (void *)&a;
	char *save = NULL, hex[40];
	unsigned interface;
	int err = 0;

	for (char *s = strtok_r(text, "\n", &save); s != NULL && err == 0;
	     s = strtok_r(NULL, "\n", &save))
		if (sscanf(s, "%u %*s %32[0-9a-f]", &interface, hex) == 2 &&
		    kv_hex(hex, in->sin6_addr.s6_addr, 16))
			err = try_group(cx, f, fd, interface, &a);
	return err;
}

static int
put_groups(
    struct snap_ctx *cx, const struct fd_probe *q, struct openfile *f, int fd)
{
	struct snap_ctx quiet = { .error = 0 };
	char *text;
	int err = 0;

	if (proc_read(&quiet, q->p->pid, "net/igmp", &text, NULL) == 0) {
		err = groups4(cx, f, fd, text);
		free(text);
	}
	if (err == 0 && q->domain == AF_INET6 &&
	    proc_read(&quiet, q->p->pid, "net/igmp6", &text, NULL) == 0) {
		err = groups6(cx, f, fd, text);
		free(text);
	}
	return err;
}

static bool
parse_address(const char **s, struct sockaddr_storage *a)
{
	char word[SOCK_NAME_MAX];
	size_t n = strcspn(*s, " ");
	socklen_t len;

	if (n >= sizeof(word))
		return false;
	memcpy(word, *s, n);
	word[n] = '\0';
	*s += n;
	return sock_name_parse(word, a, &len) && a->ss_family != AF_UNIX;
}

static bool
parse_group(const char *s, union any_filter *u)
{
	uint64_t interface;

	memset(u, 0, sizeof(*u));
	if (!kv_scan_u64(&s, 10, INT32_MAX, &interface) ||
	    !kv_scan_text(&s, " ") || !parse_address(&s, &u->f.gf_group))
		return false;
	u->f.gf_interface = (uint32_t)interface;
	u->f.gf_fmode = MCAST_EXCLUDE;
	if (!kv_scan_text(&s, " exclude")) {
		u->f.gf_fmode = MCAST_INCLUDE;
		if (!kv_scan_text(&s, " include"))
			return false;
	}
	while (kv_scan_text(&s, " "))
		if (u->f.gf_numsrc == SOURCES_MAX ||
		    !parse_address(&s, &u->f.gf_slist[u->f.gf_numsrc++]))
			return false;
	return *s == '\0';
}

static int
join(struct snap_ctx *cx, const struct openfile *f, int fd, const char *value)
{
	struct group_req g = { 0 };
	union any_filter u;
	int level;

	if (!parse_group(value, &u))
		return kv_bad(cx, f, "membership");
	level = level_of(u.f.gf_group.ss_family);
	g.gr_interface = u.f.gf_interface;
	g.gr_group = u.f.gf_group;
	if (setsockopt(fd, level, MCAST_JOIN_GROUP, &g, sizeof(g)) != 0 ||
	    ((u.f.gf_numsrc > 0 || u.f.gf_fmode == MCAST_INCLUDE) &&
		setsockopt(fd, level, MCAST_MSFILTER, &u,
		    GROUP_FILTER_SIZE(u.f.gf_numsrc)) != 0))
		return snap_fail(cx, -errno, "fd %u: membership %s: %s", f->id,
		    value, strerror(errno));
	return 0;
}

/* ---- a checkpoint ---- */

static int
put_name(struct openfile *f, const char *key, int fd, bool peer)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	char name[SOCK_NAME_MAX];

	if ((peer ? getpeername(fd, (void *)&a, &len)
		  : getsockname(fd, (void *)&a, &len)) != 0)
		return 0;
	sock_name_format(name, &a, len);
	if (strcmp(name, "inet:0.0.0.0:0") == 0 ||
	    strcmp(name, "inet6:[::]:0") == 0)
		return 0;
	return openfile_put(f, key, "%s", name);
}

static int
collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f, int fd)
{
	int err = resource_put_object(f, q);

	if (err == 0)
		err = openfile_put(f, "domain", "%d", q->domain);
	if (err == 0)
		err = openfile_put(f, "type", "%d", sock_int(fd, SO_TYPE));
	if (err == 0)
		err = openfile_put(
		    f, "protocol", "%d", sock_int(fd, SO_PROTOCOL));
	if (err == 0)
		err = put_name(f, "name", fd, false);
	if (err == 0)
		err = put_name(f, "peer", fd, true);
	if (err == 0)
		err = put_groups(cx, q, f, fd);
	if (err == 0 && q->queue != NULL)
		err = sock_queue_put(p, f, q->queue);
	return err == 0 ? sock_option_collect(cx, f, fd) : err;
}

static int
inet_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd = resource_getfd(cx, q), type, protocol, err;

	if (fd < 0)
		return fd;
	type = sock_int(fd, SO_TYPE);
	protocol = sock_int(fd, SO_PROTOCOL);
	if (type != SOCK_RAW &&
	    (type != SOCK_DGRAM ||
		(protocol != IPPROTO_UDP && protocol != IPPROTO_ICMP &&
		    protocol != IPPROTO_ICMPV6)))
		err = snap_fail(cx, -ENOTSUP,
		    "a socket of type %d and protocol %d, a kind that is not "
		    "restored",
		    type, protocol);
	else
		err = collect(cx, q, p, f, fd);
	close(fd);
	return err;
}

/* ---- an image ---- */

struct inet_sock {
	int domain, type, protocol;
	struct sockaddr_storage name, peer;
	socklen_t name_len, peer_len;
};

static bool
parse_name(const struct openfile *f, const char *key, int domain,
    struct sockaddr_storage *a, socklen_t *len)
{
	const char *s = openfile_get(f, key);

	*len = 0;
	return s == NULL ||
	       (sock_name_parse(s, a, len) && a->ss_family == domain);
}

static bool
inet_parse(const struct openfile *f, struct inet_sock *s)
{
	uint64_t domain, type, protocol;

	memset(s, 0, sizeof(*s));
	if (!kv_number(openfile_get(f, "domain"), 10, AF_INET6, &domain) ||
	    (domain != AF_INET && domain != AF_INET6) ||
	    !kv_number(openfile_get(f, "type"), 10, SOCK_RAW, &type) ||
	    (type != SOCK_DGRAM && type != SOCK_RAW) ||
	    !kv_number(openfile_get(f, "protocol"), 10, IPPROTO_RAW, &protocol))
		return false;
	s->domain = (int)domain;
	s->type = (int)type;
	s->protocol = (int)protocol;
	return parse_name(f, "name", s->domain, &s->name, &s->name_len) &&
	       parse_name(f, "peer", s->domain, &s->peer, &s->peer_len);
}

static int
inet_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	struct inet_sock s;
	union any_filter u;

	if (!inet_parse(f, &s))
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: not a well-formed socket of the Internet",
		    f->id);
	for (size_t i = 0; i < f->nkv; i++) {
		int err = 0;

		if (strcmp(f->kv[i].key, "membership") == 0 &&
		    !parse_group(f->kv[i].value, &u))
			err = kv_bad(cx, f, "membership");
		if (err != 0)
			return err;
	}
	int err = sock_option_check(cx, f);

	return err == 0 ? sock_queue_check(cx, p, f) : err;
}

/* ---- a restore ---- */

static int
set_up(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct inet_sock *s, int fd)
{
	char text[SOCK_NAME_MAX];
	int err = sock_option_begin(cx, r, f, fd);

	if (err == 0 && s->name_len != 0 && s->type != SOCK_RAW &&
	    bind(fd, (const void *)&s->name, s->name_len) != 0) {
		err = -errno;
		sock_name_format(text, &s->name, s->name_len);
		snap_fail(
		    cx, err, "fd %u: %s: %s", f->id, text, strerror(-err));
	}
	/* Where a port is shown for a raw one, it is its protocol. */
	if (err == 0 && s->name_len != 0 && s->type == SOCK_RAW &&
	    bind(fd, (const void *)&s->name, s->name_len) != 0)
		err = snap_fail(cx, -errno, "fd %u: its address: %s", f->id,
		    strerror(errno));
	for (size_t i = 0; i < f->nkv && err == 0; i++)
		if (strcmp(f->kv[i].key, "membership") == 0)
			err = join(cx, f, fd, f->kv[i].value);
	return err;
}

static int
inet_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct inet_sock s;
	int fd, err;

	if (!inet_parse(f, &s))
		return kv_bad(cx, f, "domain");
	fd = socket(s.domain, s.type | SOCK_CLOEXEC, s.protocol);
	if (fd < 0)
		return snap_fail(
		    cx, -errno, "fd %u: socket: %s", f->id, strerror(errno));
	err = set_up(cx, r, f, &s, fd);
	if (err == 0)
		return resource_set_flags(cx, f, fd);
	close(fd);
	return err;
}

/* Is it the address that `name`, which may mean all addresses, sends from? */
static bool
sends_from(const struct inet_sock *s, const struct sockaddr_storage *from)
{
	const struct sockaddr_in *a = (const void *)&s->name;
	const struct sockaddr_in *b = (const void *)from;
	const struct sockaddr_in6 *a6 = (const void *)&s->name;
	const struct sockaddr_in6 *b6 = (const void *)from;

	if (s->name_len == 0 || s->domain != from->ss_family)
		return false;
	if (s->domain == AF_INET)
		return a->sin_port == b->sin_port &&
		       (a->sin_addr.s_addr == INADDR_ANY ||
			   a->sin_addr.s_addr == b->sin_addr.s_addr);
	return a6->sin6_port == b6->sin6_port &&
	       (IN6_IS_ADDR_UNSPECIFIED(&a6->sin6_addr) ||
		   IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr));
}

/* A socket of the image that has this address. */
static int
socket_named(const struct fd_restore *r, const struct sock_message *m)
{
	for (size_t i = 0; i < r->p->nfiles; i++) {
		const struct openfile *f = &r->p->files[i];
		struct inet_sock s;

		if (strcmp(f->kind, "inet") == 0 && !resource_edited(f) &&
		    inet_parse(f, &s) && s.protocol == IPPROTO_UDP &&
		    sends_from(&s, &m->from))
			return fcntl(resource_place(r, f), F_DUPFD_CLOEXEC, 0);
	}
	return -1;
}

/*
 * It is sent again from the address that it came from.  If that is a host's
 * elsewhere, the kernel must be told to let us (CAP_NET_ADMIN).
 */
static int
sender(const struct fd_restore *r, const struct inet_sock *s,
    const struct sock_message *m)
{
	int fd = socket_named(r, m), on = 1;

	if (fd >= 0)
		return fd;
	fd = socket(s->domain, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	(void)setsockopt(fd, level_of(s->domain),
	    s->domain == AF_INET ? IP_TRANSPARENT : IPV6_TRANSPARENT, &on,
	    sizeof(on));
	if (bind(fd, (const void *)&m->from, m->from_len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* To an address that means all addresses, one sends by the loopback. */
static void
destination(int fd, struct sockaddr_storage *to, socklen_t *len)
{
	struct sockaddr_in *in = (void *)to;
	struct sockaddr_in6 *in6 = (void *)to;

	*len = sizeof(*to);
	(void)getsockname(fd, (void *)to, len);
	if (to->ss_family == AF_INET && in->sin_addr.s_addr == INADDR_ANY)
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (to->ss_family == AF_INET6 &&
	    IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		in6->sin6_addr = in6addr_loopback;
}

static int
fill(struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f,
    const struct inet_sock *s)
{
	struct sock_queue q = { 0 };
	struct sockaddr_storage to;
	size_t at = 0, lost = 0;
	socklen_t len;
	int err, was = 0;

	if (openfile_get(f, "message") == NULL)
		return 0;
	err = sock_queue_get(cx, r->p, f, &q);
	destination(resource_place(r, f), &to, &len);
	if (err == 0)
		was = sock_enlarge(resource_place(r, f), SO_RCVBUF,
		    4 * q.len + 2048 * q.n + 65536);
	for (size_t i = 0; i < q.n && err == 0; i++) {
		int fd = sender(r, s, &q.v[i]);

		q.v[i].has_cred = false;
		if (fd < 0 ||
		    sock_queue_send(fd, &q, &q.v[i], at, &to, len) != 0)
			lost++;
		if (fd >= 0)
			close(fd);
		at += q.v[i].len;
	}
	if (err == 0)
		sock_shrink(resource_place(r, f), SO_RCVBUF, was);
	if (lost > 0)
		resource_note(r, "fd %u: %zu datagrams were lost", f->id, lost);
	sock_queue_fini(&q);
	return err;
}

static int
settle_one(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct inet_sock s;
	int err;

	if (!inet_parse(f, &s))
		return kv_bad(cx, f, "domain");
	err = fill(cx, r, f, &s);
	if (err == 0 && s.peer_len != 0 &&
	    connect(resource_place(r, f), (const void *)&s.peer, s.peer_len) !=
		0)
		err = snap_fail(cx, -errno, "fd %u: connecting it: %s", f->id,
		    strerror(errno));
	return err == 0 ? sock_option_end(cx, r, f, resource_place(r, f)) : err;
}

static int
inet_settle(struct snap_ctx *cx, const struct fd_restore *r)
{
	int err = 0;

	for (size_t i = 0; i < r->p->nfiles && err == 0; i++)
		if (strcmp(r->p->files[i].kind, "inet") == 0 &&
		    !resource_edited(&r->p->files[i]))
			err = settle_one(cx, r, &r->p->files[i]);
	return err;
}

const struct resource res_inet = {
	.name = "inet",
	.match = inet_match,
	.collect = inet_collect,
	.check = inet_check,
	.restore = inet_restore,
	.settle = inet_settle,
};
