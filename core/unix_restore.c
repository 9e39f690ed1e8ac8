/*
 * unix_restore.c - sockets of the UNIX domain, made again.
 *
 * First each gets an end, at its place: two that are connected are made by
 * socketpair(2), or, where one of them was accepted, by connecting to the
 * listening socket that it has its name from.  Once every descriptor is at its
 * number, unix_settle() fills the queues, connects what is connected by name,
 * lets those wait to be accepted that did, and shuts down what was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "sock_maker.h"
#include "sock_name.h"
#include "sock_option.h"
#include "sock_queue.h"
#include "unix_index.h"
#include "unix_sock.h"

static int
fail(struct snap_ctx *cx, const struct openfile *f, int err, const char *what)
{
	return snap_fail(cx, err, "fd %u: %s: %s", f->id, what, strerror(-err));
}

/* ---- whose it is ---- */

/*
 * SO_PEERCRED tells the effective ids of whoever connected, or made the pair:
 * so be that one for a moment.  In vain if we may not.
 */
static void
set_ids(uid_t uid, gid_t gid)
{
	(void)syscall(SYS_setresgid, -1, gid, -1);
	(void)syscall(SYS_setresuid, -1, uid, -1);
}

/* Whoever it was, and with what number. */
static struct sock_maker
lend_ids(const struct fd_restore *r, const struct unix_sock *u)
{
	struct sock_maker m = { .pid = r->numbers ? u->cred.pid : 0 };

	if (u->has_cred &&
	    (u->cred.uid != geteuid() || u->cred.gid != getegid()))
		set_ids(u->cred.uid, u->cred.gid);
	return m;
}

static void
own_ids(const struct fd_restore *r, const struct openfile *f,
    const struct sock_maker *m, uid_t uid, gid_t gid)
{
	if (m->other)
		resource_note(r, "fd %u: SO_PEERCRED tells another pid than %d",
		    f->id, (int)m->pid);
	if (geteuid() == uid && getegid() == gid)
		return;
	(void)syscall(SYS_setresuid, -1, uid, -1);
	(void)syscall(SYS_setresgid, -1, gid, -1);
}

/*
 * A connection lives without its name, which one that was accepted has from a
 * socket that may be elsewhere.
 */
static void
bind_connected(const struct fd_restore *r, const struct openfile *f,
    const struct unix_sock *u, int fd)
{
	struct snap_ctx quiet = { .error = 0 };

	if (unix_bind(&quiet, r, f, u, fd) < 0)
		resource_note(r, "without the name of %s", quiet.text);
}

/* ---- one alone ---- */

static int
make(struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f,
    const struct unix_sock *u)
{
	int fd = socket(AF_UNIX, u->type | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return fail(cx, f, -errno, "socket");
	err = sock_option_begin(cx, r, f, fd);
	if (err == 0)
		err = unix_bind(cx, r, f, u, fd);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

static int
make_listener(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u)
{
	const uid_t uid = geteuid();
	const gid_t gid = getegid();
	int fd = make(cx, r, f, u), err;
	struct sock_maker m;

	if (fd < 0)
		return fd;
	m = lend_ids(r, u);
	err = sock_maker_listen(&m, fd, u->backlog);
	own_ids(r, f, &m, uid, gid);
	if (err == 0)
		return fd;
	close(fd);
	return fail(cx, f, err, "listen");
}

/* Both tell the same of one another. */
static int
make_two(const struct fd_restore *r, const struct openfile *f,
    const struct unix_sock *u, int v[2])
{
	const uid_t uid = geteuid();
	const gid_t gid = getegid();
	struct sock_maker m = lend_ids(r, u);
	int err = sock_maker_pair(&m, u->type | SOCK_CLOEXEC, v);

	own_ids(r, f, &m, uid, gid);
	return err;
}

static int
make_closed(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u)
{
	int v[2], err;

	err = make_two(r, f, u, v);
	if (err < 0)
		return fail(cx, f, err, "socketpair");
	err = sock_option_begin(cx, r, f, v[0]);
	if (err == 0)
		err = resource_keep(cx, r, f, v[1]);
	close(v[1]);
	if (err == 0) {
		bind_connected(r, f, u, v[0]);
		return v[0];
	}
	close(v[0]);
	return err;
}

/* ---- two ---- */

static bool
is_placed(const struct fd_restore *r, const struct openfile *f)
{
	return fcntl(r->base + (int)resource_index(r, f), F_GETFD) >= 0;
}

static int
place(struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f,
    int fd)
{
	const int to = r->base + (int)resource_index(r, f);
	int err;

	if (fd == to)
		return to;
	err = dup3(fd, to, O_CLOEXEC) < 0 ? -errno : 0;
	close(fd);
	return err == 0 ? to : fail(cx, f, err, "its place");
}

/* The listening socket that `u` was accepted from, NULL if it was not. */
static const struct openfile *
listener_of(
    const struct fd_restore *r, const struct unix_sock *u, struct unix_sock *l)
{
	for (size_t i = 0; u->name_len != 0 && i < r->p->nfiles; i++) {
		const struct openfile *f = &r->p->files[i];

		if (strcmp(f->kind, "unix") == 0 && !resource_edited(f) &&
		    unix_sock_parse(f, l) && l->listening &&
		    l->type == u->type &&
		    sock_name_equal(
			&l->name, l->name_len, &u->name, u->name_len))
			return f;
	}
	return NULL;
}

static int
listener_fd(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u)
{
	int fd;

	if (is_placed(r, f))
		return r->base + (int)resource_index(r, f);
	fd = make_listener(cx, r, f, u);
	return fd < 0 ? fd : place(cx, r, f, fd);
}

/* One that waits to be accepted: 1 if it is that of `pid`, 0, -errno. */
static int
accept_one(int listener, pid_t pid, int *fd)
{
	struct ucred c = { 0 };
	socklen_t len = sizeof(c);

	*fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*fd < 0)
		return -errno;
	getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &c, &len);
	if (c.pid == pid)
		return 1;
	close(*fd);
	*fd = -1;
	return 0;
}

/*
 * Since it is bound, others may connect to it, too: whoever does so in this
 * moment is turned away.  Neither of the two waits: for one who fills the queue
 * of those who wait nobody else would make room, and the path may be another's
 * by now, so that nobody comes.
 */
static int
meet(struct sock_maker *m, int client, int listener, const struct unix_sock *l)
{
	int fd = -1, got = 0, err;
	pid_t pid;

	while ((err = sock_maker_connect(
		    m, client, (const void *)&l->name, l->name_len)) != 0) {
		if (err != -EAGAIN)
			return err;
		got = accept_one(listener, 0, &fd);
		if (got < 0 && got != -EAGAIN)
			return got;
	}
	pid = m->pid > 0 && !m->other ? m->pid : getpid();
	do
		got = accept_one(listener, pid, &fd);
	while (got == 0);
	return got == -EAGAIN ? -ECONNREFUSED : got < 0 ? got : fd;
}

static int
connect_own(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *lf, const struct unix_sock *l,
    const struct openfile *sf, const struct unix_sock *server, int client,
    int listener)
{
	int flags = fcntl(listener, F_GETFL), fd;
	const uid_t uid = geteuid();
	const gid_t gid = getegid();
	struct sock_maker m;
	struct unix_view v;

	fd = unix_enter(cx, r, lf, &l->name, l->name_len, &v);
	if (fd < 0)
		return fd;
	(void)fcntl(listener, F_SETFL, flags | O_NONBLOCK);
	(void)fcntl(client, F_SETFL, O_NONBLOCK);
	m = lend_ids(r, server);
	fd = meet(&m, client, listener, l);
	own_ids(r, sf, &m, uid, gid);
	(void)fcntl(client, F_SETFL, 0);
	(void)fcntl(listener, F_SETFL, flags);
	unix_leave(&v);
	return fd;
}

/*
 * v[0] is the first of these, which was accepted from `lf`, v[1] the second, its
 * client.
 */
static int
connect_pair(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *const f[2], const struct unix_sock *const u[2],
    const struct openfile *lf, const struct unix_sock *l, int v[2])
{
	int listener = listener_fd(cx, r, lf, l);

	if (listener < 0)
		return listener;
	v[1] = make(cx, r, f[1], u[1]);
	if (v[1] < 0)
		return v[1];
	v[0] = connect_own(cx, r, lf, l, f[0], u[0], v[1], listener);
	if (v[0] >= 0)
		return 0;
	close(v[1]);
	return fail(cx, f[1], v[0], "connecting it again");
}

static int
make_ends(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f[2], const struct unix_sock u[2], int v[2])
{
	const struct openfile *l;
	struct unix_sock lu;
	int err;

	for (int i = 0; i < 2 && u[0].type != SOCK_DGRAM; i++) {
		int ends[2];

		l = listener_of(r, &u[i], &lu);
		if (l == NULL)
			continue;
		err = connect_pair(cx, r,
		    (const struct openfile *const[2]){ f[i], f[!i] },
		    (const struct unix_sock *const[2]){ &u[i], &u[!i] }, l, &lu,
		    ends);
		if (err == 0) {
			v[i] = ends[0];
			v[!i] = ends[1];
		}
		return err;
	}
	err = make_two(r, f[0], &u[0], v);
	if (err < 0)
		return fail(cx, f[0], err, "socketpair");
	for (int i = 0; i < 2; i++)
		bind_connected(r, f[i], &u[i], v[i]);
	return 0;
}

static int
make_pair(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *a, const struct unix_sock *u,
    const struct openfile *b)
{
	const struct openfile *f[2] = { a, b };
	struct unix_sock us[2] = { *u };
	int v[2], err;

	unix_sock_parse(b, &us[1]);
	err = make_ends(cx, r, f, us, v);
	if (err < 0)
		return err;
	for (int i = 0; i < 2 && err == 0; i++)
		err = sock_option_begin(cx, r, f[i], v[i]);
	if (err == 0)
		err = place(cx, r, b, v[1]);
	else
		close(v[1]);
	if (err >= 0)
		return v[0];
	close(v[0]);
	return err;
}

/*
 * Datagram sockets are connected by name, later, unless one has none: then
 * both were made together.
 */
static bool
is_pair(const struct openfile *f, const struct unix_sock *u,
    const struct openfile *g)
{
	struct unix_sock v;

	return u->type != SOCK_DGRAM ||
	       (unix_sock_parse(g, &v) &&
		   (v.name_len == 0 ||
		       (v.peer == UNIX_SOCKET && v.ino == unix_sock_ino(f) &&
			   u->name_len == 0)));
}

static int
make_connected(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u)
{
	const struct openfile *g = unix_index_find(r->p, u->ino);

	if (g == NULL || !is_pair(f, u, g))
		return make(cx, r, f, u);
	if (is_placed(r, g))
		return snap_fail(cx, -ENOTSUP,
		    "fd %u: it is connected to fd %u, which has no name and "
		    "another peer",
		    f->id, g->id);
	return make_pair(cx, r, f, u, g);
}

int
unix_try(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	char why[UNIX_WHY_MAX];

	unix_sock_outside(r->p, f, why);
	if (why[0] == '\0')
		return 0;
	return snap_fail(cx, -ENOTSUP,
	    "fd %u: %s; to restore without it: ignore=fd %u", f->id, why,
	    f->id);
}

int
unix_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	struct unix_sock u;
	int fd;

	if (is_placed(r, f))
		return resource_set_flags(
		    cx, f, r->base + (int)resource_index(r, f));
	fd = unix_try(cx, r, f);
	if (fd < 0)
		return fd;
	if (!unix_sock_parse(f, &u))
		return kv_bad(cx, f, "type");
	if (u.listening)
		fd = make_listener(cx, r, f, &u);
	else if (u.peer == UNIX_CLOSED)
		fd = make_closed(cx, r, f, &u);
	else if (u.peer == UNIX_SOCKET)
		fd = make_connected(cx, r, f, &u);
	else
		fd = make(cx, r, f, &u);
	return fd < 0 ? fd : resource_set_flags(cx, f, fd);
}

/* ---- when all are at their numbers ---- */

struct settle {
	struct snap_ctx *cx;
	const struct fd_restore *r;
	const struct openfile *f;
	struct unix_sock u;
	int fd;
	int aux; /* its lost peer, for as long as we need it; -1 */
};

/* A socket of the image with this name. */
static int
socket_named(const struct fd_restore *r, const struct sock_message *m)
{
	for (size_t i = 0; m->from_len != 0 && i < r->p->nfiles; i++) {
		const struct openfile *f = &r->p->files[i];
		struct unix_sock u;

		if (strcmp(f->kind, "unix") == 0 && !resource_edited(f) &&
		    unix_sock_parse(f, &u) && u.type == SOCK_DGRAM &&
		    sock_name_equal(&u.name, u.name_len, &m->from, m->from_len))
			return resource_place(r, f);
	}
	return -1;
}

/*
 * Who sends it: its peer; or for a datagram with a sender's name, whoever has
 * that; or a socket made for this, and closed again.
 */
static int
sender(struct settle *s, const struct sock_message *m, bool *own)
{
	const struct openfile *g = s->u.peer == UNIX_SOCKET
				       ? unix_index_find(s->r->p, s->u.ino)
				       : NULL;
	int fd;

	*own = false;
	if (s->aux >= 0)
		return s->aux;
	if (s->u.type == SOCK_DGRAM && (fd = socket_named(s->r, m)) >= 0)
		return fd;
	if (g != NULL && (s->u.type != SOCK_DGRAM || s->u.name_len == 0))
		return resource_place(s->r, g);
	*own = true;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && m->from_len != 0 &&
	    ((const char *)&m->from)[sizeof(sa_family_t)] == '\0' &&
	    bind(fd, (const void *)&m->from, m->from_len) == 0)
		return fd;
	if (m->from_len != 0)
		resource_note(s->r,
		    "fd %u: a message that waits does not tell its sender's "
		    "name",
		    s->f->id);
	return fd;
}

static int
send_message(struct settle *s, const struct sock_queue *q,
    struct sock_message *m, size_t at)
{
	bool by_name =
	    s->u.type == SOCK_DGRAM && s->u.name_len != 0 && s->aux < 0;
	int own, fd, was, err;
	bool ours;

	fd = sender(s, m, &ours);
	if (fd < 0)
		return -errno;
	own = sock_enlarge(fd, SO_SNDBUF, 4 * (uint64_t)q->len + (1u << 20));
	for (size_t i = 0; i < m->nfds; i++)
		m->fds[i] = resource_at(s->r, s->f, (int)m->files[i]);
	was = 0;
	do {
		err = sock_queue_send(fd, q, m, at, by_name ? &s->u.name : NULL,
		    by_name ? s->u.name_len : 0);
		if ((err != -EPERM && err != -ESRCH) || !m->has_cred)
			break;
		m->has_cred = false;
		resource_note(s->r,
		    "fd %u: a message that waits tells other credentials",
		    s->f->id);
	} while (was++ == 0);
	for (size_t i = 0; i < m->nfds; i++)
		m->fds[i] = -1;
	if (ours)
		close(fd);
	else
		sock_shrink(fd, SO_SNDBUF, own);
	return err;
}

static int
fill(struct settle *s)
{
	struct sock_queue q = { 0 };
	struct unix_view v;
	size_t at = 0;
	int err;

	if (openfile_get(s->f, "message") == NULL)
		return 0;
	err = sock_queue_get(s->cx, s->r->p, s->f, &q);
	if (err == 0)
		err = unix_enter(
		    s->cx, s->r, s->f, &s->u.name, s->u.name_len, &v);
	if (err < 0)
		goto out;
	for (size_t i = 0; i < q.n && err == 0; i++) {
		err = send_message(s, &q, &q.v[i], at);
		at += q.v[i].len;
		if (err < 0)
			err = fail(s->cx, s->f, err, "its unread bytes");
	}
	unix_leave(&v);
out:
	sock_queue_fini(&q);
	return err;
}

/* By name: datagram sockets that are no pair. */
static int
connect_named(struct settle *s)
{
	const struct unix_sock *u = &s->u;
	const struct openfile *g;
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	char text[SOCK_NAME_MAX];
	struct unix_view v;
	int err;

	if (u->type != SOCK_DGRAM || u->peer != UNIX_SOCKET ||
	    u->peer_name_len == 0 || getpeername(s->fd, (void *)&a, &len) == 0)
		return 0;
	g = unix_index_find(s->r->p, u->ino);
	if (g != NULL && is_pair(s->f, u, g))
		return 0;
	err = unix_enter(s->cx, s->r, g == NULL ? s->f : g, &u->peer_name,
	    u->peer_name_len, &v);
	if (err < 0)
		return err;
	if (connect(s->fd, (const void *)&u->peer_name, u->peer_name_len) != 0)
		err = -errno;
	unix_leave(&v);
	if (err == 0)
		return 0;
	sock_name_format(text, &u->peer_name, u->peer_name_len);
	return fail(s->cx, s->f, err, text);
}

static int
connect_waiting(
    struct settle *s, const struct unix_sock *l, const struct openfile *client)
{
	int fd = resource_place(s->r, client), err;
	int fl = fcntl(fd, F_GETFL);
	struct unix_view v;

	err = unix_enter(s->cx, s->r, s->f, &l->name, l->name_len, &v);
	if (err < 0)
		return err;
	if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) != 0 ||
	    connect(fd, (const void *)&l->name, l->name_len) != 0)
		err = -errno;
	if (fl >= 0)
		(void)fcntl(fd, F_SETFL, fl);
	unix_leave(&v);
	return err == 0 ? 0 : fail(s->cx, client, err, "connecting it again");
}

/* In the order in which they came. */
static int
let_wait(struct settle *s)
{
	int err = 0;
	uint64_t ino;

	for (size_t i = 0; i < s->f->nkv && err == 0; i++) {
		const struct openfile *client;
		struct unix_sock u;

		if (!s->u.listening ||
		    strcmp(s->f->kv[i].key, "pending") != 0 ||
		    !kv_number(s->f->kv[i].value, 10, UINT32_MAX, &ino))
			continue;
		client = unix_index_find(s->r->p, ino);
		if (client != NULL && unix_sock_parse(client, &u) &&
		    u.peer == UNIX_WAITING)
			err = connect_waiting(s, &s->u, client);
	}
	return err;
}

/* An end that is closed with something unread resets the other. */
static int
shut_down(struct settle *s)
{
	static const int how[] = { -1, SHUT_RD, SHUT_WR, SHUT_RDWR };

	if (s->aux >= 0) {
		if (s->u.reset)
			(void)send(s->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		resource_drop(s->r, s->f);
		s->aux = -1;
	}
	if (s->u.shutdown == 0 || s->u.peer == UNIX_CLOSED)
		return 0;
	return shutdown(s->fd, how[s->u.shutdown]) == 0
		   ? 0
		   : fail(s->cx, s->f, -errno, "shutdown");
}

static int
set_options(struct settle *s)
{
	return sock_option_end(s->cx, s->r, s->f, s->fd);
}

/* Each step for all sockets before the next. */
int
unix_settle(struct snap_ctx *cx, const struct fd_restore *r)
{
	int (*const steps[])(struct settle *) = { fill, connect_named, let_wait,
		shut_down, set_options };
	int err = 0;

	for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
		for (size_t i = 0; i < r->p->nfiles && err == 0; i++) {
			const struct openfile *f = &r->p->files[i];
			struct settle s = { cx, r, f, { 0 },
				resource_place(r, f), r->aux[i] };

			if (strcmp(f->kind, "unix") != 0 || resource_edited(f))
				continue;
			if (!unix_sock_parse(f, &s.u))
				return kv_bad(cx, f, "type");
			err = steps[k](&s);
		}
	}
	return err;
}
