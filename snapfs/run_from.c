/*
 * run_from.c - an instance of an image that stands where the program stood.
 *
 * The image is restored here, not by the daemon: so the process is our child,
 * in our session and process group, has our descriptors and our rights, and we
 * hear of its end.  What the terminal sends goes to both of us; what others
 * send to us is passed on.
 *
 * Where there is a template for our session, as of setsid(2), it is a clone of
 * that: then its parent is the template's keeper, and we hear of its end from that
 * (run_keeper.h); all else is the same.
 *
 * What needs a session of its own, such as a shell with its jobs, cannot be in
 * ours: it has a pseudo-terminal, and we relay what is typed and shown.
 */
#include "run.h"

#include "imagedir.h"
#include "relay.h"
#include "run_keeper.h"
#include "run_template.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct instance {
	pid_t pid;
	int ward, pidfd; /* if it is no child of ours; else -1 */
	struct run_template tmpl;
	sigset_t passed; /* signals that are waited for */
	int signals;	 /* a signalfd of them */
	int terminal;	 /* -1: none */
	struct termios mode;
	bool lost;    /* its keeper has ended */
	bool relayed; /* it has a terminal of its own */
	struct relay relay;
	int slave, std[3]; /* given to it instead of ours; -1 */

	int dir, learn; /* the image; what is learned of it, -1 */
	struct snap_ctx *cx;
	struct snap_pager *pager; /* brings its memory, in a thread */
	pthread_t thread;
	bool has_thread;
	int pager_error;
};

/* ---- before ---- */

/*
 * Those that are ours alone, SIGCHLD, are waited for too; those that are
 * ignored since before us stay so.
 */
static void
block_signals(struct instance *in)
{
	static const int never[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
		SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	struct sigaction sa;

	sigfillset(&in->passed);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		sigdelset(&in->passed, never[i]);
	for (int s = 1; s <= SIGRTMAX; s++)
		if (s != SIGCHLD && sigaction(s, NULL, &sa) == 0 &&
		    sa.sa_handler == SIG_IGN)
			sigdelset(&in->passed, s);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &in->passed, NULL);
}

/* Standard descriptors that are closed must not become anything of ours. */
static void
look_at_stdio(int std[3])
{
	int fd;

	for (int i = 0; i < 3; i++)
		std[i] = fcntl(i, F_GETFD) < 0 ? -1 : i;
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3);
	if (fd >= 0)
		close(fd);
}

static int
find_terminal(const int std[3])
{
	for (int i = 0; i < 3; i++)
		if (std[i] >= 0 && isatty(i))
			return fcntl(i, F_DUPFD_CLOEXEC, 3);
	return open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int
open_dir(const char *path)
{
	char why[512];
	int fd, e;

	e = imagedir_open(path, &fd, why, sizeof(why));
	if (e < 0)
		errx(e == -ENOENT ? RUN_NOT_FOUND : RUN_FAILED, "%s", why);
	return fd;
}

/* It runs already; what it has not touched yet comes while it does. */
static void *
pager_main(void *arg)
{
	struct instance *in = arg;

	in->pager_error = snap_pager_wait(in->cx, in->pager, NULL, NULL);
	return NULL;
}

static void
start_pager(struct instance *in)
{
	in->has_thread = pthread_create(&in->thread, NULL, pager_main, in) == 0;
	if (!in->has_thread)
		pager_main(in);
}

static bool
is_terminal_of(const struct instance *in, int fd)
{
	struct stat a, b;

	return fd >= 0 && isatty(fd) && fstat(fd, &a) == 0 &&
	       fstat(in->terminal, &b) == 0 && a.st_rdev == b.st_rdev;
}

static int
give_terminal(void *arg, const struct snap_terminal *want,
    struct snap_restore_options *opt)
{
	struct instance *in = arg;
	int err;

	if (in->terminal < 0 || !want->controlling || !want->session)
		return 0;
	if (!in->relayed) {
		err = relay_open(&in->relay, in->terminal, &in->slave);
		if (err < 0) {
			relay_close(&in->relay);
			return err;
		}
	}
	in->relayed = true;
	for (int i = 0; i < 3; i++)
		in->std[i] = is_terminal_of(in, opt->stdio[i]) ? in->slave
							       : opt->stdio[i];
	opt->tty = in->slave;
	opt->stdio = in->std;
	opt->session = true;
	return 0;
}

static void __attribute__((noreturn))
fail(const struct instance *in, const char *dir)
{
	if (in->learn >= 0)
		learn_close(in->dir, in->learn, false);
	errx(RUN_FAILED, "%s: %s", dir, snap_error(in->cx));
}

/* It is complete, and its keeper must know of it before it can end. */
static int
entrust(void *arg, pid_t pid, bool (*lives)(const void *made), const void *made)
{
	struct instance *in = arg;

	(void)lives;
	(void)made;
	in->ward = keeper_entrust(in->tmpl.keeper, pid);
	if (in->ward < 0)
		return in->ward;
	/* It is held by us: so it is there. */
	in->pidfd = pidfd_open(pid, 0);
	return in->pidfd < 0 ? -errno : 0;
}

static void
share(struct instance *in, struct snap_restore_options *opt, bool shares)
{
	opt->tmpl = shares ? &in->tmpl.t : NULL;
	opt->ready = shares ? entrust : NULL;
	opt->ready_arg = in;
	opt->lazy = !shares;
}

static void
forget_ward(struct instance *in)
{
	if (in->ward >= 0)
		close(in->ward);
	if (in->pidfd >= 0)
		close(in->pidfd);
	in->ward = in->pidfd = -1;
}

static void
add_note(struct snap_restore_result *res, const char *note)
{
	size_t n = strlen(res->note);

	snprintf(res->note + n, sizeof(res->note) - n, "%s%s",
	    n > 0 ? "; " : "", note);
}

/* If its template ends in the middle of it, nothing was made: so once more. */
static int
restore_shared(struct instance *in, struct snap_restore_options *opt,
    const struct run_from_options *how, struct snap_restore_result *res)
{
	int err;

	share(in, opt, run_template_find(&in->tmpl, in->dir, how));
	err = snap_restore(in->cx, opt, res);
	if (err == -EOWNERDEAD) {
		snap_clear(in->cx);
		forget_ward(in);
		share(in, opt, run_template_again(&in->tmpl, in->dir));
		err = snap_restore(in->cx, opt, res);
	}
	if (err == 0)
		run_template_used(&in->tmpl);
	if (opt->tmpl == NULL && in->tmpl.why[0] != '\0' &&
	    (how->verbose || how->template))
		warnx("no template: %s", in->tmpl.why);
	if (err == 0 && opt->tmpl != NULL && in->tmpl.t.note[0] != '\0')
		add_note(res, in->tmpl.t.note);
	run_template_free(&in->tmpl);
	return err;
}

static void
restore(
    struct instance *in, const char *dir, const struct run_from_options *how)
{
	struct snap_restore_result res;
	struct snap_restore_options opt = {
		.new_pid = !how->same_pid,
		.child = true,
		.callers_cgroup = true,
		.terminal = give_terminal,
		.terminal_arg = in,
	};
	int std[3];

	in->cx = snap_ctx_new(NULL);
	if (in->cx == NULL)
		err(RUN_FAILED, NULL);
	look_at_stdio(std);
	in->signals = signalfd(-1, &in->passed, SFD_CLOEXEC | SFD_NONBLOCK);
	if (in->signals < 0)
		err(RUN_FAILED, "signalfd");
	opt.stdio = std;
	opt.dir = in->dir = open_dir(dir);
	if (how->learn)
		opt.learn = in->learn = learn_open(in->dir, dir);
	opt.cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	opt.tty = in->terminal = find_terminal(std);
	if (in->terminal >= 0 && tcgetattr(in->terminal, &in->mode) < 0)
		in->terminal = -1;
	opt.uffd_dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (restore_shared(in, &opt, how, &res) < 0)
		fail(in, dir);
	in->pid = res.pid;
	in->pager = res.pager;
	if (in->pager != NULL)
		start_pager(in);
	if (how->verbose)
		warnx("it is %d%s%s", (int)res.pid,
		    res.note[0] != '\0' ? "; " : "", res.note);
	/* Its end is the end of it there: we have only the master. */
	if (in->slave >= 0)
		close(in->slave);
	if (opt.cwd >= 0)
		close(opt.cwd);
	if (opt.uffd_dev >= 0)
		close(opt.uffd_dev);
}

/* Whoever reads what it writes must hear of the end when it closes that. */
static void
let_go_of_stdio(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 2 && fd >= 0; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

/* ---- while it runs ---- */

/* As a shell does, if the terminal is still ours. */
static void
put_mode_back(const struct instance *in)
{
	if (in->terminal < 0 || in->relayed ||
	    tcgetpgrp(in->terminal) != getpgrp())
		return;
	(void)tcsetattr(in->terminal, TCSADRAIN, &in->mode);
}

/* So that whoever looks at us sees it. */
static void
stop_too(struct instance *in)
{
	if (in->relayed)
		relay_leave(&in->relay);
	raise(SIGSTOP);
}

/* The same of what its keeper tells. */
static bool
look_at_ward(struct instance *in, int *status)
{
	ssize_t n;

	for (;;) {
		n = recv(in->ward, status, sizeof(*status), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n != (ssize_t)sizeof(*status))
			break;
		if (!WIFSTOPPED(*status))
			return true;
		stop_too(in);
	}
	/* Without its keeper it would be without anybody who hears of it. */
	(void)pidfd_send_signal(in->pidfd, SIGKILL, NULL, 0);
	in->lost = true;
	return true;
}

/* True when it has ended. */
static bool
look_at_it(struct instance *in, int *status)
{
	pid_t w;

	if (in->ward >= 0)
		return look_at_ward(in, status);

	while ((w = waitpid(-1, status, WNOHANG | WUNTRACED)) > 0) {
		if (w != in->pid)
			continue;
		if (!WIFSTOPPED(*status))
			return true;
		stop_too(in);
	}
	return w < 0 && errno == ECHILD;
}

/* From the terminal it has its own, if it is in our group. */
static void
pass(const struct instance *in, const struct signalfd_siginfo *si)
{
	bool kernel = (int)si->ssi_code == SI_KERNEL;
	int sig = (int)si->ssi_signo;

	if (sig == SIGCHLD || (kernel && getpgid(in->pid) == getpgrp()))
		return;
	/* Of its own terminal it hears by that. */
	if (in->relayed && kernel &&
	    (sig == SIGWINCH || sig == SIGTTIN || sig == SIGTTOU))
		return;
	if (in->pidfd >= 0)
		(void)pidfd_send_signal(in->pidfd, sig, NULL, 0);
	else
		kill(in->pid, sig);
}

/* What is typed is ours only while we are in the foreground, as of any job. */
static bool
relay(struct instance *in, const struct pollfd *p)
{
	bool front = tcgetpgrp(in->terminal) == getpgrp();

	if (front && !in->relay.input)
		relay_take(&in->relay);
	/* Its mode is no longer for us to change. */
	if (!front)
		in->relay.raw = in->relay.input = false;
	return relay_move(&in->relay, p) && relay_look(&in->relay);
}

static int
stand_by(struct instance *in)
{
	int status = 0;
	struct signalfd_siginfo si;

	while (!look_at_it(in, &status)) {
		struct pollfd p[2 + RELAY_FDS] = {
			{ .fd = in->signals, .events = POLLIN },
			{ .fd = in->ward, .events = POLLIN },
		};

		if (in->relayed)
			relay_poll(&in->relay, p + 2);
		(void)poll(p, in->relayed ? 2 + RELAY_FDS : 2,
		    in->relayed ? RELAY_LOOK_MS : -1);
		while (
		    read(in->signals, &si, sizeof(si)) == (ssize_t)sizeof(si))
			pass(in, &si);
		/* A terminal that is gone is gone for it, too. */
		if (in->relayed && !relay(in, p + 2)) {
			relay_close(&in->relay);
			in->relayed = false;
			in->terminal = -1;
		}
	}
	close(in->signals);
	return status;
}

/* ---- after ---- */

static void
end_relay(struct instance *in)
{
	if (!in->relayed)
		return;
	relay_drain(&in->relay);
	relay_leave(&in->relay);
	relay_close(&in->relay);
}

static void
end_pager(struct instance *in, bool killed)
{
	if (in->has_thread)
		pthread_join(in->thread, NULL);
	if (in->pager_error < 0)
		warnx("%s%s", killed ? "it was killed: " : "",
		    snap_error(in->cx));
	if (in->learn >= 0)
		learn_close(in->dir, in->learn, in->pager_error == 0);
	close(in->dir);
	snap_ctx_free(in->cx);
}

/* Ends as it has ended. */
static int
end_as(int status)
{
	const struct rlimit none = { 0, 0 };
	sigset_t set;
	int s;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	s = WTERMSIG(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(s, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, s);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(s);
	return 128 + s;
}

int
run_from(const char *dir, const struct run_from_options *how)
{
	struct instance in = { .terminal = -1,
		.slave = -1,
		.learn = -1,
		.ward = -1,
		.pidfd = -1 };
	int status;

	block_signals(&in);
	restore(&in, dir, how);
	let_go_of_stdio();
	status = stand_by(&in);
	end_relay(&in);
	end_pager(&in, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	put_mode_back(&in);
	forget_ward(&in);
	if (in.lost)
		errx(RUN_FAILED,
		    "its keeper was killed, and process %d with it", in.pid);
	return end_as(status);
}
