#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_MS 1000 /* how long a terminal that shows nothing is waited for */
#define DRAIN_MAX 256 /* reads; others may yet write there for ever */

/* ---- the pair ---- */

/*
 * Whoever gave the terminal shares its flags, so it is opened anew.  Who may
 * not open it (after su(1)) uses it as it is: poll(2) tells when it is ready.
 */
static int
open_anew(int terminal)
{
	const int flags = O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", terminal);
	fd = open(path, flags);
	if (fd < 0)
		fd = fcntl(terminal, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int
open_pair(struct relay *r, int *slave)
{
	int unlock = 0;

	r->master =
	    open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (r->master < 0 || ioctl(r->master, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	*slave = ioctl(r->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return *slave < 0 ? -errno : 0;
}

int
relay_open(struct relay *r, int terminal, int *slave)
{
	int err;

	*slave = -1;
	memset(r, 0, sizeof(*r));
	r->master = -1;
	r->terminal = open_anew(terminal);
	if (r->terminal < 0)
		return r->terminal;
	if (tcgetattr(r->terminal, &r->mode) < 0 ||
	    ioctl(r->terminal, TIOCGWINSZ, &r->size) < 0)
		return -errno;
	err = open_pair(r, slave);
	if (err == 0 && (tcsetattr(*slave, TCSANOW, &r->mode) < 0 ||
			    ioctl(*slave, TIOCSWINSZ, &r->size) < 0))
		err = -errno;
	if (err < 0 && *slave >= 0) {
		close(*slave);
		*slave = -1;
	}
	return err;
}

void
relay_close(struct relay *r)
{
	if (r->terminal >= 0)
		close(r->terminal);
	if (r->master >= 0)
		close(r->master);
	r->terminal = r->master = -1;
}

/* ---- the terminal's mode ---- */

void
relay_take(struct relay *r)
{
	struct termios raw;

	r->input = true;
	if (r->raw || tcgetattr(r->terminal, &r->mode) < 0)
		return;
	raw = r->mode;
	cfmakeraw(&raw);
	r->raw = tcsetattr(r->terminal, TCSANOW, &raw) == 0;
}

void
relay_leave(struct relay *r)
{
	if (r->raw)
		(void)tcsetattr(r->terminal, TCSANOW, &r->mode);
	r->raw = r->input = false;
}

/* ---- bytes ---- */

/* False: this side is gone. */
static bool
take(int fd, struct relay_bytes *b)
{
	ssize_t n = read(fd, b->v + b->n, sizeof(b->v) - b->n);

	if (n > 0)
		b->n += (size_t)n;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool
give(int fd, struct relay_bytes *b)
{
	ssize_t n = b->n == 0 ? 0 : write(fd, b->v, b->n);

	if (n > 0) {
		b->n -= (size_t)n;
		memmove(b->v, b->v + n, b->n);
	}
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* What cannot be written yet is not read: so whoever writes it waits. */
void
relay_poll(const struct relay *r, struct pollfd p[RELAY_FDS])
{
	p[0] = (struct pollfd){ .fd = r->terminal };
	p[1] = (struct pollfd){ .fd = r->idle ? -1 : r->master };
	if (r->input && r->typed.n == 0)
		p[0].events |= POLLIN;
	if (r->shown.n > 0)
		p[0].events |= POLLOUT;
	else
		p[1].events |= POLLIN;
	if (r->typed.n > 0)
		p[1].events |= POLLOUT;
}

bool
relay_move(struct relay *r, const struct pollfd p[RELAY_FDS])
{
	if ((p[0].revents & POLLIN) != 0 && !take(r->terminal, &r->typed))
		return false;
	if ((p[0].revents & (POLLHUP | POLLERR)) != 0)
		return false;
	if (p[1].revents != 0 && r->shown.n == 0)
		r->idle = !take(r->master, &r->shown);
	(void)give(r->master, &r->typed);
	return give(r->terminal, &r->shown);
}

bool
relay_look(struct relay *r)
{
	struct winsize now;

	r->idle = false;
	if (ioctl(r->terminal, TIOCGWINSZ, &now) < 0)
		return false;
	if (memcmp(&now, &r->size, sizeof(now)) == 0)
		return true;
	r->size = now;
	(void)ioctl(r->master, TIOCSWINSZ, &now);
	return true;
}

void
relay_drain(struct relay *r)
{
	struct pollfd p = { .fd = r->terminal, .events = POLLOUT };

	for (int n = 0; give(r->terminal, &r->shown);) {
		if (r->shown.n > 0 && poll(&p, 1, DRAIN_MS) != 1)
			return;
		if (r->shown.n > 0)
			continue;
		if (n++ == DRAIN_MAX || !take(r->master, &r->shown) ||
		    r->shown.n == 0)
			return;
	}
}
