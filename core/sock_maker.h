/*
 * sock_maker.h - calls on a socket of the UNIX domain by a process with a
 * number of one's choice.
 *
 * SO_PEERCRED tells who connected, listened or made the pair, by the number
 * that he had: also when he has ended.  Where that is a process of the tree it
 * is not born yet, so its number is free: a child of ours has it for as long as
 * the call takes.
 */
#ifndef SOCK_MAKER_H
#define SOCK_MAKER_H

#include <stdbool.h>
#include <sys/socket.h>

/*
 * Who makes the call: `pid`, or this process itself if `pid` is 0, or its own,
 * or if it cannot be had; then `other` is set.
 */
struct sock_maker {
	pid_t pid;
	bool other;
};

/* 0 or -errno, as the calls themselves. */
int sock_maker_pair(struct sock_maker *m, int type, int v[2]);
int sock_maker_listen(struct sock_maker *m, int fd, int backlog);
int sock_maker_connect(
    struct sock_maker *m, int fd, const struct sockaddr *a, socklen_t len);

#endif
