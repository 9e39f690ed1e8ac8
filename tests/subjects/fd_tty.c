/*
 * fd_tty - a session of its own on a terminal: settings, controlling terminal,
 * foreground group; a restore puts another terminal, of its own size, in its
 * place.
 *
 * needs: tty
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	struct termios raw, is;
	int fd, twin, ctty;

	subject_init(argc, argv);
	subject_allow(SUBJECT_FDS | SUBJECT_TTY | SUBJECT_SIGNALS);
	if (argc < 3)
		subject_die("no terminal given");
	signal(SIGHUP, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	/* Else a restore sends it, which ends the sleep. */
	signal(SIGWINCH, SIG_IGN);
	must(setsid() == getpid());
	must((fd = open(argv[2], O_RDWR)) >= 0);
	must(ioctl(fd, TIOCSCTTY, 0) == 0);
	must((twin = dup(fd)) >= 0);
	must(tcsetpgrp(fd, getpid()) == 0);
	must(tcgetattr(fd, &raw) == 0);
	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 3;
	must(tcsetattr(fd, TCSANOW, &raw) == 0);

	subject_wait();

	expect(isatty(fd) == 1, "no terminal: %s", strerror(errno));
	memset(&is, 0, sizeof(is));
	must(tcgetattr(twin, &is) == 0);
	expect(is.c_lflag == raw.c_lflag && is.c_iflag == raw.c_iflag &&
		   is.c_oflag == raw.c_oflag && is.c_cc[VMIN] == 3,
	    "the settings are others: lflag %x, not %x", is.c_lflag,
	    raw.c_lflag);
	expect(tcgetsid(fd) == getpid(), "it is not the session's terminal");
	expect(
	    tcgetpgrp(fd) == getpid(), "foreground group is %d", tcgetpgrp(fd));
	ctty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	expect(ctty >= 0, "no controlling terminal: %s", strerror(errno));
	if (ctty >= 0)
		close(ctty);
	expect(write(fd, "hello\n", 6) == 6, "cannot write to it: %s",
	    strerror(errno));
	return subject_done();
}
