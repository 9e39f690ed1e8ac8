/*
 * fd_pipe - pipes that begin and end in the process: unread bytes, sizes,
 * flags, packets, an end that is closed.
 *
 * variants: musl
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "subject.h"

#define FULL (300 * 1024)

int
main(int argc, char **argv)
{
	int plain[2], big[2], packet[2], noread[2], nowrite[2], nonblock[2];
	static char buf[FULL], got[FULL];
	struct stat a, b;
	int n;

	subject_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	must(pipe(plain) == 0 && pipe2(big, O_CLOEXEC) == 0);
	must(pipe2(packet, O_DIRECT) == 0 && pipe(noread) == 0);
	must(pipe(nowrite) == 0 && pipe2(nonblock, O_NONBLOCK) == 0);
	must(write(plain[1], "unread", 6) == 6);
	must(fcntl(big[1], F_SETPIPE_SZ, 1 << 20) == 1 << 20);
	subject_fill(buf, FULL, 8);
	must(write(big[1], buf, FULL) == FULL);
	must(write(packet[1], "one", 3) == 3);
	must(write(packet[1], "twotwo", 6) == 6);
	must(close(noread[0]) == 0);
	must(write(nowrite[1], "last words", 10) == 10);
	must(close(nowrite[1]) == 0);

	subject_wait();

	must(fstat(plain[0], &a) == 0 && fstat(plain[1], &b) == 0);
	expect(a.st_ino == b.st_ino, "two ends of two pipes");
	must(ioctl(plain[0], FIONREAD, &n) == 0);
	expect(n == 6, "%d bytes unread", n);
	expect(read(plain[0], got, 100) == 6 && memcmp(got, "unread", 6) == 0,
	    "the unread bytes");
	must(write(plain[1], "more", 4) == 4);
	expect(read(plain[0], got, 100) == 4, "what is written afterwards");
	expect(fcntl(big[0], F_GETPIPE_SZ) == 1 << 20, "the size is %d",
	    fcntl(big[0], F_GETPIPE_SZ));
	for (n = 0; n < FULL;) {
		ssize_t part = read(big[0], got + n, (size_t)(FULL - n));

		if (part <= 0)
			break;
		n += (int)part;
	}
	expect(n == FULL, "%d unread bytes of %d", n, FULL);
	subject_filled("the big pipe", got, FULL, 8);
	expect(read(packet[0], got, 100) == 3, "the first packet");
	expect(read(packet[0], got, 100) == 6, "the second packet");
	expect(write(noread[1], "x", 1) == -1 && errno == EPIPE,
	    "a pipe that nobody reads");
	expect(read(nowrite[0], got, 100) == 10 &&
		   memcmp(got, "last words", 10) == 0,
	    "unread bytes of a pipe that nobody writes");
	expect(read(nowrite[0], got, 100) == 0, "its end");
	expect(
	    read(nonblock[0], got, 1) == -1 && errno == EAGAIN, "O_NONBLOCK");
	return subject_done();
}
