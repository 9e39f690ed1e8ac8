/*
 * fd_pty - a pseudo-terminal with both its sides in the process: mode, size,
 * packet mode, what goes through it afterwards.  It knows the number, which a
 * clone beside the original cannot have.
 *
 * clones: none
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "subject.h"

static void
same(int fd, const char *text)
{
	char buf[64] = "";
	struct pollfd p = { fd, POLLIN, 0 };
	ssize_t n;

	poll(&p, 1, 20000);
	n = read(fd, buf, sizeof(buf) - 1);
	expect(n == (ssize_t)strlen(text) && strcmp(buf, text) == 0,
	    "fd %d: `%s' (%zd), not `%s'", fd, buf, n, text);
}

static int
pair(int *slave)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY);

	must(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0);
	must((*slave = open(ptsname(fd), O_RDWR | O_NOCTTY)) >= 0);
	return fd;
}

int
main(int argc, char **argv)
{
	struct winsize ws = { 33, 99, 1, 2 }, got = { 0 };
	struct termios raw, t;
	int a, b, as, bs, other, on = 1;
	char name[32], now[32];

	subject_init(argc, argv);
	subject_allow(SUBJECT_FDS);
	a = pair(&as);
	b = pair(&bs);
	must((other = open(ptsname(a), O_RDONLY | O_NOCTTY | O_NONBLOCK)) >= 0);
	must(ioctl(a, TIOCSWINSZ, &ws) == 0);
	must(tcgetattr(bs, &raw) == 0);
	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 3;
	must(tcsetattr(bs, TCSANOW, &raw) == 0);
	must(ioctl(b, TIOCPKT, &on) == 0);
	must(ttyname_r(as, name, sizeof(name)) == 0);

	subject_wait();

	must(ttyname_r(as, now, sizeof(now)) == 0);
	expect(strcmp(name, now) == 0, "it is %s, not %s", now, name);
	must(ioctl(as, TIOCGWINSZ, &got) == 0);
	expect(memcmp(&ws, &got, sizeof(ws)) == 0, "its size is %u %u",
	    got.ws_row, got.ws_col);
	must(write(a, "typed\n", 6) == 6);
	same(as, "typed\n");
	same(a, "typed\r\n"); /* the echo */
	must(write(as, "said\n", 5) == 5);
	same(a, "said\r\n");
	expect(read(other, now, 1) < 0 && errno == EAGAIN, "O_NONBLOCK");
	must(tcgetattr(bs, &t) == 0);
	expect(t.c_lflag == raw.c_lflag && t.c_oflag == raw.c_oflag &&
		   t.c_cc[VMIN] == 3,
	    "its mode");
	must(write(bs, "raw\n", 4) == 4);
	{
		char buf[16] = "";

		expect(read(b, buf, sizeof(buf)) == 5 && buf[0] == 0 &&
			   memcmp(buf + 1, "raw\n", 4) == 0,
		    "packet mode");
	}
	must(close(bs) == 0);
	expect(read(b, now, 1) < 0 && errno == EIO, "the other side is closed");
	must((bs = open(ptsname(b), O_RDWR | O_NOCTTY)) >= 0);
	return subject_done();
}
