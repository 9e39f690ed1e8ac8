/*
 * run_send.h - messages with descriptors, between snapfs-run(1), its keeper
 * and the daemon.
 */
#ifndef RUN_SEND_H
#define RUN_SEND_H

#include <stddef.h>
#include <sys/types.h>

#define RUN_FDS 3 /* at most in a message */

/* 0 or -errno. */
int run_send(int sock, const void *body, size_t len, const int *fds, size_t n);

/*
 * As recv(2); up to `n` descriptors that came along, which are the caller's,
 * -1 where there is none.
 */
ssize_t run_receive(int sock, void *body, size_t len, int *fds, size_t n);

#endif
