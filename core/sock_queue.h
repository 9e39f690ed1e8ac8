/*
 * sock_queue.h - what waits in the receive queue of a socket: bytes, the
 * bounds of messages, who sent them, descriptors on their way (SCM_RIGHTS).
 *
 * Nothing is received: all is peeked at.  What is noted in an image:
 *
 *	content: ID		all the bytes, one message after the other
 *	message: LEN [from=ADDRESS] [cred=PID:UID:GID] [rights=FILE,...]
 *
 * where FILE is the number of an open file (`file:` of fdinfo).
 */
#ifndef SOCK_QUEUE_H
#define SOCK_QUEUE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "process.h"

struct snap_ctx;

struct sock_message {
	size_t len;
	struct sockaddr_storage from;
	socklen_t from_len; /* 0: without a name */
	bool has_cred;
	struct ucred cred;
	int *fds;	 /* ours, owned by the queue; -1: closed */
	uint32_t *files; /* what each of them is, once that is known */
	size_t nfds;
};

struct sock_queue {
	struct sock_message *v;
	size_t n;
	char *bytes;
	size_t len;
};

/*
 * Look at all that waits in `fd`, which is a duplicate of the owner's; a
 * stream of the UNIX domain, or datagrams of any.
 */
int sock_queue_peek(struct snap_ctx *cx, int fd, struct sock_queue *q);
void sock_queue_fini(struct sock_queue *q);

/* Put it into f, and the bytes into p. */
int sock_queue_put(
    struct process *p, struct openfile *f, const struct sock_queue *q);

/* Of an image: pure. */
int sock_queue_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f);

/* What an image says; message.files is set, and fds is all -1. */
int sock_queue_get(struct snap_ctx *cx, const struct process *p,
    const struct openfile *f, struct sock_queue *q);

/*
 * Send one message of the queue; `at` is where its bytes begin.  `to` may be
 * NULL.  The descriptors it takes along are open as msg->fds.
 */
int sock_queue_send(int fd, const struct sock_queue *q,
    const struct sock_message *m, size_t at, const void *to, socklen_t to_len);

#endif
