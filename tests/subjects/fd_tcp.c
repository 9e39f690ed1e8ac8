/*
 * fd_tcp - sockets of TCP with both ends in the process: listening, connected,
 * over IPv4 and IPv6, with bytes that nobody has read, ends that are shut,
 * options, one that was reset.
 *
 * clones: refused
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "subject.h"

#define LONG 60000

static int
get(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	getsockopt(fd, level, name, &v, &len);
	return v;
}

static int
state(int fd)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);

	must(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) == 0);
	return ti.tcpi_state;
}

static void
set(int fd, int level, int name, int v)
{
	must(setsockopt(fd, level, name, &v, sizeof(v)) == 0);
}

static int
listens(int domain)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in a4 = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(domain, SOCK_STREAM, 0);

	must(fd >= 0);
	if (domain == AF_INET)
		must(bind(fd, (void *)&a4, sizeof(a4)) == 0);
	else
		must(bind(fd, (void *)&a6, sizeof(a6)) == 0);
	must(listen(fd, 7) == 0);
	return fd;
}

/* v[0] connects, v[1] is accepted. */
static void
pair(int listener, int domain, int v[2])
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	must(getsockname(listener, (void *)&a, &len) == 0);
	must((v[0] = socket(domain, SOCK_STREAM, 0)) >= 0);
	must(connect(v[0], (void *)&a, len) == 0);
	must((v[1] = accept(listener, NULL, NULL)) >= 0);
}

static void
same(int fd, const char *text)
{
	char buf[128] = "";
	struct pollfd p = { fd, POLLIN, 0 };
	ssize_t n;

	poll(&p, 1, 20000);
	n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	expect(n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0,
	    "fd %d: `%s', not `%s' (%zd %s)", fd, buf, text, n,
	    n < 0 ? strerror(errno) : "");
}

static void
talk(int a, int b)
{
	expect(send(a, "there", 5, MSG_DONTWAIT | MSG_NOSIGNAL) == 5,
	    "sending by %d: %s", a, strerror(errno));
	same(b, "there");
	expect(send(b, "and back", 8, MSG_DONTWAIT | MSG_NOSIGNAL) == 8,
	    "sending by %d: %s", b, strerror(errno));
	same(a, "and back");
}

static int listener, listener6, bound;
static int plain[2], six[2], both[2], half[2], shut[2], dead[2], gone[2],
    full[2];
static struct sockaddr_storage name;
static socklen_t name_len = sizeof(name);
static char bytes[LONG];
static size_t sent;

static void
set_up(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct linger now = { 1, 0 };
	int n;

	listener = listens(AF_INET);
	listener6 = listens(AF_INET6);
	pair(listener, AF_INET, plain);
	pair(listener6, AF_INET6, six);
	pair(listener, AF_INET, both);
	pair(listener, AF_INET, half);
	pair(listener6, AF_INET6, shut);
	pair(listener, AF_INET, dead);
	pair(listener, AF_INET, gone);
	pair(listener, AF_INET, full);
	must((bound = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
	must(bind(bound, (void *)&a, sizeof(a)) == 0);
	must(getsockname(bound, (void *)&name, &name_len) == 0);
	set(plain[0], IPPROTO_TCP, TCP_NODELAY, 1);
	set(plain[0], SOL_SOCKET, SO_KEEPALIVE, 1);
	set(plain[0], IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set(plain[1], IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
	set(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 3);
	must(send(six[0], "over six", 8, 0) == 8);
	subject_fill(bytes, LONG, 5);
	must(send(both[0], bytes, LONG, 0) == LONG);
	must(send(both[1], "answer", 6, 0) == 6);
	/* More than the other end takes: some is not even sent. */
	set(full[1], SOL_SOCKET, SO_RCVBUF, 65536);
	set(full[0], SOL_SOCKET, SO_SNDBUF, 200000);
	while ((n = (int)send(full[0], bytes, LONG, MSG_DONTWAIT)) > 0)
		sent += (size_t)n;
	must(send(half[0], "last", 4, 0) == 4);
	must(shutdown(half[0], SHUT_WR) == 0);
	must(shutdown(shut[0], SHUT_WR) == 0);
	must(
	    setsockopt(dead[0], SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
	must(close(dead[0]) == 0);
	must(send(gone[0], "then gone", 9, 0) == 9 && close(gone[0]) == 0);
	/* The last acknowledgements. */
	usleep(100000);
	must(state(half[0]) == TCP_FIN_WAIT2 &&
	     state(half[1]) == TCP_CLOSE_WAIT);
}

static void
check_full(void)
{
	char buf[4096];
	size_t got = 0;
	struct pollfd p = { full[1], POLLIN, 0 };
	bool right = true;

	while (got < sent && poll(&p, 1, 20000) == 1) {
		ssize_t n = recv(full[1], buf, sizeof(buf), 0);

		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			right &= buf[i] == bytes[(got + (size_t)i) % LONG];
		got += (size_t)n;
	}
	expect(got == sent && right, "%zu bytes of %zu%s", got, sent,
	    right ? "" : ", which are others");
	talk(full[0], full[1]);
}

static void
check_ends(void)
{
	char c;

	expect(state(half[0]) == TCP_FIN_WAIT2, "a half is in state %d",
	    state(half[0]));
	expect(state(half[1]) == TCP_CLOSE_WAIT, "its other is in state %d",
	    state(half[1]));
	same(half[1], "last");
	expect(recv(half[1], &c, 1, 0) == 0, "the end of a half");
	must(send(half[1], "still", 5, MSG_NOSIGNAL) == 5);
	same(half[0], "still");
	expect(send(half[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE,
	    "a half that is shut");
	expect(recv(shut[1], &c, 1, MSG_DONTWAIT) == 0, "an end over IPv6");
	must(send(shut[1], "six", 3, MSG_NOSIGNAL) == 3);
	same(shut[0], "six");
	expect(recv(dead[1], &c, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET,
	    "one that was reset: %s", strerror(errno));
	expect(recv(dead[1], &c, 1, MSG_DONTWAIT) == 0, "and then the end");
	same(gone[1], "then gone");
	/* Nobody is there: in another life the kernel may know. */
	expect(recv(gone[1], &c, 1, MSG_DONTWAIT) == 0 || errno == EPIPE ||
		   errno == ECONNRESET,
	    "the peer is gone: %s", strerror(errno));
}

int
main(int argc, char **argv)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	static char got[LONG];
	int more[2];

	subject_init(argc, argv);
	alarm(100);
	set_up();

	subject_wait();

	talk(plain[0], plain[1]);
	same(six[1], "over six");
	talk(six[0], six[1]);
	expect(recv(both[1], got, LONG, MSG_WAITALL) == LONG, "the long one");
	subject_filled("the long one", got, LONG, 5);
	same(both[0], "answer");
	talk(both[0], both[1]);
	expect(get(plain[0], IPPROTO_TCP, TCP_NODELAY) == 1, "TCP_NODELAY");
	expect(get(plain[1], IPPROTO_TCP, TCP_NODELAY) == 0, "TCP_NODELAY off");
	expect(get(plain[0], IPPROTO_TCP, TCP_KEEPIDLE) == 77, "TCP_KEEPIDLE");
	expect(get(plain[1], IPPROTO_TCP, TCP_USER_TIMEOUT) == 12345,
	    "TCP_USER_TIMEOUT");
	expect(get(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT) > 0,
	    "TCP_DEFER_ACCEPT");
	expect(get(listener, SOL_SOCKET, SO_REUSEADDR) == 0 &&
		   get(plain[0], SOL_SOCKET, SO_REUSEADDR) == 0,
	    "SO_REUSEADDR");
	expect(get(plain[0], IPPROTO_TCP, TCP_REPAIR) == 0, "TCP_REPAIR");
	must(getsockname(bound, (void *)&a, &len) == 0);
	expect(len == name_len && memcmp(&a, &name, len) == 0, "a bound port");
	check_ends();
	check_full();
	set(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
	pair(listener, AF_INET, more);
	talk(more[0], more[1]);
	close(more[0]);
	close(more[1]);
	pair(listener6, AF_INET6, more);
	talk(more[0], more[1]);
	close(more[0]);
	close(more[1]);
	return subject_done();
}
