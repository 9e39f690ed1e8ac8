#include "sock_guard.h"

#include <errno.h>
#include <fcntl.h>
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
#include "sock_record.h"

struct sock_guard {
	const struct sock_undo *v;
	size_t n;
	pid_t pid;
	int sock; /* of which the guard waits for the end */
	struct sock_record record;
};

static void
undo(const struct sock_undo *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)setsockopt(v[i].fd, v[i].level, v[i].name, &v[i].value,
		    sizeof(v[i].value));
}

/*
 * A copy of a program with many threads, of which only this one is there: it
 * makes nothing but calls.  It is in a session of its own, and takes only
 * SIGKILL.
 */
static void __attribute__((noreturn))
watch(struct sock_guard *g, int end, int other)
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
	if (n != 1) {
		undo(g->v, g->n);
		sock_record_end(&g->record);
	}
	_exit(0);
}

/* Signals are blocked from the fork on, so that no handler runs in it. */
int
sock_guard_begin(struct snap_ctx *cx, const struct sock_undo *v, size_t n,
    struct sock_guard **out)
{
	const struct sched_param first = { .sched_priority = 1 };
	struct sock_guard *g = calloc(1, sizeof(*g));
	sigset_t all, old;
	int end[2];

	*out = NULL;
	if (g == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	/* No pipe: to write to a guard that was killed would be SIGPIPE. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end) != 0) {
		free(g);
		return snap_fail(cx, -errno, "socket: %s", strerror(errno));
	}
	g->v = v;
	g->n = n;
	g->sock = end[1];
	sock_record_begin(&g->record, v, n);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* Not fork(3), whose handlers may wait for locks of other threads. */
	g->pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (g->pid == 0)
		watch(g, end[0], end[1]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(end[0]);
	if (g->pid < 0) {
		int err = -errno;

		sock_record_end(&g->record);
		close(end[1]);
		free(g);
		return snap_fail(cx, err, "a process that guards sockets: %s",
		    strerror(-err));
	}
	/* If we may: the owner goes on at the very moment when it is woken. */
	(void)sched_setscheduler(g->pid, SCHED_FIFO, &first);
	*out = g;
	return 0;
}

void
sock_guard_end(struct sock_guard *g)
{
	if (g == NULL)
		return;
	undo(g->v, g->n);
	/* Not the end of it: a guard that was forked later has it too. */
	(void)!send(g->sock, "", 1, MSG_NOSIGNAL);
	close(g->sock);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	sock_record_end(&g->record);
	free(g);
}
