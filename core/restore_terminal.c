/*
 * restore_terminal.c - terminals of the restored processes: which one each
 * session has, who is in the foreground there, and what they are told.
 *
 * A terminal is the tree's own if its master is in the tree: then it is made
 * anew, and its sessions get it again.  Any other is one from outside; whoever
 * restores gives another in its place, or there is none.
 *
 * The kernel gives a terminal to a session only by its leader's asking for it,
 * and only if it is nobody's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "calls.h"
#include "ctx.h"
#include "fdkv.h"
#include "res.h"
#include "restore_tree.h"

/* As /proc/PID/stat has it; see new_encode_dev() of the kernel. */
static dev_t
device_of(uint32_t tty)
{
	return makedev(tty >> 8 & 0xfff, (tty & 0xff) | (tty >> 12 & 0xfff00));
}

/* The master of its controlling terminal, if that is in the tree. */
static const struct openfile *
own_master(const struct restore_tree *t, const struct process *p)
{
	uint64_t number;

	return p->tty != 0 && res_tty_pty(device_of(p->tty), &number)
		   ? res_ptmx_find(&t->all, number)
		   : NULL;
}

static bool
is_from_outside(const struct restore_tree *t, const struct process *p)
{
	return p->tty != 0 && own_master(t, p) == NULL;
}

static bool
in_foreground(const struct process *p)
{
	return p->tty != 0 && p->pgid == p->tty_pgid;
}

/* ---- what is wanted of whoever restores ---- */

/* Output and error are open for reading too, but nobody reads from these. */
static bool
reads_terminal(const struct restore_tree *t, const struct process *p)
{
	for (size_t i = 0; i < p->nfds; i++) {
		const struct openfile *f = &p->files[p->fds[i].file];
		int fd = p->fds[i].fd;

		if (fd != STDOUT_FILENO && fd != STDERR_FILENO &&
		    (f->flags & O_ACCMODE) != O_WRONLY &&
		    res_tty_from_outside(&t->all, f))
			return true;
	}
	return false;
}

static void
add_wants(const struct restore_tree *t, const struct process *p,
    struct snap_terminal *w)
{
	const struct process *first = t->family->v[0];

	/* Whoever is in its session must be, or lead one of his own. */
	if (p->sid == first->sid && p->pgid != first->pgid)
		w->session = true;
	if (!is_from_outside(t, p))
		return;
	w->controlling = true;
	if (!in_foreground(p) || p->group_stopped)
		return;
	w->foreground = true;
	w->reads |= reads_terminal(t, p);
}

int
restore_terminal_ask(struct restore_tree *t)
{
	const struct process *first = t->family->v[0];
	struct snap_terminal want = {
		.session = first->sid == first->pid,
	};
	int err;

	if (t->opt->terminal == NULL || t->template != NULL)
		return 0;
	for (size_t i = 0; i < t->n; i++)
		add_wants(t, t->family->v[i], &want);
	err = t->opt->terminal(t->opt->terminal_arg, &want, &t->own_opt);
	return err < 0
		   ? snap_fail(t->cx, err, "the terminal: %s", strerror(-err))
		   : 0;
}

/* ---- in a new process that leads a session ---- */

/* A descriptor of its own, or -errno. */
static int
open_terminal(struct restore *r)
{
	const struct openfile *master = own_master(r->tree, r->p);
	int fd;

	if (master != NULL)
		fd = ioctl(r->fd_base + (int)(master - r->tree->all.files),
		    TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	else if (r->opt->tty < 0)
		return -ENXIO;
	else
		fd = fcntl(r->opt->tty, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* Without one, it is told of that in another way: see restore_terminal_tell. */
void
restore_terminal_take(struct restore *r)
{
	int fd, err = 0;

	if (r->p->tty == 0 || r->host.part == PLAN_TEMPLATE)
		return;
	fd = open_terminal(r);
	if (fd < 0)
		err = fd;
	else if (ioctl(fd, TIOCSCTTY, 0) < 0)
		err = -errno;
	if (err == -EPERM)
		restore_child_note(r,
		    "it has no controlling terminal, for that is another "
		    "session's");
	else if (err < 0)
		restore_child_note(r, "it has no controlling terminal");
	if (fd >= 0)
		close(fd);
}

/* Once all are in their groups.  (SIGTTOU is blocked, as all signals are.) */
void
restore_terminal_foreground(struct restore *r)
{
	pid_t group = restore_group_of(r->tree, r->p->tty_pgid);
	int fd;

	if (r->p->tty == 0 || r->host.part == PLAN_TEMPLATE || group <= 0 ||
	    (fd = open_terminal(r)) < 0)
		return;
	if (tcgetsid(fd) == getpid() && tcgetpgrp(fd) != group &&
	    tcsetpgrp(fd, group) < 0)
		restore_child_note(
		    r, "foreground process group: %s", strerror(errno));
	close(fd);
}

/* One that had given up the terminal of its session. */
void
restore_terminal_leave(struct restore *r)
{
	int fd;

	if (r->p->tty != 0)
		return;
	fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	if (ioctl(fd, TIOCNOTTY) < 0)
		restore_child_note(r, "it has a controlling terminal");
	close(fd);
}

/* ---- what they are told ---- */

static bool
handles(const struct process *p, int sig)
{
	return p->actions[sig - 1].handler > (uint64_t)SIG_IGN;
}

/*
 * A terminal that is not there any more was hung up, one that is has another
 * size, or at least shows something else.  What does not handle a signal is
 * not ended by it: it hears of the end of its terminal by what it reads and
 * writes there, as under nohup(1).
 */
int
restore_terminal_signal(const struct restore *r)
{
	const struct process *p = r->p;
	bool leads = r->index == 0 || p->sid == p->pid;

	if (!is_from_outside(r->tree, p))
		return 0;
	if (r->opt->tty < 0)
		return (leads || in_foreground(p)) && handles(p, SIGHUP)
			   ? SIGHUP
			   : 0;
	return in_foreground(p) && handles(p, SIGWINCH) ? SIGWINCH : 0;
}
