/*
 * sock_guard.h - states of another's sockets that must not outlive us.
 *
 * To see all that is in the queues of a socket, it must be put into a state
 * (SO_PEEK_OFF, TCP_REPAIR) that its owner would notice if we died in the
 * middle.  So before that is done, a process is forked which holds the sockets
 * and waits for our end: whether by sock_guard_end() or by our death, it puts
 * them right.  We do so as well, should it be the guard that was killed; and if
 * both are, the next sweep (sock_record.h).
 */
#ifndef SOCK_GUARD_H
#define SOCK_GUARD_H

#include <sys/types.h>

struct snap_ctx;

/* A socket, ours (a duplicate of the owner's), and how it has to be. */
struct sock_undo {
	int fd;
	int level, name, value;
};

struct sock_guard;

/* `v` must stay until the end.  -errno, with a sentence: nothing was begun. */
int sock_guard_begin(struct snap_ctx *cx, const struct sock_undo *v, size_t n,
    struct sock_guard **out);

/* Put all right.  Accepts NULL. */
void sock_guard_end(struct sock_guard *g);

#endif
