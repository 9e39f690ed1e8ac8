/*
 * restore_silence.c - processes that are replaced are killed without their
 * peers hearing of it: the connections of TCP that the image has are closed in
 * silence, by way of TCP_REPAIR, if they are still where they were.
 *
 * Who has such a connection is frozen first, so that it stays there.  If one is
 * not, nothing is done, and all go on.  If we die before they are killed, the
 * kernel lets them go, and a guard puts their connections right.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze.h"
#include "proc.h"
#include "restore_tree.h"
#include "sock_guard.h"
#include "tcp_sock.h"

/* A killed process takes its time to give back gigabytes. */
#define END_NS 10000000000ull

struct silence {
	struct restore_tree *t;
	struct snap_ctx *cx;
	struct doomed *v;
	size_t n;
	int *fd; /* of connections, ours */
	const struct openfile **of;
	size_t nfd;
};

static bool
is_connection(const struct openfile *f, struct tcp_sock *t)
{
	return strcmp(f->kind, "tcp") == 0 && !resource_edited(f) &&
	       tcp_sock_parse(f, t) && t->kind == TCP_CONNECTED;
}

/* A connection of the image: the one that `link` names, or any. */
static const struct openfile *
find(const struct restore_tree *t, const char *link)
{
	struct tcp_sock s;

	for (size_t i = 0; i < t->all.nfiles; i++) {
		const struct openfile *f = &t->all.files[i];

		if ((link == NULL || strcmp(f->target, link) == 0) &&
		    is_connection(f, &s))
			return f;
	}
	return NULL;
}

/* ---- which there are ---- */

static int
add(struct silence *s, struct doomed *d, int number, const char *link)
{
	const struct openfile *f = find(s->t, link);
	const struct openfile **of;
	size_t n = s->nfd;
	int fd, *slot;

	if (f == NULL)
		return 0;
	d->speaks = true;
	for (size_t i = 0; i < s->nfd; i++)
		if (s->of[i] == f)
			return 0;
	fd = (int)syscall(SYS_pidfd_getfd, d->pidfd, number, 0);
	if (fd < 0)
		return errno == EBADF || errno == ESRCH ? 0 : -errno;
	of = process_grow(&s->of, &n, sizeof(const struct openfile *));
	slot = of == NULL ? NULL : process_grow(&s->fd, &s->nfd, sizeof(*slot));
	if (slot == NULL) {
		close(fd);
		return -ENOMEM;
	}
	*of = f;
	*slot = fd;
	return 0;
}

static int
collect(struct silence *s, struct doomed *d)
{
	struct snap_ctx quiet = { .error = 0 };
	char link[64];
	struct dirent *e;
	int fd = proc_open(&quiet, d->pid, "fd", O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int err = 0;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return fd == -ESRCH ? 0 : fd < 0 ? fd : -ENOMEM;
	}
	while (err == 0 && (e = readdir(dir)) != NULL) {
		ssize_t n =
		    readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		err = add(s, d, atoi(e->d_name), link);
	}
	closedir(dir);
	return err;
}

static int
collect_all(struct silence *s)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->n; i++) {
		err = collect(s, &s->v[i]);
		if (err < 0)
			snap_fail(s->cx, err, "connections of pid %d: %s",
			    (int)s->v[i].pid, strerror(-err));
	}
	return err;
}

/* ---- are they where they were? ---- */

static bool
has_ended(const struct doomed *d)
{
	struct pollfd p = { .fd = d->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* A checkpoint of it may be under way. */
static int
hold(struct silence *s, struct doomed *d)
{
	uint64_t end =
	    now_ns() + (uint64_t)s->cx->opt.freeze_timeout_ms * 1000000u;
	unsigned naps = 0;
	int err;

	while ((err = freeze(s->cx, d->pid, &d->frozen)) == -EBUSY &&
	       now_ns() < end) {
		snap_clear(s->cx);
		nap(&naps);
	}
	if (err < 0 && has_ended(d)) {
		snap_clear(s->cx);
		return 0;
	}
	return err;
}

static int
hold_all(struct silence *s)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->n; i++)
		if (s->v[i].speaks)
			err = hold(s, &s->v[i]);
	return err;
}

/*
 * Those that have ended since are not compared; tcp_peek() takes none that is
 * not connected.
 */
static void
leave_ended(struct silence *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->nfd; i++) {
		if (!tcp_is_connected(s->fd[i])) {
			close(s->fd[i]);
			continue;
		}
		s->fd[n] = s->fd[i];
		s->of[n++] = s->of[i];
	}
	s->nfd = n;
}

/* What was received, or sent, since the checkpoint would be lost. */
static int
compare_one(struct snap_ctx *cx, const struct openfile *f,
    const struct tcp_state *now, int err)
{
	struct tcp_sock t;

	(void)tcp_sock_parse(f, &t);
	if (err != 0)
		return snap_fail(cx, err, "fd %u: its connection: %s", f->id,
		    strerror(-err));
	if (now->in_seq == t.s.in_seq && now->out_seq == t.s.out_seq)
		return 0;
	return snap_fail(cx, -ESTALE,
	    "fd %u: the connection has gone on since the checkpoint: %u bytes "
	    "received, %u sent",
	    f->id, now->in_seq - t.s.in_seq, now->out_seq - t.s.out_seq);
}

static int
compare(struct silence *s)
{
	struct tcp_state *v = calloc(s->nfd + 1, sizeof(*v));
	int *errs = calloc(s->nfd + 1, sizeof(*errs)), err = 0;

	if (v == NULL || errs == NULL)
		err = snap_fail(s->cx, -ENOMEM, "no memory");
	if (err == 0)
		err = tcp_peek(s->cx, s->fd, s->nfd, v, errs);
	for (size_t i = 0; err == 0 && i < s->nfd; i++)
		err = compare_one(s->cx, s->of[i], &v[i], errs[i]);
	for (size_t i = 0; v != NULL && i < s->nfd; i++)
		free(v[i].bytes);
	free(v);
	free(errs);
	return err;
}

/* ---- the end ---- */

static int
kill_all(struct silence *s)
{
	int err = 0;

	for (size_t i = 0; i < s->n; i++)
		if (syscall(SYS_pidfd_send_signal, s->v[i].pidfd, SIGKILL, NULL,
			0) < 0 &&
		    errno != ESRCH)
			err = snap_fail(s->cx, -errno, "killing pid %d: %s",
			    (int)s->v[i].pid, strerror(errno));
	return err;
}

/* From the first SIGKILL on there is no way back. */
static int
mute_and_kill(struct silence *s)
{
	struct sock_undo *u = tcp_undo(s->fd, s->nfd);
	struct sock_guard *g;
	int err, on = 1;

	if (u == NULL)
		return snap_fail(s->cx, -ENOMEM, "no memory");
	err = sock_guard_begin(s->cx, u, TCP_UNDOS * s->nfd, &g);
	for (size_t i = 0; err == 0 && i < s->nfd; i++)
		(void)setsockopt(
		    s->fd[i], IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
	if (err == 0)
		err = kill_all(s);
	if (err == 0)
		sock_guard_leave(g);
	else
		sock_guard_end(g);
	free(u);
	return err;
}

/*
 * A traced thread is reaped by its tracer first.  The main thread's end shows
 * when the others' have been heard of.
 */
static void
hear_of_end(struct frozen *z)
{
	uint64_t end = now_ns() + END_NS;
	unsigned naps = 0;

	for (size_t i = z->n; i-- > 0;)
		while (tracee_poll(&z->v[i]) == 0 && now_ns() < end)
			nap(&naps);
}

static void
let_go(struct silence *s, bool killed)
{
	for (size_t i = 0; i < s->n; i++) {
		if (killed && s->v[i].frozen != NULL)
			hear_of_end(s->v[i].frozen);
		thaw(s->cx, s->v[i].frozen);
		s->v[i].frozen = NULL;
	}
	for (size_t i = 0; i < s->nfd; i++)
		close(s->fd[i]);
	free(s->fd);
	free(s->of);
}

int
restore_kill_silently(struct restore_tree *t, struct doomed *v, size_t n)
{
	struct silence s = { .t = t, .cx = t->cx, .v = v, .n = n };
	int err = 0;

	if (find(t, NULL) != NULL)
		err = collect_all(&s);
	if (err == 0)
		err = hold_all(&s);
	if (err == 0)
		leave_ended(&s);
	if (err == 0 && s.nfd > 0)
		err = compare(&s);
	if (err == 0)
		err = s.nfd > 0 ? mute_and_kill(&s) : kill_all(&s);
	let_go(&s, err == 0);
	return err;
}
