#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"

struct guard {
	pid_t pid;
	int sock; /* of which the guard waits for the end */
};

/* It is in a session of its own, and takes only SIGKILL. */
static void __attribute__((noreturn))
watch(void (*act)(const void *arg), const void *arg, int end, int other)
{
	ssize_t n;
	char c;

	close(other);
	prctl(PR_SET_NAME, "snapfs-guard");
	syscall(SYS_setsid);
	do
		n = recv(end, &c, 1, 0);
	while (n < 0 && errno == EINTR);
	/* A byte says that it was done; the end, that nobody will. */
	if (n != 1)
		act(arg);
	_exit(0);
}

/* Signals are blocked from the fork on, so that no handler runs in it. */
int
guard_begin(struct snap_ctx *cx, const char *what, void (*act)(const void *arg),
    const void *arg, struct guard **out)
{
	const struct sched_param first = { .sched_priority = 1 };
	struct guard *g = calloc(1, sizeof(*g));
	sigset_t all, old;
	int end[2], err;

	*out = NULL;
	if (g == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	/* No pipe: to write to a guard that was killed would be SIGPIPE. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end) != 0) {
		err = -errno;
		free(g);
		return snap_fail(cx, err, "socket: %s", strerror(-err));
	}
	g->sock = end[1];
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* Not fork(3), whose handlers may wait for locks of other threads. */
	g->pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	err = -errno;
	if (g->pid == 0)
		watch(act, arg, end[0], end[1]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(end[0]);
	if (g->pid < 0) {
		close(end[1]);
		free(g);
		return snap_fail(cx, err, "a process that guards %s: %s", what,
		    strerror(-err));
	}
	/* If we may: what it has to do is done at the very moment. */
	(void)sched_setscheduler(g->pid, SCHED_FIFO, &first);
	*out = g;
	return 0;
}

void
guard_end(struct guard *g)
{
	if (g == NULL)
		return;
	/* Not the end of it: a guard that was forked later has it too. */
	(void)!send(g->sock, "", 1, MSG_NOSIGNAL);
	close(g->sock);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(g);
}
