/*
 * fds_queue.c - what is on its way in the sockets of a frozen process, and the
 * descriptors among it.
 */
#include "fds_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "resource.h"
#include "sock_queue.h"
#include "tcp_sock.h"
#include "unix_sock.h"

/*
 * What waits in a socket may take descriptors along.  They are open in us now;
 * in the image they have numbers above all that the process has.
 */
static int
add_rights(struct walk *w, size_t i)
{
	const struct sock_queue *q = w->v[i].queue;
	char name[16];
	int err = 0;

	for (size_t k = 0; k < q->n; k++) {
		struct sock_message *m = &q->v[k];

		for (size_t j = 0; j < m->nfds && err == 0; j++) {
			if (w->own.pidfd < 0)
				err = fds_place_init(w->cx, &w->own, getpid());
			if (err < 0)
				return err;
			snprintf(name, sizeof(name), "%d", m->fds[j]);
			err = fds_add(w, &w->own, name, w->v[w->n - 1].fd + 1);
			m->files[j] = (uint32_t)w->n - 1;
		}
	}
	return err;
}

/* Whose queue can be seen, and can be filled again. */
static bool
has_queue(const struct entry *e)
{
	return e->domain == AF_UNIX || e->udp;
}

/* What cannot be seen is no error of the checkpoint. */
static int
peek_at(struct walk *w, size_t i)
{
	struct snap_ctx cx = { .opt = w->cx->opt };
	struct entry *e = &w->v[i];
	int fd, err;

	cx.opt.log = NULL;
	e->queue = calloc(1, sizeof(*e->queue));
	if (e->queue == NULL)
		return -ENOMEM;
	fd = (int)syscall(SYS_pidfd_getfd, e->place->pidfd, e->there, 0);
	if (fd < 0)
		return -errno;
	err = sock_queue_peek(&cx, fd, e->queue);
	close(fd);
	if (err == -ENOTSUP) {
		e->why = strdup(cx.text);
		return e->why == NULL ? -ENOMEM : 0;
	}
	return err == 0 ? add_rights(w, i) : err;
}

/*
 * What is on its way may be a socket that was seen, or one that itself is on
 * its way in it.  It is one open file, collected at its lowest number.
 */
static bool
was_seen(const struct walk *w, size_t i)
{
	const struct entry *e = &w->v[i], *o = w->v;

	if (e->place != &w->own)
		return false;
	while (o < e && (o->queue == NULL || o->st.st_ino != e->st.st_ino ||
			    o->st.st_dev != e->st.st_dev))
		o++;
	return o < e;
}

/* What is on its way may itself be a socket, with something in it. */
int
fds_peek(struct walk *w)
{
	int err = 0;

	fds_begin(w);
	for (size_t i = 0; i < w->n && err == 0; i++) {
		err = fds_in_time(w);
		if (err == 0 && has_queue(&w->v[i]) && !was_seen(w, i))
			err = peek_at(w, i);
	}
	if (err < 0 && err != -ENOMEM)
		return snap_fail(w->cx, err,
		    "what waits in the sockets of process %d: %s", (int)w->pid,
		    strerror(-err));
	return err;
}

struct connections {
	uint32_t *of; /* entries */
	int *fd, *err;
	struct tcp_state *v;
	size_t n;
};

static int
take_connections(struct walk *w, struct connections *c)
{
	for (size_t k = 0; k < c->n; k++) {
		struct entry *e = &w->v[c->of[k]];

		if (c->err[k] != 0) {
			char why[128];

			snprintf(why, sizeof(why),
			    "a connection of TCP that cannot be seen: %s",
			    strerror(-c->err[k]));
			e->why = strdup(why);
			if (e->why == NULL)
				return -ENOMEM;
		}
		e->tcp_state = malloc(sizeof(*e->tcp_state));
		if (e->tcp_state == NULL)
			return -ENOMEM;
		*e->tcp_state = c->v[k];
		c->v[k].bytes = NULL;
	}
	return 0;
}

/* All at once, since it takes a guard, which is a process. */
int
fds_peek_connections(struct walk *w)
{
	struct connections c = { 0 };
	int err = 0;

	c.of = calloc(w->n + 1, sizeof(*c.of));
	c.fd = calloc(w->n + 1, sizeof(*c.fd));
	c.err = calloc(w->n + 1, sizeof(*c.err));
	c.v = calloc(w->n + 1, sizeof(*c.v));
	if (c.of == NULL || c.fd == NULL || c.err == NULL || c.v == NULL)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < w->n; i++) {
		struct entry *e = &w->v[i];
		int fd;

		if (!e->tcp || e->same != e)
			continue;
		fd =
		    (int)syscall(SYS_pidfd_getfd, e->place->pidfd, e->there, 0);
		if (fd < 0)
			err = -errno;
		else if (!tcp_is_connected(fd))
			close(fd);
		else {
			c.of[c.n] = (uint32_t)i;
			c.fd[c.n++] = fd;
		}
	}
	if (err == 0 && c.n > 0)
		err = tcp_peek(w->cx, c.fd, c.n, c.v, c.err);
	if (err == 0)
		err = take_connections(w, &c);
	for (size_t k = 0; k < c.n; k++) {
		close(c.fd[k]);
		free(c.v[k].bytes);
	}
	free(c.of);
	free(c.fd);
	free(c.err);
	free(c.v);
	return err;
}

void
fds_name_rights(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		const struct sock_queue *q = w->v[i].queue;

		for (size_t k = 0; q != NULL && k < q->n; k++)
			for (size_t j = 0; j < q->v[k].nfds; j++) {
				uint32_t *f = &q->v[k].files[j];

				*f = (uint32_t)w->v[*f].same->fd;
			}
	}
}
