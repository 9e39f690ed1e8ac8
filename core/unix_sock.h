/*
 * unix_sock.h - a socket of the UNIX domain as an image has it, for the files
 * that deal with it: res_unix.c, unix_restore.c, unix_name.c.
 */
#ifndef UNIX_SOCK_H
#define UNIX_SOCK_H

#include <sys/socket.h>

#include "resource.h"

enum unix_peer {
	UNIX_NONE,
	UNIX_CLOSED,  /* it had one, which is closed */
	UNIX_SOCKET,  /* the socket of inode `ino` */
	UNIX_WAITING, /* to be accepted; a listening socket knows by whom */
};

struct unix_sock {
	int type;
	struct sockaddr_storage name;
	socklen_t name_len; /* 0: none */
	bool name_gone;	    /* its path does not lead to it any more */
	unsigned mode;
	uid_t uid;
	gid_t gid; /* of the path */
	bool listening;
	int backlog;
	enum unix_peer peer;
	uint64_t ino;
	struct sockaddr_storage peer_name; /* of datagram sockets */
	socklen_t peer_name_len;
	bool has_cred;
	struct ucred cred;
	unsigned shutdown;
	bool reset; /* ECONNRESET waits to be told */
};

bool unix_sock_parse(const struct openfile *f, struct unix_sock *u);

/* Of an image: do f and its peer say the same of each other?  Pure. */
int unix_sock_fits(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f);
uint64_t unix_sock_ino(const struct openfile *f);

/* How many connections of other processes wait to be accepted by it.  Pure. */
unsigned unix_sock_waiting(const struct process *p, const struct openfile *f);

/*
 * Why it cannot be brought back without another process, "" if it can.  Pure.
 */
#define UNIX_WHY_MAX 256
void unix_sock_outside(
    const struct process *p, const struct openfile *f, char why[UNIX_WHY_MAX]);

/* unix_restore.c */
/* Refuses what has its other end outside. */
int unix_try(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f);
int unix_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f);
int unix_settle(struct snap_ctx *cx, const struct fd_restore *r);

/*
 * unix_name.c: be where the name `a`, as the process of f has it, leads to what
 * it led to; and come back.
 */
struct unix_view {
	int root; /* ours; -1: it was not left */
};
int unix_enter(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct sockaddr_storage *a, socklen_t len,
    struct unix_view *v);
void unix_leave(struct unix_view *v);

/* Give it its name, if it has one. */
int unix_bind(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const struct unix_sock *u, int fd);

#endif
