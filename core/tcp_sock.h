/*
 * tcp_sock.h - a socket of TCP, as it is seen in the kernel and as an image
 * has it.
 */
#ifndef TCP_SOCK_H
#define TCP_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "resource.h"

/* What can only be seen, and set, while the kernel is told to stand back. */
struct tcp_state {
	uint32_t out_seq, in_seq; /* behind the last byte of each queue */
	uint32_t mss, timestamp;
	uint32_t window[5]; /* struct tcp_repair_window */
	uint32_t options;   /* TCPI_OPT_* */
	uint32_t snd_wscale, rcv_wscale;
	size_t out, in; /* bytes of the queues */
	char *bytes;	/* out, then in; not in an image */
};

enum tcp_kind {
	TCP_NEW,       /* bound or not */
	TCP_LISTENING, /* */
	TCP_CONNECTED, /* in whatever state that implies */
	TCP_ENDED,     /* was connected once */
};

struct tcp_sock {
	int domain, kind;
	struct sockaddr_storage name, peer;
	socklen_t name_len, peer_len;
	int state; /* of the kernel, while connected */
	int backlog;
	bool reset;
	struct tcp_state s;
};

/* Is it connected, in a state that tcp_peek() can see? */
bool tcp_is_connected(int fd);

/*
 * All of it of `n` connected sockets, which are duplicates of the owner's: they
 * are put into the state TCP_REPAIR and out of it again, one after the other,
 * whatever becomes of us.  v[i].bytes is the caller's to free.  -ENOTSUP in
 * err[i]: that one could not be seen.
 */
int tcp_peek(struct snap_ctx *cx, const int *fd, size_t n, struct tcp_state *v,
    int *err);

bool tcp_sock_parse(const struct openfile *f, struct tcp_sock *t);

/* Debian 12 does not know it: on, off, off without a packet. */
#ifndef TCP_REPAIR_OFF_NO_WP
#define TCP_REPAIR_OFF_NO_WP (-1)
#endif

/* The states in which an end of the stream was sent, or received. */
bool tcp_has_sent_end(int state);
bool tcp_has_got_end(int state);

/* tcp_restore.c */
int tcp_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f);
int tcp_settle(struct snap_ctx *cx, const struct fd_restore *r);

/*
 * The process is complete: let its connections go on.  Until then they are
 * mute, and end without a word if the process does.
 */
int tcp_wake(struct snap_ctx *cx, pid_t pid, const struct process *p);

#endif
