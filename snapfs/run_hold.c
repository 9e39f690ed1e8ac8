/*
 * run_hold.c - start a program, leave it held at a point, tell its pid.
 *
 * Three processes: this one, in the foreground until the point is reached; the
 * keeper, which is the program's parent and stays until it ends; the program.
 * The last two are in a session of their own: in ours, the program would be
 * hung up when we end, as stopped jobs are that nobody can continue.
 */
#include "run.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum what { HELD, ENDED, FAILED };

struct report {
	enum what what;
	pid_t pid;
	int status; /* ENDED: as from waitpid(2); FAILED: -errno */
	char text[512];
};

struct keeper {
	int to; /* a pipe to the foreground; -1: it was told */
};

/* ---- the keeper ---- */

static void
tell(struct keeper *k, const struct report *r)
{
	if (k->to < 0)
		return;
	/* It fits into the pipe.  What nobody hears of would be held for ever. */
	if (write(k->to, r, sizeof(*r)) < 0) {
		if (r->what == HELD)
			kill(r->pid, SIGKILL);
		_exit(1);
	}
	close(k->to);
	k->to = -1;
}

/* The program is on its own from here on: so hold on to nothing else. */
static void
held(void *arg, pid_t pid)
{
	struct report r = { .what = HELD, .pid = pid };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, 0);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 3 && fd >= 0; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
	if (chdir("/") < 0)
		r.pid = pid; /* it stays where it is */
	tell(arg, &r);
}

static void __attribute__((noreturn))
be_keeper(char **argv, const struct snap_point *point, int to, pid_t parent)
{
	struct keeper k = { .to = to };
	struct snap_hold_options opt = {
		.argv = argv,
		.point = *point,
		.held = held,
		.held_arg = &k,
	};
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct report r = { .what = ENDED };
	int err = -ENOMEM;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	setsid();
	/* Standard output is for the pid alone. */
	dup2(2, 1);
	if (cx != NULL)
		err = snap_hold(cx, &opt, &r.status);
	if (err < 0) {
		r.what = FAILED;
		r.status = err;
		snprintf(r.text, sizeof(r.text), "%s",
		    cx != NULL ? snap_error(cx) : strerror(ENOMEM));
	}
	tell(&k, &r);
	_exit(0);
}

/* ---- the foreground ---- */

static int
write_pid(pid_t pid, const char *pidfile)
{
	FILE *f = pidfile == NULL ? stdout : fopen(pidfile, "we");

	if (f == NULL || fprintf(f, "%d\n", (int)pid) < 0 ||
	    (pidfile == NULL ? fflush(f) : fclose(f)) != 0) {
		warn("%s", pidfile == NULL ? "standard output" : pidfile);
		kill(pid, SIGKILL);
		return RUN_FAILED;
	}
	return 0;
}

static int
ended(const char *program, int status)
{
	if (WIFSIGNALED(status))
		warnx("%s: ended before it got to the point: %s", program,
		    strsignal(WTERMSIG(status)));
	else
		warnx("%s: ended before it got to the point, with exit "
		      "status %d",
		    program, WEXITSTATUS(status));
	return 1;
}

static int
failed(const struct report *r)
{
	warnx("%.*s", (int)sizeof(r->text) - 1, r->text);
	switch (-r->status) {
	case ENOENT:
		return RUN_NOT_FOUND;
	case EACCES:
	case ENOEXEC:
		return RUN_CANNOT_EXECUTE;
	default:
		return RUN_FAILED;
	}
}

int
run_hold(char **argv, const struct snap_point *point, const char *pidfile)
{
	struct report r;
	pid_t self = getpid(), keeper;
	ssize_t n;
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		err(RUN_FAILED, "pipe");
	keeper = fork();
	if (keeper < 0)
		err(RUN_FAILED, "fork");
	if (keeper == 0) {
		close(p[0]);
		be_keeper(argv, point, p[1], self);
	}
	close(p[1]);
	while ((n = read(p[0], &r, sizeof(r))) < 0 && errno == EINTR)
		;
	if (n < 0) {
		close(p[0]);
		kill(keeper, SIGTERM);
		err(RUN_FAILED, "the keeper of %s", argv[0]);
	}
	if (n != (ssize_t)sizeof(r)) {
		warnx("the keeper of %s was killed", argv[0]);
		return RUN_FAILED;
	}
	switch (r.what) {
	case HELD:
		return write_pid(r.pid, pidfile);
	case ENDED:
		return ended(argv[0], r.status);
	default:
		return failed(&r);
	}
}
