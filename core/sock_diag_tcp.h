/*
 * sock_diag_tcp.h - who has an address of TCP: a process, or only what the
 * kernel keeps for a while of a socket that was closed.
 */
#ifndef SOCK_DIAG_TCP_H
#define SOCK_DIAG_TCP_H

#include <stdbool.h>
#include <sys/socket.h>

struct snap_ctx;

/*
 * If the connection from `name` to `peer` is no process's, have the kernel
 * forget it; with no peer, all that are from the port of `name`.  1: it is a
 * process's, and nothing was done; 0; or -errno.
 */
int sock_diag_tcp_clear(struct snap_ctx *cx,
    const struct sockaddr_storage *name, const struct sockaddr_storage *peer);

#endif
