/*
 * run_from.c - an instance of an image that stands where the program stood.
 *
 * The image is restored here, not by the daemon: so the process is our child,
 * in our session and process group, has our descriptors and our rights, and we
 * hear of its end.  What the terminal sends goes to both of us; what others
 * send to us is passed on.
 */
#include "run.h"

#include "imagedir.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct instance {
	pid_t pid;
	sigset_t passed; /* signals that are waited for */
	int terminal;	 /* -1: none */
	struct termios mode;

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

static void
restore(struct instance *in, const char *dir, bool same_pid, bool verbose)
{
	struct snap_restore_result res;
	struct snap_restore_options opt = {
		.new_pid = !same_pid,
		.child = true,
		.lazy = true,
	};
	int std[3];

	in->cx = snap_ctx_new(NULL);
	if (in->cx == NULL)
		err(RUN_FAILED, NULL);
	look_at_stdio(std);
	opt.stdio = std;
	opt.dir = open_dir(dir);
	opt.cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	opt.tty = in->terminal = find_terminal(std);
	if (in->terminal >= 0 && tcgetattr(in->terminal, &in->mode) < 0)
		in->terminal = -1;
	opt.uffd_dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (snap_restore(in->cx, &opt, &res) < 0)
		errx(RUN_FAILED, "%s: %s", dir, snap_error(in->cx));
	in->pid = res.pid;
	in->pager = res.pager;
	start_pager(in);
	if (verbose)
		warnx("it is %d%s%s", (int)res.pid,
		    res.note[0] != '\0' ? "; " : "", res.note);
	close(opt.dir);
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
	if (in->terminal < 0 || tcgetpgrp(in->terminal) != getpgrp())
		return;
	(void)tcsetattr(in->terminal, TCSADRAIN, &in->mode);
}

/* True when it has ended. */
static bool
look_at_it(struct instance *in, int *status)
{
	pid_t w;

	while ((w = waitpid(-1, status, WNOHANG | WUNTRACED)) > 0) {
		if (w != in->pid)
			continue;
		if (!WIFSTOPPED(*status))
			return true;
		/* So that whoever looks at us sees it. */
		raise(SIGSTOP);
	}
	return w < 0 && errno == ECHILD;
}

static void
pass(const struct instance *in, const siginfo_t *si)
{
	/* From the terminal it has its own, if it is in our group. */
	if (si->si_code == SI_KERNEL && getpgid(in->pid) == getpgrp())
		return;
	kill(in->pid, si->si_signo);
}

static int
stand_by(struct instance *in)
{
	int status = 0;
	siginfo_t si;

	while (!look_at_it(in, &status)) {
		if (sigwaitinfo(&in->passed, &si) < 0)
			continue;
		if (si.si_signo != SIGCHLD)
			pass(in, &si);
	}
	return status;
}

/* ---- after ---- */

static void
end_pager(struct instance *in)
{
	if (in->has_thread)
		pthread_join(in->thread, NULL);
	if (in->pager_error < 0)
		warnx("it was killed: %s", snap_error(in->cx));
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
run_from(const char *dir, bool same_pid, bool verbose)
{
	struct instance in = { .terminal = -1 };
	int status;

	block_signals(&in);
	restore(&in, dir, same_pid, verbose);
	let_go_of_stdio();
	status = stand_by(&in);
	end_pager(&in);
	put_mode_back(&in);
	return end_as(status);
}
