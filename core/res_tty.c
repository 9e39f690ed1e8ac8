/*
 * res_tty.c - terminals.
 *
 * The other side of a master that is in the tree is made with it.  Any other
 * terminal is not brought back: the process gets the one of whoever restores
 * it, in the mode in which it had its own.  Where there is none, it gets one
 * that was hung up: reading gives the end of file, writing EIO, as when a
 * line is cut.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <asm/termbits.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"

#define NCCS_KERNEL 19
#define TTY_MAJOR 4
#define TTYAUX_MAJOR 5
#define PTMX_MINOR 2
#define PTS_FIRST 136
#define PTS_LAST 143
#define HVC_MAJOR 229
#define USB_SERIAL 188

/* ptmx, the master's side, is a device of its own: see res_ptmx.c. */
static bool
tty_match(const struct fd_probe *q)
{
	unsigned maj = major(q->st.st_rdev);

	if (!S_ISCHR(q->st.st_mode))
		return false;
	if (maj == TTYAUX_MAJOR)
		return minor(q->st.st_rdev) != PTMX_MINOR;
	return maj == TTY_MAJOR || (maj >= PTS_FIRST && maj <= PTS_LAST) ||
	       maj == HVC_MAJOR || maj == USB_SERIAL || maj == 204;
}

static int
put_termios(struct openfile *f, const struct termios2 *t)
{
	char cc[2 * NCCS_KERNEL + 1];

	for (int i = 0; i < NCCS_KERNEL; i++)
		snprintf(cc + 2 * i, 3, "%02x", t->c_cc[i]);
	return openfile_put(f, "termios", "%x %x %x %x %x %s %x %x", t->c_iflag,
	    t->c_oflag, t->c_cflag, t->c_lflag, t->c_line, cc, t->c_ispeed,
	    t->c_ospeed);
}

int
res_tty_put_mode(struct openfile *f, int fd)
{
	struct winsize ws = { 0 };
	struct termios2 t;
	int err;

	if (ioctl(fd, TCGETS2, &t) != 0)
		return openfile_put(f, "hung-up", "1");
	(void)ioctl(fd, TIOCGWINSZ, &ws);
	err = put_termios(f, &t);
	return err != 0 ? err
			: openfile_put(f, "winsize", "%u %u %u %u", ws.ws_row,
			      ws.ws_col, ws.ws_xpixel, ws.ws_ypixel);
}

/* /dev/tty and /dev/console are names of another. */
static int
put_real(struct openfile *f, const struct fd_probe *q, int fd)
{
	unsigned dev, maj, min;

	if (ioctl(fd, TIOCGDEV, &dev) != 0)
		return 0;
	maj = dev >> 8 & 0xfff;
	min = (dev & 0xff) | (dev >> 12 & 0xfff00);
	return makedev(maj, min) == q->st.st_rdev
		   ? 0
		   : openfile_put(f, "terminal", "%x:%x", maj, min);
}

static int
tty_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd = resource_getfd(cx, q), err, unread = 0;

	(void)p;
	if (fd < 0)
		return fd;
	err = openfile_put(
	    f, "rdev", "%x:%x", major(q->st.st_rdev), minor(q->st.st_rdev));
	if (err == 0)
		err = put_real(f, q, fd);
	if (err == 0)
		err = res_tty_put_mode(f, fd);
	/* Where its master is ours too, they would be lost. */
	if (err == 0 && ioctl(fd, FIONREAD, &unread) == 0 && unread > 0)
		err = openfile_put(f, "unread", "%d", unread);
	close(fd);
	return err;
}

bool
res_tty_pty(dev_t dev, uint64_t *number)
{
	if (major(dev) < PTS_FIRST || major(dev) > PTS_LAST)
		return false;
	*number = (uint64_t)(major(dev) - PTS_FIRST) * 256 + minor(dev);
	return true;
}

bool
res_tty_number(const struct openfile *f, uint64_t *number)
{
	const char *real = openfile_get(f, "terminal");
	dev_t dev;

	return !resource_edited(f) && openfile_get(f, "hung-up") == NULL &&
	       kv_device(real != NULL ? real : openfile_get(f, "rdev"), &dev) &&
	       res_tty_pty(dev, number);
}

bool
res_tty_from_outside(const struct process *p, const struct openfile *f)
{
	uint64_t number;

	if (strcmp(f->kind, "tty") != 0 || f->given || resource_edited(f) ||
	    openfile_get(f, "hung-up") != NULL)
		return false;
	return !res_tty_number(f, &number) || res_ptmx_find(p, number) == NULL;
}

static bool
parse_termios(const char *s, struct termios2 *t)
{
	uint64_t v[5], speed[2];
	char cc[2 * NCCS_KERNEL + 1];

	if (s == NULL)
		return false;
	for (int i = 0; i < 5; i++)
		if (!kv_scan_u64(
			&s, 16, i < 4 ? UINT32_MAX : UINT8_MAX, &v[i]) ||
		    !kv_scan_text(&s, " "))
			return false;
	if (strlen(s) < 2 * NCCS_KERNEL)
		return false;
	memcpy(cc, s, 2 * NCCS_KERNEL);
	cc[2 * NCCS_KERNEL] = '\0';
	s += 2 * NCCS_KERNEL;
	memset(t, 0, sizeof(*t));
	if (!kv_hex(cc, t->c_cc, NCCS_KERNEL) || !kv_scan_text(&s, " ") ||
	    !kv_scan_u64(&s, 16, UINT32_MAX, &speed[0]) ||
	    !kv_scan_text(&s, " ") || !kv_number(s, 16, UINT32_MAX, &speed[1]))
		return false;
	t->c_iflag = (tcflag_t)v[0];
	t->c_oflag = (tcflag_t)v[1];
	t->c_cflag = (tcflag_t)v[2];
	t->c_lflag = (tcflag_t)v[3];
	t->c_line = (cc_t)v[4];
	t->c_ispeed = (speed_t)speed[0];
	t->c_ospeed = (speed_t)speed[1];
	return true;
}

static bool
parse_winsize(const char *s, struct winsize *ws)
{
	uint64_t v[4];

	if (s == NULL)
		return false;
	for (int i = 0; i < 4; i++)
		if (!kv_scan_u64(&s, 10, UINT16_MAX, &v[i]) ||
		    !kv_scan_text(&s, i < 3 ? " " : ""))
			return false;
	*ws = (struct winsize){ (unsigned short)v[0], (unsigned short)v[1],
		(unsigned short)v[2], (unsigned short)v[3] };
	return *s == '\0';
}

int
res_tty_check_mode(struct snap_ctx *cx, const struct openfile *f)
{
	const char *termios = openfile_get(f, "termios");
	const char *winsize = openfile_get(f, "winsize");
	struct termios2 t;
	struct winsize ws;

	if (termios != NULL && !parse_termios(termios, &t))
		return kv_bad(cx, f, "termios");
	if (winsize != NULL && !parse_winsize(winsize, &ws))
		return kv_bad(cx, f, "winsize");
	return kv_opt_u64(cx, f, "hung-up", 10, 1);
}

static int
tty_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	dev_t dev;
	int err;

	(void)p;
	if (!kv_device(openfile_get(f, "rdev"), &dev))
		return kv_bad(cx, f, "rdev");
	if (openfile_get(f, "terminal") != NULL &&
	    !kv_device(openfile_get(f, "terminal"), &dev))
		return kv_bad(cx, f, "terminal");
	err = kv_opt_u64(cx, f, "unread", 10, INT32_MAX);
	return err == 0 ? res_tty_check_mode(cx, f) : err;
}

/* ---- a restore ---- */

/* The other side of a pty whose master is closed. */
static int
open_hung_up(struct snap_ctx *cx, const struct openfile *f)
{
	int master, fd = -1, unlock = 0, err = 0;

	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) != 0)
		err = -errno;
	if (err == 0) {
		fd = ioctl(master, TIOCGPTPEER,
		    (int)(f->flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY);
		err = fd < 0 ? -errno : 0;
	}
	if (master >= 0)
		close(master);
	return err == 0 ? fd
			: snap_fail(cx, err,
			      "fd %u: a terminal that was hung up: %s", f->id,
			      strerror(-err));
}

/*
 * In the background, changing the mode of one's own terminal gives SIGTTOU,
 * unless it is blocked.
 */
static void
set_mode(const struct fd_restore *r, const struct openfile *f, int fd)
{
	struct termios2 t;
	sigset_t ttou, old;
	int n;

	if (!parse_termios(openfile_get(f, "termios"), &t))
		return;
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &old);
	n = ioctl(fd, TCSETS2, &t);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (n != 0)
		resource_note(r, "fd %u: the terminal's mode: %s", f->id,
		    strerror(errno));
}

/*
 * A terminal that somebody looks at has the size that it has; one that has
 * none gets the old one.
 */
static void
set_size(const struct openfile *f, int fd)
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_row == 0 &&
	    ws.ws_col == 0 && parse_winsize(openfile_get(f, "winsize"), &ws))
		(void)ioctl(fd, TIOCSWINSZ, &ws);
}

/* Of several terminals the first one's mode is what the one gets. */
static bool
first_tty(const struct fd_restore *r, const struct openfile *f)
{
	for (uint32_t i = 0; i < resource_index(r, f); i++)
		if (res_tty_from_outside(r->p, &r->p->files[i]))
			return false;
	return true;
}

/*
 * A duplicate would share O_NONBLOCK and the like with the shell that gave the
 * terminal, so it is opened anew.  Who may not open it (after su(1)) gets the
 * duplicate all the same, as a shell would.
 */
static int
open_given(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const int flags =
	    (int)(f->flags & O_ACCMODE) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", r->tty);
	fd = open(path, flags);
	if (fd >= 0)
		return resource_set_flags(cx, f, fd);
	fd = dup(r->tty);
	if (fd < 0)
		return snap_fail(cx, -errno, "fd %u: the terminal: %s", f->id,
		    strerror(errno));
	resource_note(r, "fd %u shares the terminal as it was opened", f->id);
	return fd;
}

void
res_tty_adopt(const struct fd_restore *r, const struct openfile *f, int fd)
{
	if (kv_u64(f, "hung-up", 10) != 0)
		return;
	set_mode(r, f, fd);
	set_size(f, fd);
}

void
res_tty_set_mode(const struct fd_restore *r, const struct openfile *f, int fd)
{
	struct winsize ws;

	set_mode(r, f, fd);
	if (parse_winsize(openfile_get(f, "winsize"), &ws))
		(void)ioctl(fd, TIOCSWINSZ, &ws);
}

/* The other side of a master that the process has, too. */
static int
open_own(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct openfile *master)
{
	int fd = res_ptmx_open(cx, r, master), peer;

	if (fd < 0)
		return fd;
	peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (peer < 0)
		return snap_fail(cx, -errno, "fd %u: the terminal of fd %u: %s",
		    f->id, master->id, strerror(errno));
	/* What is opened this way has other flags than by its name. */
	fd = resource_open_again(cx, r, f, peer);
	close(peer);
	return fd;
}

static int
tty_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const struct openfile *master;
	uint64_t number;
	int fd;

	if (res_tty_number(f, &number) &&
	    (master = res_ptmx_find(r->p, number)) != NULL)
		return open_own(cx, r, f, master);
	if (r->tty < 0 || kv_u64(f, "hung-up", 10) != 0)
		return open_hung_up(cx, f);
	fd = open_given(cx, r, f);
	if (fd >= 0 && isatty(fd) && first_tty(r, f)) {
		set_mode(r, f, fd);
		set_size(f, fd);
	}
	return fd;
}

const struct resource res_tty = {
	.name = "tty",
	.match = tty_match,
	.collect = tty_collect,
	.check = tty_check,
	.restore = tty_restore,
};
