/*
 * fd_unix_relative - sockets of the UNIX domain whose names begin at the
 * working directory.
 *
 * clones: refused
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "subject.h"

static struct sockaddr_un
called(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	must(strlen(name) < sizeof(a.sun_path));
	strcpy(a.sun_path, name);
	return a;
}

static int
bound(int type, const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, type, 0);

	must(fd >= 0 && bind(fd, (const void *)a, sizeof(*a)) == 0);
	return fd;
}

static void
same(int fd, const char *want)
{
	char buf[32] = "";
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	expect(n == (ssize_t)strlen(want) && strcmp(buf, want) == 0,
	    "`%s' instead of `%s'", buf, want);
}

int
main(int argc, char **argv)
{
	const struct sockaddr_un l = called("listens"), d = called("dgram");
	int listener, client, server, receiver, sender, late;

	subject_init(argc, argv);
	must(mkdir(subject_path("here"), 0755) == 0);
	must(chdir(subject_path("here")) == 0);
	listener = bound(SOCK_STREAM, &l);
	must(listen(listener, 1) == 0);
	must((client = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	must(connect(client, (const void *)&l, sizeof(l)) == 0);
	must((server = accept(listener, NULL, NULL)) >= 0);
	receiver = bound(SOCK_DGRAM, &d);
	must((sender = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	must(connect(sender, (const void *)&d, sizeof(d)) == 0);
	must(send(sender, "waits", 5, 0) == 5);

	subject_wait();

	expect(access(subject_path("here/listens"), F_OK) == 0, "its path");
	must((late = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	expect(connect(late, (const void *)&l, sizeof(l)) == 0,
	    "connecting: %s", strerror(errno));
	must(close(late) == 0);
	must(send(client, "hello", 5, 0) == 5);
	same(server, "hello");
	same(receiver, "waits");
	must(send(sender, "more", 4, 0) == 4);
	same(receiver, "more");
	return subject_done();
}
