/*
 * restore_take.c - sockets of TCP that the processes have which are to be killed,
 * and the image has too, are taken over: their peers notice nothing, and what
 * arrives while nobody is there waits in them.
 *
 * A connection must not have gone on since the checkpoint: what was read or
 * sent meanwhile would be lost.  What has only arrived is no hindrance.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "restore_tree.h"
#include "sock_option.h"
#include "tcp_sock.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* ---- those of the image ---- */

static bool
is_wanted(const struct openfile *f, struct tcp_sock *s)
{
	return strcmp(f->kind, "tcp") == 0 && !resource_edited(f) &&
	       tcp_sock_parse(f, s) &&
	       (s->kind == TCP_CONNECTED || s->kind == TCP_LISTENING);
}

bool
restore_take_wanted(const struct restore_tree *t)
{
	struct tcp_sock s;

	for (size_t i = 0; i < t->all.nfiles; i++)
		if (is_wanted(&t->all.files[i], &s))
			return true;
	return false;
}

static const struct openfile *
find(const struct restore_tree *t, const char *link, struct tcp_sock *s)
{
	for (size_t i = 0; i < t->all.nfiles; i++)
		if (strcmp(t->all.files[i].target, link) == 0 &&
		    is_wanted(&t->all.files[i], s))
			return &t->all.files[i];
	return NULL;
}

/* ---- those of the processes ---- */

static bool
is_here(int fd)
{
	int own = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t a = 0, b = 1;
	socklen_t n = sizeof(a), m = sizeof(b);
	bool yes;

	yes = own >= 0 &&
	      getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &a, &n) == 0 &&
	      getsockopt(own, SOL_SOCKET, SO_NETNS_COOKIE, &b, &m) == 0 &&
	      a == b;
	if (own >= 0)
		close(own);
	return yes;
}

static bool
has_name(int fd, bool peer, const struct sockaddr_storage *want, socklen_t len)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);

	if ((peer ? getpeername(fd, (void *)&a, &n)
		  : getsockname(fd, (void *)&a, &n)) != 0)
		return false;
	return n == len && memcmp(&a, want, len) == 0;
}

/* Numbers of sockets are used again: is it still this one? */
static bool
is_same(int fd, const struct tcp_sock *s)
{
	struct tcp_info ti = { 0 };
	socklen_t n = sizeof(ti);

	if (!is_here(fd) || !has_name(fd, false, &s->name, s->name_len) ||
	    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &n) != 0)
		return false;
	if (s->kind == TCP_LISTENING)
		return ti.tcpi_state == TCP_LISTEN;
	return tcp_is_connected(fd) &&
	       has_name(fd, true, &s->peer, s->peer_len);
}

/* Above all numbers that the new processes use. */
static int
lowest_place(const struct restore_tree *t)
{
	int end = 0;

	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].kept_end > end)
			end = t->v[i].kept_end;
	return end;
}

static int
add(struct restore_tree *t, int pidfd, int number, const char *link)
{
	struct tcp_sock s;
	const struct openfile *f = find(t, link, &s);
	int fd, *slot = f == NULL ? NULL : &t->taken[f - t->all.files];

	if (f == NULL || *slot >= 0)
		return 0;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0)
		return snap_fail(t->cx, -errno, "its socket %d: %s", number,
		    strerror(errno));
	if (is_same(fd, &s)) {
		*slot = fcntl(fd, F_DUPFD_CLOEXEC, lowest_place(t));
		if (*slot < 0) {
			close(fd);
			return snap_fail(t->cx, -EMFILE,
			    "its socket %d: %s (the limit of open files is too "
			    "low)",
			    number, strerror(EMFILE));
		}
	}
	close(fd);
	return 0;
}

static int
take_all(struct restore_tree *t, DIR *dir, int pidfd)
{
	char link[64];
	struct dirent *d;
	int err = 0;

	while (err == 0 && (d = readdir(dir)) != NULL) {
		ssize_t n =
		    readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strncmp(link, "socket:", strlen("socket:")) == 0)
			err = add(t, pidfd, atoi(d->d_name), link);
	}
	return err;
}

int
restore_take(struct restore_tree *t, pid_t pid, int pidfd)
{
	DIR *dir;
	int fd, err;

	restore_raise_limit();
	if (t->taken == NULL) {
		t->taken = malloc((t->all.nfiles + 1) * sizeof(int));
		if (t->taken == NULL)
			return snap_fail(t->cx, -ENOMEM, "no memory");
		memset(t->taken, -1, (t->all.nfiles + 1) * sizeof(int));
	}
	fd = proc_open(t->cx, pid, "fd", O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return snap_fail(t->cx, -ENOMEM, "no memory");
	}
	err = take_all(t, dir, pidfd);
	closedir(dir);
	return err;
}

/* ---- where they are ---- */

/* The number of the first byte that nobody has read. */
static uint32_t
unread(const struct tcp_state *s, int state)
{
	return s->in_seq - (uint32_t)s->in - (tcp_has_got_end(state) ? 1 : 0);
}

static int
compare_one(struct restore_tree *t, const struct openfile *f, int fd,
    const struct tcp_state *now)
{
	struct tcp_info ti = { 0 };
	socklen_t n = sizeof(ti);
	struct tcp_sock s;
	uint32_t was, is;

	(void)tcp_sock_parse(f, &s);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &n) != 0)
		return snap_fail(t->cx, -errno, "fd %u: its connection: %s",
		    f->id, strerror(errno));
	was = unread(&s.s, s.state);
	is = unread(now, ti.tcpi_state);
	if (is == was && now->out_seq == s.s.out_seq)
		return 0;
	return snap_fail(t->cx, -ESTALE,
	    "fd %u: the connection has gone on since the checkpoint: %u bytes "
	    "read, %u sent",
	    f->id, is - was, now->out_seq - s.s.out_seq);
}

struct looks {
	int *fd;
	const struct openfile **f;
	struct tcp_state *v;
	int *err;
	size_t n;
};

static int
compare(struct restore_tree *t, struct looks *l)
{
	int err = tcp_peek(t->cx, l->fd, l->n, l->v, l->err);

	for (size_t i = 0; err == 0 && i < l->n; i++)
		err = l->err[i] == 0
			  ? compare_one(t, l->f[i], l->fd[i], &l->v[i])
			  : snap_fail(t->cx, l->err[i],
				"fd %u: its connection: %s", l->f[i]->id,
				strerror(-l->err[i]));
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].bytes);
	return err;
}

int
restore_take_compare(struct restore_tree *t)
{
	size_t n = t->taken == NULL ? 0 : t->all.nfiles;
	struct looks l = {
		.fd = calloc(n + 1, sizeof(int)),
		.f = calloc(n + 1, sizeof(const struct openfile *)),
		.v = calloc(n + 1, sizeof(struct tcp_state)),
		.err = calloc(n + 1, sizeof(int)),
	};
	int err = l.fd == NULL || l.f == NULL || l.v == NULL || l.err == NULL
		      ? snap_fail(t->cx, -ENOMEM, "no memory")
		      : 0;

	for (size_t i = 0; err == 0 && i < n; i++) {
		if (t->taken[i] < 0 || !tcp_is_connected(t->taken[i]))
			continue;
		l.fd[l.n] = t->taken[i];
		l.f[l.n++] = &t->all.files[i];
	}
	if (err == 0 && l.n > 0)
		err = compare(t, &l);
	free(l.fd);
	free(l.f);
	free(l.v);
	free(l.err);
	return err;
}

/* ---- the end ---- */

/*
 * If nobody has them now, since what had them was killed and the restore has
 * failed, they end without a word: it may be made again (-ECHILD), and makes
 * them anew.
 */
void
restore_take_end(struct restore_tree *t, bool failed)
{
	int on = 1;

	for (size_t i = 0; t->taken != NULL && i < t->all.nfiles; i++) {
		if (t->taken[i] < 0)
			continue;
		if (failed && t->took && tcp_is_connected(t->taken[i]))
			(void)setsockopt(t->taken[i], IPPROTO_TCP, TCP_REPAIR,
			    &on, sizeof(on));
		close(t->taken[i]);
	}
	free(t->taken);
	t->taken = NULL;
}
