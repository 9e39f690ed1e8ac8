/*
 * restore_silence.c - a process that is replaced is killed without its peers
 * hearing of it: the connections of TCP that the image has are closed in
 * silence, by way of TCP_REPAIR, if they are still where they were.
 *
 * It is stopped first, so that they stay there.  If one is not, nothing is
 * done, and the process goes on.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "proc_parse.h"
#include "restore.h"
#include "tcp_sock.h"

#define STOP_MS 2000

struct silence {
	struct restore *r;
	int pidfd;
	int *fd; /* ours */
	const struct openfile **of;
	size_t n;
};

static bool
is_connection(const struct openfile *f, struct tcp_sock *t)
{
	return strcmp(f->kind, "tcp") == 0 && !resource_edited(f) &&
	       tcp_sock_parse(f, t) && t->kind == TCP_CONNECTED;
}

static const struct openfile *
find(const struct process *p, const char *link)
{
	struct tcp_sock t;

	for (size_t i = 0; i < p->nfiles; i++)
		if (strcmp(p->files[i].target, link) == 0 &&
		    is_connection(&p->files[i], &t))
			return &p->files[i];
	return NULL;
}

static int
add(struct silence *s, int number, const char *link)
{
	const struct openfile *f = find(s->r->p, link);
	const struct openfile **of;
	int fd, *v;

	if (f == NULL)
		return 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->of[i] == f)
			return 0;
	fd = (int)syscall(SYS_pidfd_getfd, s->pidfd, number, 0);
	if (fd < 0)
		return -errno;
	v = realloc(s->fd, (s->n + 1) * sizeof(*v));
	if (v != NULL)
		s->fd = v;
	of = realloc(s->of, (s->n + 1) * sizeof(const struct openfile *));
	if (of != NULL)
		s->of = of;
	if (v == NULL || of == NULL) {
		close(fd);
		return -ENOMEM;
	}
	s->fd[s->n] = fd;
	s->of[s->n++] = f;
	return 0;
}

static int
collect(struct silence *s, pid_t pid)
{
	char link[64];
	struct dirent *d;
	int fd = proc_open(s->r->cx, pid, "fd", O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int err = 0;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	while (err == 0 && (d = readdir(dir)) != NULL) {
		ssize_t n =
		    readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		err = add(s, atoi(d->d_name), link);
	}
	closedir(dir);
	return err;
}

static bool
is_stopped(pid_t pid)
{
	struct snap_ctx quiet = { .error = 0 };
	struct proc_stat st;
	char *text;
	bool yes;

	if (proc_read(&quiet, pid, "stat", &text, NULL) < 0)
		return true; /* it is gone */
	yes = proc_parse_stat(text, &st) == 0 &&
	      (st.state == 'T' || st.state == 'Z' || st.state == 'X');
	free(text);
	return yes;
}

static void
stop(pid_t pid, int pidfd)
{
	struct timespec ms = { 0, 1000000 };

	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGSTOP, NULL, 0);
	for (int i = 0; i < STOP_MS && !is_stopped(pid); i++)
		nanosleep(&ms, NULL);
}

/* What was received, or sent, since the checkpoint would be lost. */
static int
compare(struct silence *s)
{
	struct tcp_state *v = calloc(s->n + 1, sizeof(*v));
	int *errs = calloc(s->n + 1, sizeof(*errs)), err = 0;

	if (v == NULL || errs == NULL)
		err = snap_fail(s->r->cx, -ENOMEM, "no memory");
	if (err == 0)
		err = tcp_peek(s->r->cx, s->fd, s->n, v, errs);
	for (size_t i = 0; err == 0 && i < s->n; i++) {
		struct tcp_sock t;

		(void)tcp_sock_parse(s->of[i], &t);
		if (errs[i] != 0)
			err = snap_fail(s->r->cx, errs[i],
			    "fd %u: its connection: %s", s->of[i]->id,
			    strerror(-errs[i]));
		else if (v[i].in_seq != t.s.in_seq ||
			 v[i].out_seq != t.s.out_seq)
			err = snap_fail(s->r->cx, -ESTALE,
			    "fd %u: the connection has gone on since the "
			    "checkpoint: %u bytes received, %u sent",
			    s->of[i]->id, v[i].in_seq - t.s.in_seq,
			    v[i].out_seq - t.s.out_seq);
	}
	for (size_t i = 0; v != NULL && i < s->n; i++)
		free(v[i].bytes);
	free(v);
	free(errs);
	return err;
}

static bool
has_connections(const struct process *p)
{
	struct tcp_sock t;

	for (size_t i = 0; i < p->nfiles; i++)
		if (is_connection(&p->files[i], &t))
			return true;
	return false;
}

/*
 * Those that have ended since are not compared; tcp_peek() takes none that is
 * not connected.
 */
static void
leave_ended(struct silence *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (!tcp_is_connected(s->fd[i])) {
			close(s->fd[i]);
			continue;
		}
		s->fd[n] = s->fd[i];
		s->of[n++] = s->of[i];
	}
	s->n = n;
}

int
restore_silence(struct restore *r, pid_t pid, int pidfd)
{
	struct silence s = { .r = r, .pidfd = pidfd };
	bool was_stopped = is_stopped(pid);
	int err, on = 1;

	if (!has_connections(r->p))
		return 0;
	stop(pid, pidfd);
	err = collect(&s, pid);
	leave_ended(&s);
	if (err == 0 && s.n > 0)
		err = compare(&s);
	/* From here to the SIGKILL, which follows, there is no way back. */
	for (size_t i = 0; i < s.n; i++) {
		if (err == 0)
			(void)setsockopt(
			    s.fd[i], IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
		close(s.fd[i]);
	}
	free(s.fd);
	free(s.of);
	if (err < 0 && !was_stopped)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0);
	return err < 0 ? snap_fail(r->cx, err, "connections of pid %d: %s",
			     (int)pid, strerror(-err))
		       : 0;
}
