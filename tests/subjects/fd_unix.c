/*
 * fd_unix - sockets of the UNIX domain with both ends in the process: pairs,
 * names, listening ones with somebody waiting, unread bytes, messages and
 * descriptors under way, options, ends that are shut down or closed.
 *
 * variants: musl
 * clones: refused
 */
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "subject.h"

static socklen_t
named(struct sockaddr_un *u, const char *path)
{
	memset(u, 0, sizeof(*u));
	u->sun_family = AF_UNIX;
	strcpy(u->sun_path, path);
	return sizeof(*u);
}

static socklen_t
hidden(struct sockaddr_un *u, const char *what)
{
	memset(u, 0, sizeof(*u));
	u->sun_family = AF_UNIX;
	snprintf(u->sun_path + 1, 60, "snapfs-test-%d-%s", (int)getpid(), what);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   strlen(u->sun_path + 1));
}

static void
put_fd(int to, int fd, const char *text)
{
	struct iovec iov = { (void *)text, strlen(text) };
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int))];
	} c;
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c) };

	memset(&c, 0, sizeof(c));
	c.h.cmsg_len = CMSG_LEN(sizeof(int));
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	must(sendmsg(to, &m, 0) == (ssize_t)iov.iov_len);
}

/* The descriptor that came with `text`, -1 if none did. */
static int
got_fd(int from, const char *text)
{
	char buf[64] = "";
	struct iovec iov = { buf, sizeof(buf) };
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int) * 4)];
	} c;
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c) };
	struct cmsghdr *h;
	ssize_t n = recvmsg(from, &m, MSG_DONTWAIT);
	int fd = -1;

	expect(n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0,
	    "`%s', not `%s' (%zd)", buf, text, n);
	h = CMSG_FIRSTHDR(&m);
	if (h != NULL && h->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	return fd;
}

static void
same(int fd, const char *text)
{
	char buf[128] = "";
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	expect(n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0,
	    "fd %d: `%s', not `%s' (%zd %s)", fd, buf, text, n,
	    n < 0 ? strerror(errno) : "");
}

static void
talk(int a, int b)
{
	must(send(a, "there", 5, MSG_DONTWAIT) == 5);
	same(b, "there");
	must(send(b, "and back", 8, MSG_DONTWAIT) == 8);
	same(a, "and back");
}

static int
option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	getsockopt(fd, SOL_SOCKET, name, &v, &len);
	return v;
}

static void
is_named(int fd, const struct sockaddr_un *u, socklen_t len, bool peer)
{
	struct sockaddr_un v;
	socklen_t n = sizeof(v);

	memset(&v, 0, sizeof(v));
	if (peer)
		must(getpeername(fd, (void *)&v, &n) == 0);
	else
		must(getsockname(fd, (void *)&v, &n) == 0);
	if (u->sun_path[0] != '\0')
		expect(strcmp(u->sun_path, v.sun_path) == 0,
		    "the name of %d%s is `%s'", fd, peer ? "'s peer" : "",
		    v.sun_path);
	else
		expect(n == len && memcmp(u, &v, len) == 0,
		    "the name of %d, which is abstract", fd);
}

/* A client that is connected, of which `listener` makes *server. */
static int
client_of(int listener, const struct sockaddr_un *u, socklen_t len, int type,
    int *server)
{
	int fd;

	must((fd = socket(AF_UNIX, type, 0)) >= 0);
	must(connect(fd, (const void *)u, len) == 0);
	if (server != NULL)
		must((*server = accept(listener, NULL, NULL)) >= 0);
	return fd;
}

/* What is received or accepted in a check goes again. */
static int
extra(int fd)
{
	static int v[16], n;

	if (fd >= 0)
		v[n++] = fd;
	for (; fd < 0 && n > 0; n--)
		close(v[n - 1]);
	return fd;
}

static struct sockaddr_un path, abstract, dgram;
static socklen_t path_len, abstract_len, dgram_len;
static int itself[2], stream[2], seq[2], dg[2], big[2], cork[2], half[2],
    dead[2], reset[2], rights[2], cred[2], lone[2];
static int listener, server, client, waits, hidden_listener, hserver, hclient;
static int receiver, sender, connected;
static char bytes[100000];

static void
set_pairs(void)
{
	struct timeval tv = { 7, 500000 };
	int one = 1, size = 300000;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, seq) == 0);
	must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, dg) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, big) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, half) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, dead) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, reset) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, lone) == 0);
	must(send(stream[0], "unread", 6, 0) == 6);
	must(send(seq[0], "one", 3, 0) == 3 && send(seq[0], "", 0, 0) == 0 &&
	     send(seq[0], "two!", 4, 0) == 4);
	must(send(dg[1], "d1", 2, 0) == 2 && send(dg[1], "", 0, 0) == 0 &&
	     send(dg[1], "d333", 4, 0) == 4);
	subject_fill(bytes, sizeof(bytes), 3);
	must(send(big[1], bytes, sizeof(bytes), 0) == sizeof(bytes));
	must(send(half[0], "last", 4, 0) == 4);
	must(shutdown(half[0], SHUT_WR) == 0);
	must(send(dead[0], "late", 4, 0) == 4 && close(dead[0]) == 0);
	must(send(reset[1], "x", 1, 0) == 1 && close(reset[0]) == 0);
	must(setsockopt(stream[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ==
	     0);
	must(setsockopt(
		 stream[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
	must(setsockopt(seq[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) ==
	     0);
}

static void
set_rights(void)
{
	int pipefd[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, rights) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, cork) == 0);
	must(send(rights[0], "before ", 7, 0) == 7);
	/* One that only the socket has, another that we have as well. */
	must(pipe(pipefd) == 0);
	must(write(pipefd[1], "in a pipe", 9) == 9);
	put_fd(rights[0], pipefd[0], "with");
	must(close(pipefd[0]) == 0);
	must(send(rights[0], " behind", 7, 0) == 7);
	put_fd(cork[0], pipefd[1], "p1");
	must(send(cork[0], "p2", 2, 0) == 2);
	/* A socket on its way in a socket, with a word in it. */
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, cred) == 0);
	must(send(cred[0], "inner", 5, 0) == 5);
	put_fd(cork[0], cred[1], "p3");
	must(close(cred[1]) == 0);
	/* Both ends on their way in one of them. */
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, itself) == 0);
	put_fd(itself[0], itself[0], "mine");
	put_fd(itself[0], itself[1], "yours");
}

static void
set_names(void)
{
	path_len = named(&path, subject_path("listens"));
	abstract_len = hidden(&abstract, "l");
	dgram_len = named(&dgram, subject_path("dgram"));
	must((listener = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	must(bind(listener, (void *)&path, path_len) == 0);
	must(chmod(path.sun_path, 0640) == 0);
	must(listen(listener, 9) == 0);
	client = client_of(listener, &path, path_len, SOCK_STREAM, &server);
	must(send(client, "question", 8, 0) == 8);
	waits = client_of(listener, &path, path_len, SOCK_STREAM, NULL);
	must((hidden_listener = socket(AF_UNIX, SOCK_SEQPACKET, 0)) >= 0);
	must(bind(hidden_listener, (void *)&abstract, abstract_len) == 0 &&
	     listen(hidden_listener, 1) == 0);
	hclient = client_of(
	    hidden_listener, &abstract, abstract_len, SOCK_SEQPACKET, &hserver);
	must((receiver = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	must((sender = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	must((connected = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	must(bind(receiver, (void *)&dgram, dgram_len) == 0);
	must(connect(connected, (void *)&dgram, dgram_len) == 0);
	must(sendto(sender, "one", 3, 0, (void *)&dgram, dgram_len) == 3);
	must(send(connected, "two", 3, 0) == 3);
}

static void
check_pairs(void)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);
	struct ucred c = { 0 };
	static char got[sizeof(bytes)];
	struct pollfd p = { .fd = reset[1] };
	char b;

	same(stream[1], "unread");
	talk(stream[0], stream[1]);
	must(getsockopt(stream[1], SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0);
	expect(tv.tv_sec == 7 && tv.tv_usec == 500000, "SO_RCVTIMEO");
	expect(option(stream[1], SO_SNDBUF) == 600000 ||
		   option(stream[1], SO_SNDBUF) == 425984,
	    "SO_SNDBUF is %d", option(stream[1], SO_SNDBUF));
	expect(option(stream[0], SO_SNDBUF) == option(lone[0], SO_SNDBUF),
	    "SO_SNDBUF of another is %d", option(stream[0], SO_SNDBUF));
	len = sizeof(c);
	must(getsockopt(stream[0], SOL_SOCKET, SO_PEERCRED, &c, &len) == 0);
	expect(c.uid == geteuid() && c.gid == getegid(), "SO_PEERCRED");
	expect(fcntl(seq[0], F_GETFD) == FD_CLOEXEC, "close-on-exec");
	expect(option(seq[1], SO_PASSCRED) == 1, "SO_PASSCRED");
	same(seq[1], "one");
	same(seq[1], "");
	same(seq[1], "two!");
	talk(seq[0], seq[1]);
	same(dg[0], "d1");
	same(dg[0], "");
	same(dg[0], "d333");
	expect(fcntl(dg[0], F_GETFL) & O_NONBLOCK, "O_NONBLOCK");
	talk(dg[0], dg[1]);
	expect(recv(big[0], got, sizeof(got), MSG_WAITALL) == sizeof(got),
	    "the long one");
	subject_filled("the long one", got, sizeof(got), 3);
	same(half[1], "last");
	expect(recv(half[1], &b, 1, MSG_DONTWAIT) == 0, "the end of a half");
	must(send(half[1], "still", 5, 0) == 5);
	same(half[0], "still");
	expect(send(half[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE,
	    "a half that is shut");
	same(dead[1], "late");
	expect(
	    recv(dead[1], &b, 1, MSG_DONTWAIT) == 0, "the end of a dead one");
	must(poll(&p, 1, 0) == 1);
	expect(p.revents & POLLERR, "an error waits");
	expect(recv(reset[1], &b, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET,
	    "ECONNRESET");
}

static void
check_rights(void)
{
	char buf[32] = "";
	int fd, other;

	/* Bytes before it come alone, or glued to it by a long read. */
	expect(
	    recv(rights[1], buf, 7, 0) == 7 && memcmp(buf, "before ", 7) == 0,
	    "what is before a descriptor: `%s'", buf);
	fd = extra(got_fd(rights[1], "with"));
	expect(fd >= 0 && read(fd, buf, sizeof(buf)) == 9 &&
		   memcmp(buf, "in a pipe", 9) == 0,
	    "a pipe on its way");
	same(rights[1], " behind");
	other = extra(got_fd(cork[1], "p1"));
	expect(other >= 0 && write(other, "again", 5) == 5 &&
		   read(fd, buf, sizeof(buf)) == 5,
	    "its other end on its way");
	expect(got_fd(cork[1], "p2") == -1, "no descriptor");
	fd = extra(got_fd(cork[1], "p3"));
	same(fd, "inner");
	talk(cred[0], fd);
	fd = extra(got_fd(itself[1], "mine"));
	other = extra(got_fd(itself[1], "yours"));
	talk(fd, other);
	talk(itself[0], other);
}

static void
check_names(void)
{
	struct sockaddr_un u;
	socklen_t len = sizeof(u);
	struct stat st;
	int fd, more;

	is_named(listener, &path, path_len, false);
	is_named(server, &path, path_len, false);
	is_named(client, &path, path_len, true);
	must(stat(path.sun_path, &st) == 0);
	expect(S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0640,
	    "the mode of its path is %o", st.st_mode);
	same(server, "question");
	talk(client, server);
	must((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
	talk(waits, fd);
	extra(fd);
	more = extra(client_of(listener, &path, path_len, SOCK_STREAM, &fd));
	extra(fd);
	talk(more, fd);
	is_named(hidden_listener, &abstract, abstract_len, false);
	talk(hclient, hserver);
	more = extra(client_of(
	    hidden_listener, &abstract, abstract_len, SOCK_SEQPACKET, &fd));
	extra(fd);
	talk(more, fd);
	same(receiver, "one");
	same(receiver, "two");
	must(send(connected, "three", 5, 0) == 5);
	same(receiver, "three");
	must(sendto(sender, "four", 4, 0, (void *)&dgram, dgram_len) == 4);
	same(receiver, "four");
	must(getpeername(connected, (void *)&u, &len) == 0);
	expect(strcmp(u.sun_path, dgram.sun_path) == 0, "a peer's name");
}

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	alarm(100);
	set_pairs();
	set_rights();
	set_names();

	subject_wait();

	check_pairs();
	check_rights();
	check_names();
	extra(-1);
	return subject_done();
}
