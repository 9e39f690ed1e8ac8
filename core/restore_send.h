/*
 * restore_send.h - messages with descriptors, to a template, and to what it made.
 */
#ifndef RESTORE_SEND_H
#define RESTORE_SEND_H

#include <stddef.h>

/* Up to FDS_BATCH of them; flags of sendmsg(2), beside MSG_NOSIGNAL.  -errno. */
int restore_send_fds(int sock, const void *body, size_t len, const int *fds,
    size_t n, int flags);

#endif
