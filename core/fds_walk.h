/*
 * fds_walk.h - the descriptors of frozen processes while they are collected:
 * what fds_list.c has seen of each, what fds_queue.c found on its way in them,
 * and how fds_group.c has put together those of one open file.
 */
#ifndef FDS_WALK_H
#define FDS_WALK_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "process.h"
#include "sock_diag_all.h"

struct snap_ctx;
struct sock_queue;
struct tcp_state;

/* Where descriptors are: in the process, or, those on their way, in us. */
struct place {
	pid_t pid;
	int pidfd, fddir, infodir;
};

struct walk;

struct entry {
	struct walk *w;
	int fd; /* its number in the image */
	const struct place *place;
	int there;  /* its number at its place */
	int domain; /* of a socket */
	bool tcp, udp;
	struct tcp_state *tcp_state; /* if it is connected */
	struct sock_queue *queue;
	char *why; /* it cannot be brought back; found out early */
	bool cloexec;
	uint32_t flags; /* without O_CLOEXEC */
	struct stat st;
	char *target, *fdinfo;
	/* The first descriptor of this open file, here and in the tree. */
	struct entry *same, *top;
	bool reader, writer; /* of its inode, see struct fd_probe */
	uint32_t group_flags;
	pid_t other;	 /* likewise */
	uint64_t number; /* of an eventfd: tells it from others */
	struct f_owner_ex owner;
	int sig;
	int pipe_size, unread; /* of pipes and FIFOs */
	uint32_t file;
};

struct walk {
	struct snap_ctx *cx;
	pid_t pid;
	struct process *p;
	struct place place, own;
	int root;
	struct sock_diag_all diag; /* of UNIX sockets */
	struct entry *v;
	size_t n;
	char *buf; /* for reading fdinfo */
	size_t bufsize;
	char *mountinfo;   /* read when it is first asked for */
	uint64_t deadline; /* of what is being done */
};

/* All descriptors of all processes. */
struct walks {
	struct snap_ctx *cx;
	struct walk *v;
	size_t n;
	struct entry **order; /* sorted by open file */
	size_t norder;
	int error; /* of a comparison */
};

/* All of these: 0, -ENOMEM, or -errno with a sentence. */

/*
 * fds_list.c: the process is held meanwhile, for no longer than it may take to
 * hold it; from here on, so long again.  ETIMEDOUT when that is over.
 */
void fds_begin(struct walk *w);
int fds_in_time(const struct walk *w);

/* fds_list.c: the process's descriptors, in order of their numbers. */
int fds_place_init(struct snap_ctx *cx, struct place *l, pid_t pid);
int fds_walk_init(struct walk *w);
int fds_list(struct walk *w);
/* What stat(2) tells of the process's own descriptor `fd`; NULL: it has none. */
const struct stat *fds_stat(const struct walk *w, int fd);
/* One more, which is at `name` in l's directories, and `fd` in the image. */
int fds_add(struct walk *w, const struct place *l, const char *name, int fd);
void fds_walk_fini(struct walk *w);

/* fds_queue.c: what nobody has read yet, and the descriptors in it. */
int fds_peek(struct walk *w);
int fds_peek_connections(struct walk *w);
/* Once they are grouped: by the first number of each open file. */
void fds_name_rights(struct walk *w);

/* fds_group.c: sets `same`, `top` and what depends on all ends of an inode. */
int fds_group(struct walks *ws);

#endif
