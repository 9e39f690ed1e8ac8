/*
 * fd_socket - sockets that carry nothing: new ones, and one whose peer is gone.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "subject.h"

static void
expect_kind(int fd, int domain, int type)
{
	socklen_t len = sizeof(int);
	int v = 0;

	expect(
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &len) == 0 && v == domain,
	    "domain of %d: %d", fd, v);
	len = sizeof(int);
	expect(getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len) == 0 && v == type,
	    "type of %d: %d", fd, v);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	int dead[2], local, tcp, tcp6, seq;
	char c;

	subject_init(argc, argv);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, dead) == 0);
	must(close(dead[1]) == 0);
	must((local = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	must((tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
	must((tcp6 = socket(AF_INET6, SOCK_STREAM, 0)) >= 0);
	must((seq = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0)) >= 0);

	subject_wait();

	expect(read(dead[0], &c, 1) == 0, "end of file");
	expect(send(dead[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE,
	    "nobody to read");
	expect_kind(local, AF_UNIX, SOCK_DGRAM);
	expect_kind(tcp, AF_INET, SOCK_STREAM);
	expect_kind(tcp6, AF_INET6, SOCK_STREAM);
	expect_kind(seq, AF_UNIX, SOCK_SEQPACKET);
	expect(fcntl(tcp, F_GETFD) == FD_CLOEXEC, "close-on-exec");
	expect((fcntl(seq, F_GETFL) & O_NONBLOCK) != 0, "O_NONBLOCK");
	expect(bind(tcp, (struct sockaddr *)&any, sizeof(any)) == 0 &&
		   listen(tcp, 1) == 0,
	    "it can listen");
	return subject_done();
}
