#include "terminal.h"

#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define RELAY_NAME "snapfs-relay"
#define KEEP 4 /* descriptors of a relay: see be_relay() */

/* ---- which one ---- */

static dev_t
device_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode)
		   ? st.st_rdev
		   : 0;
}

/* proc(5) tty_nr */
static dev_t
controlling_device(const struct writer *w)
{
	unsigned tty = (unsigned)w->stat.tty;

	return makedev(tty >> 8 & 0xfff, (tty & 0xff) | (tty >> 12 & 0xfff00));
}

/* Without O_NONBLOCK a serial line waits for its carrier. */
static int
open_terminal(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), err;

	if (fd < 0)
		return -errno;
	err = !isatty(fd) || fcntl(fd, F_SETFL, O_RDWR) < 0 ? -ENOTTY : 0;
	if (err < 0)
		close(fd);
	return err < 0 ? err : fd;
}

/* By device number, in the writer's /dev. */
static int
open_controlling(const struct writer *w)
{
	unsigned ma = major(controlling_device(w));
	unsigned mi = minor(controlling_device(w));
	char path[32];
	int fd;

	if (ma >= 136 && ma <= 143)
		snprintf(
		    path, sizeof(path), "/dev/pts/%u", (ma - 136) * 256 + mi);
	else if (ma == 4 && mi >= 64)
		snprintf(path, sizeof(path), "/dev/ttyS%u", mi - 64);
	else if (ma == 4)
		snprintf(path, sizeof(path), "/dev/tty%u", mi);
	else
		return -ENXIO;
	fd = open_terminal(path);
	if (fd >= 0 && device_of(fd) != makedev(ma, mi)) {
		close(fd);
		return -ENXIO;
	}
	return fd;
}

int
terminal_open(
    struct terminal *t, struct writer *w, const struct agent_request *ask)
{
	const char *path = ask->restore.tty;

	*t = (struct terminal){ .fd = -1,
		.slave = -1,
		.std = { -1, -1, -1 },
		.go = -1,
		.ended = -1 };
	if (strcmp(path, "/dev/tty") == 0) {
		/* That of whoever opens it. */
		t->fd = open_controlling(w);
	} else if (path[0] != '\0') {
		t->named = true;
		t->fd = open_terminal(path);
	} else if (w->tty >= 0) {
		t->fd = fcntl(w->tty, F_DUPFD_CLOEXEC, 0);
	} else if (w->stat.tty != 0) {
		t->fd = open_controlling(w);
	}
	if (path[0] != '\0' && t->fd < 0) {
		snprintf(w->why, sizeof(w->why), "tty=%.400s: %s", path,
		    t->fd == -ENOTTY ? "not a terminal" : strerror(-t->fd));
		return t->fd;
	}
	t->writers =
	    w->stat.tty != 0 && device_of(t->fd) == controlling_device(w);
	t->in_front = t->writers && w->stat.pgid == w->stat.tty_pgid &&
		      !ask->terminal_busy;
	for (int i = 0; i < 3; i++)
		t->std[i] = w->std[i];
	return 0;
}

/* One that was not told to go ends. */
static void
end_relay(struct terminal *t)
{
	int *fds[] = { &t->slave, &t->go, &t->ended };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

void
terminal_close(struct terminal *t)
{
	end_relay(t);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

/*
 * Is it no session's?  The kernel tells only whoever tries to take it, in a
 * session of his own.
 */
static bool
is_free(int fd)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGHUP, SIG_IGN);
		/* It must be given up: at the end it would be hung up. */
		_exit(setsid() > 0 && ioctl(fd, TIOCSCTTY, 0) == 0 &&
			      ioctl(fd, TIOCNOTTY) == 0
			  ? 0
			  : 1);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0;
}

/* ---- the relay ---- */

/* True when the program has ended. */
static bool
relay_once(struct relay *r, int program, int ended, bool *lost)
{
	struct pollfd p[RELAY_FDS + 2];

	relay_poll(r, p);
	p[RELAY_FDS] = (struct pollfd){ .fd = program, .events = POLLIN };
	/* Nobody waits for the end of this any more: the writer has gone on. */
	p[RELAY_FDS + 1] = (struct pollfd){ .fd = ended };
	switch (poll(p, RELAY_FDS + 2, RELAY_LOOK_MS)) {
	case -1:
		return false;
	case 0:
		*lost = !relay_look(r);
		return false;
	}
	*lost = !relay_move(r, p) || p[RELAY_FDS + 1].revents != 0 ||
		!relay_look(r);
	return p[RELAY_FDS].revents != 0;
}

/*
 * When the terminal is lost the other end of the pseudo-terminal is closed with
 * us, which hangs up what is there.
 */
static void __attribute__((noreturn))
be_relay(struct relay *r, int go, int ended, bool input)
{
	bool over = false, lost = false;
	int program;
	pid_t pid;

	if (read(go, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
		_exit(0); /* nothing was made */
	close(go);
	program = pidfd_open(pid, 0);
	if (input)
		relay_take(r);
	while (program >= 0 && !over && !lost)
		over = relay_once(r, program, ended, &lost);
	if (!lost)
		relay_drain(r);
	relay_leave(r);
	_exit(0);
}

/* Of all that we have open the relay keeps only what it needs. */
static void
keep_only(int fds[KEEP])
{
	int high[KEEP];

	/* Above all of them first, so that none is in the way of another. */
	for (int i = 0; i < KEEP; i++)
		high[i] =
		    fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 3 + KEEP);
	for (int i = 0; i < KEEP; i++) {
		fds[i] = -1;
		if (high[i] >= 0)
			fds[i] = dup3(high[i], 3 + i, O_CLOEXEC);
	}
	(void)close_range(3 + KEEP, ~0u, 0);
}

static void __attribute__((noreturn))
start_relay(struct relay *r, int go, int ended, bool input)
{
	int fds[KEEP] = { r->terminal, r->master, go, ended };
	sigset_t none;

	keep_only(fds);
	for (int i = 0; i < KEEP; i++)
		if (fds[i] < 0 && fds[i] != 3 + i)
			close(3 + i);
	r->terminal = fds[0];
	r->master = fds[1];
	/* A signal of its own ends it as any process; its parent's end not. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, RELAY_NAME, 0, 0, 0);
	(void)!chdir("/");
	be_relay(r, fds[2], fds[3], input);
}

static int
fork_relay(struct terminal *t, struct relay *r, bool input, bool waits)
{
	int go[2] = { -1, -1 }, ended[2] = { -1, -1 }, err = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) < 0 ||
	    (waits && pipe2(ended, O_CLOEXEC) < 0))
		err = -errno;
	pid = err < 0 ? -1 : fork();
	if (pid == 0) {
		close(go[1]);
		start_relay(r, go[0], ended[1], input);
	}
	if (pid < 0 && err == 0)
		err = -errno;
	if (go[0] >= 0)
		close(go[0]);
	if (ended[1] >= 0)
		close(ended[1]);
	t->go = go[1];
	t->ended = ended[0];
	return err;
}

/* ---- giving it ---- */

static int
give_relayed(struct terminal *t, const struct snap_terminal *want,
    struct snap_restore_options *opt)
{
	bool front =
	    t->in_front && want->foreground && want->reads && !opt->stopped;
	struct relay r;
	int err;

	err = relay_open(&r, t->fd, &t->slave);
	if (err == 0)
		err = fork_relay(
		    t, &r, front || (t->named && !t->writers), front);
	relay_close(&r);
	if (err < 0)
		return err;
	opt->tty = t->slave;
	if (opt->stdio == NULL)
		return 0;
	for (int i = 0; i < 3; i++)
		if (t->std[i] >= 0 && device_of(t->std[i]) == device_of(t->fd))
			t->std[i] = t->slave;
	opt->stdio = t->std;
	return 0;
}

int
terminal_give(void *arg, const struct snap_terminal *want,
    struct snap_restore_options *opt)
{
	struct terminal *t = arg;

	/* Of a first try that came to nothing. */
	end_relay(t);
	if (t->fd < 0 || !want->controlling)
		return 0;
	if (!t->writers && is_free(t->fd))
		return 0;
	return give_relayed(t, want, opt);
}

void
terminal_go(struct terminal *t, pid_t pid)
{
	/* If it was killed the process hears of a hangup. */
	if (t->go >= 0)
		(void)send(t->go, &pid, sizeof(pid), MSG_NOSIGNAL);
}
