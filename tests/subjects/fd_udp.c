/*
 * fd_udp - sockets of the Internet without connections: bound, connected, with
 * datagrams that nobody has read, in multicast groups; ping, raw and netlink
 * sockets.
 *
 * clones: refused
 */
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "subject.h"

static struct sockaddr_storage addr[2];
static socklen_t len[2] = { sizeof(addr[0]), sizeof(addr[1]) };

static int
bound(int i, int domain)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in a4 = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(domain, SOCK_DGRAM, 0);

	must(fd >= 0);
	if (domain == AF_INET)
		must(bind(fd, (void *)&a4, sizeof(a4)) == 0);
	else
		must(bind(fd, (void *)&a6, sizeof(a6)) == 0);
	must(getsockname(fd, (void *)&addr[i], &len[i]) == 0);
	return fd;
}

static void
same(int fd, const char *text, const struct sockaddr_storage *from)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);
	char buf[64] = "";
	struct pollfd p = { fd, POLLIN, 0 };
	ssize_t got;

	poll(&p, 1, 20000);
	got = recvfrom(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT, (void *)&a, &n);
	expect(got == (ssize_t)strlen(text) && strcmp(buf, text) == 0,
	    "fd %d: `%s', not `%s'", fd, buf, text);
	expect(from == NULL || memcmp(&a, from, n) == 0, "fd %d: from another",
	    fd);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	struct sockaddr_storage now = { 0 };
	struct ip_mreqn group = { .imr_ifindex = 1 };
	struct ipv6_mreq group6 = { .ipv6mr_interface = 1 };
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	socklen_t n = sizeof(now), size;
	int four, six, out, in, multi, multi6, raw, news, v = 1, ttl = 7;
	uint32_t groups[8] = { 0 };

	subject_init(argc, argv);
	four = bound(0, AF_INET);
	six = bound(1, AF_INET6);
	must((out = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	must(connect(out, (void *)&addr[0], len[0]) == 0);
	must(getsockname(out, (void *)&now, &n) == 0);
	must((in = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	must(send(out, "one", 3, 0) == 3 && send(out, "", 0, 0) == 0 &&
	     send(out, "three", 5, 0) == 5);
	must(sendto(in, "over six", 8, 0, (void *)&addr[1], len[1]) == 8);
	must((multi = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	must(bind(multi, (void *)&any, sizeof(any)) == 0);
	must(inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr) == 1);
	must(setsockopt(multi, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group,
		 sizeof(group)) == 0);
	must(setsockopt(
		 multi, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof(ttl)) == 0);
	must((multi6 = socket(AF_INET6, SOCK_DGRAM, 0)) >= 0);
	must(inet_pton(AF_INET6, "ff15::77", &group6.ipv6mr_multiaddr) == 1);
	must(setsockopt(multi6, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group6,
		 sizeof(group6)) == 0);
	must(setsockopt(four, SOL_SOCKET, SO_BROADCAST, &v, sizeof(v)) == 0);
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	must((news = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)) >= 0);
	must(bind(news, (void *)&nl, sizeof(nl)) == 0);

	subject_wait();

	same(four, "one", &now);
	same(four, "", &now);
	same(four, "three", &now);
	same(six, "over six", NULL);
	must(send(out, "four", 4, 0) == 4);
	same(four, "four", &now);
	must(sendto(four, "back", 4, 0, (void *)&now, n) == 4);
	same(out, "back", &addr[0]);
	size = sizeof(v);
	must(getsockopt(four, SOL_SOCKET, SO_BROADCAST, &v, &size) == 0);
	expect(v == 1, "SO_BROADCAST");
	size = sizeof(v);
	must(getsockopt(multi, IPPROTO_IP, IP_MULTICAST_TTL, &v, &size) == 0);
	expect(v == 7, "IP_MULTICAST_TTL is %d", v);
	expect(setsockopt(multi, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group,
		   sizeof(group)) == 0,
	    "it was in the group");
	expect(setsockopt(multi6, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &group6,
		   sizeof(group6)) == 0,
	    "it was in the group of IPv6");
	if (raw >= 0) {
		size = sizeof(v);
		must(getsockopt(raw, SOL_SOCKET, SO_PROTOCOL, &v, &size) == 0);
		expect(v == IPPROTO_ICMP, "the raw one's protocol");
	}
	size = sizeof(groups);
	must(getsockopt(news, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups,
		 &size) == 0);
	expect(groups[0] == 1, "netlink groups are %x", groups[0]);
	size = sizeof(nl);
	must(getsockname(news, (void *)&nl, &size) == 0);
	expect(nl.nl_pid == (uint32_t)getpid(), "its number is %u", nl.nl_pid);
	return subject_done();
}
