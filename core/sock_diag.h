/*
 * sock_diag.h - what the kernel tells of sockets by their inode, through a
 * netlink socket (sock_diag(7)).
 */
#ifndef SOCK_DIAG_H
#define SOCK_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct snap_ctx;

/*
 * A netlink socket in the network namespace of process `pid`, or of our own if
 * it is 0.  A descriptor or -errno, with a sentence.
 */
int sock_diag_open(struct snap_ctx *cx, pid_t pid);

struct unix_info {
	uint32_t ino;
	uint8_t state;	  /* TCP_ESTABLISHED, TCP_LISTEN, TCP_CLOSE */
	uint8_t shutdown; /* 1: receives no more, 2: sends no more */
	bool has_peer;
	uint32_t peer; /* inode; 0: closed, or not accepted yet */
	bool has_file;
	uint32_t file_ino; /* of the bound path */
	dev_t file_dev;
	uint32_t backlog;  /* as listen(2) was told */
	uint32_t *pending; /* inodes of clients that wait to be accepted */
	size_t npending;
};

/* What is told of each: UDIAG_SHOW_* for all that is in unix_info. */
#define SOCK_DIAG_SHOW \
	(UDIAG_SHOW_PEER | UDIAG_SHOW_VFS | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN)

/* One socket of the UNIX domain. */
int sock_diag_unix(
    struct snap_ctx *cx, int diag, uint32_t ino, struct unix_info *out);
void unix_info_fini(struct unix_info *u);

/*
 * All of them, as the kernel goes through them: what `f` is told is its own to
 * release.  Until it returns an error.
 */
int sock_diag_each(struct snap_ctx *cx, int diag, uint32_t show,
    int (*f)(void *arg, struct unix_info *u), void *arg);

/* Is any socket bound to this file?  1, 0 or -errno. */
int sock_diag_bound(
    struct snap_ctx *cx, int diag, uint32_t file_ino, dev_t file_dev);

#endif
