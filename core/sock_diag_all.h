/*
 * sock_diag_all.h - what the kernel tells of the UNIX sockets of one process.
 * For each that it is asked for it goes through all that there are: so after
 * some it is asked for all at once.
 */
#ifndef SOCK_DIAG_ALL_H
#define SOCK_DIAG_ALL_H

#include <stddef.h>

#include "sock_diag.h"

struct sock_diag_all {
	int fd; /* -1: not yet opened */
	unsigned asked;
	struct unix_info *v; /* by inode */
	size_t n;
};

/* One of process `pid`; what is in `out` is the caller's.  0 or -errno. */
int sock_diag_all_get(struct snap_ctx *cx, struct sock_diag_all *a, pid_t pid,
    uint32_t ino, struct unix_info *out);
void sock_diag_all_fini(struct sock_diag_all *a);

#endif
