/*
 * sock_option.h - the options of a socket, as lines `option: NAME HEX` of its
 * fdinfo: those that are other than a new socket of its kind has.
 */
#ifndef SOCK_OPTION_H
#define SOCK_OPTION_H

#include <stdbool.h>

#include "process.h"

struct snap_ctx;
struct fd_restore;

/* getsockopt of an int of SOL_SOCKET, -1 if there is none. */
int sock_int(int fd, int name);

/*
 * Note those of `fd`.  -ENOTSUP with a sentence: it has one that cannot be
 * told or set again.
 */
int sock_option_collect(struct snap_ctx *cx, struct openfile *f, int fd);

/* Does an image say that it is set, to what is not 0?  Pure. */
bool sock_option_has(const struct openfile *f, const char *name);

/* Pure. */
int sock_option_check(struct snap_ctx *cx, const struct openfile *f);

/*
 * Those that must be set before the socket has an address, then, when its
 * queues are full and all else is done, the others.
 */
int sock_option_begin(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd);
int sock_option_end(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd);

/*
 * Room for what is to be put into a queue: at least `bytes` (SO_SNDBUF,
 * SO_RCVBUF), as far as the kernel permits.  The size that it had.
 */
int sock_enlarge(int fd, int name, uint64_t bytes);
void sock_shrink(int fd, int name, int was);

#endif
