/*
 * resource.h - kinds of open files, one row of a const table and one file
 * res_KIND.c each: how a checkpoint reads it, how a restore makes it again.
 *
 * To add a kind: write res_KIND.c with a `const struct resource`, name it in
 * the table in resource.c, write a paragraph in snapfs(5) and a subject.
 */
#ifndef RESOURCE_H
#define RESOURCE_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "process.h"

struct snap_ctx;

/* What is known of a descriptor of the frozen process before its kind is. */
struct fd_probe {
	pid_t pid;
	int pidfd;
	int fd;		    /* its number there */
	const char *target; /* readlink /proc/PID/fd/N */
	struct stat st;	    /* stat of /proc/PID/fd/N: the object itself */
	const char *fdinfo; /* the text of /proc/PID/fdinfo/N */
	uint32_t flags;	    /* O_*, as fdinfo has them, without O_CLOEXEC */
	/* Of this very inode, among all descriptors of the tree: */
	bool reader, writer; /* is there one that reads, one that writes */
	int domain;	     /* of a socket, AF_*; or 0 */
	bool tcp;	     /* a stream of the Internet */
	const struct tcp_state *tcp_state; /* if it is connected, or NULL */
	const struct sock_queue *queue; /* what waits in it; NULL: not known */
	struct sock_diag_all *diag;
	uint32_t group_flags; /* the flags of all of them */
	/* Of a pipe or FIFO: who in the tree has the end that this has not. */
	pid_t other;
	struct f_owner_ex owner; /* F_GETOWN_EX, pid 0: none */
	int sig;		 /* F_GETSIG, 0: SIGIO */
	int pipe_size, unread;	 /* of pipes and FIFOs */
	bool fuse; /* on a FUSE mount: its server may not answer, or be us */
	int root;  /* where its paths begin, or AT_FDCWD */
	const struct process *p;
	const struct walk *walk; /* its other descriptors, fds_stat() */
	uint64_t deadline;	 /* see resource_in_time() */
};

/*
 * What a restore offers to the kinds.  Of a tree, `p` has the open files of all
 * its processes, each once.
 */
struct fd_restore {
	const struct process *p;
	pid_t pid;    /* whom they are for, a group's leader; 0: the caller */
	bool numbers; /* processes have the numbers that the image says */
	int tty;      /* the terminal to use, or -1 */
	int std[3];   /* the caller's standard descriptors, or -1 */
	int base;     /* files[i] is to be open at base + i meanwhile */
	/*
	 * Of each: a descriptor of ours that is this very file, taken over
	 * from the process that is replaced, or -1.  NULL: none.
	 */
	const int *taken;
	char *note; /* room for what came back differently, 512 bytes */
	/*
	 * Set by fds_open() and fds_place() for the kinds.  The files of one object (a
	 * pipe, a memfd) form a ring: next[i] is the one behind files[i],
	 * first[i] the lowest of the ring.
	 */
	const uint32_t *first, *next;
	int *aux; /* resource_keep(): one for each file, -1: none */
	/*
	 * Which file, an index, is descriptor `fd` of the process that has f?
	 * UINT32_MAX: none.  NULL: p is one process, and p->fds tells.
	 */
	uint32_t (*find)(
	    const struct fd_restore *r, const struct openfile *f, int fd);
	/* The process that has f, which says where paths begin; NULL: p. */
	const struct process *(*owner)(
	    const struct fd_restore *r, const struct openfile *f);
	/*
	 * The number that the process has which the image calls `pid`; -1: it is
	 * not restored.  NULL: there is one process only.
	 */
	pid_t (*number)(const struct fd_restore *r, pid_t pid);
	const void *find_arg;
};

#define FD_NOTE_SIZE 512

struct resource {
	const char *name; /* as `kind:` in fdinfo has it */
	bool (*match)(const struct fd_probe *q);
	/*
	 * The process is frozen.  Put what a restore needs into f, contents
	 * into p.  -ENOTSUP: listed as unsupported, with the context's
	 * sentence; any other error ends the checkpoint.
	 */
	int (*collect)(struct snap_ctx *cx, const struct fd_probe *q,
	    struct process *p, struct openfile *f);
	/*
	 * Is what an image says of it well-formed?  Pure.  The caller adds
	 * FILE: to the sentence.
	 */
	int (*check)(struct snap_ctx *cx, const struct process *p,
	    const struct openfile *f);
	/*
	 * Before a process is killed that is to be replaced: would restore()
	 * refuse this?  As far as that can be told without opening it, for the
	 * process may hold it.  May be NULL.
	 */
	int (*try)(struct snap_ctx *cx, const struct fd_restore *r,
	    const struct openfile *f);
	/* Open it: a descriptor of any number, or -errno.  O_CLOEXEC or not. */
	int (*restore)(struct snap_ctx *cx, const struct fd_restore *r,
	    const struct openfile *f);
	/*
	 * Once all are open at their final numbers: what refers to other
	 * descriptors (epoll), locks, owners.  `fd` is one that refers to f.
	 * May be NULL.
	 */
	int (*finish)(struct snap_ctx *cx, const struct fd_restore *r,
	    const struct openfile *f, int fd);
	/*
	 * For those that depend on one another (sockets): called once, when
	 * all are open at their places.  Goes through the files itself.  May
	 * be NULL.
	 */
	int (*settle)(struct snap_ctx *cx, const struct fd_restore *r);
};

/* The rows of the table, in order of matching; ends with NULL. */
extern const struct resource *const resources[];
const struct resource *resource_find(const char *name);

/*
 * Fill files, fds and contents of these frozen processes, which are a tree
 * (their pid is known).  What has no kind is listed as unsupported, "fd N";
 * what several have says `same: PID/FD`, naming the first.
 */
int fds_collect(struct snap_ctx *cx, struct process *const *p, size_t n);

/* Check everything that an image says of descriptors; pure. */
int fds_check(struct snap_ctx *cx, const struct process *p);

/*
 * Open every file at base + its index; all that is below `base` is the
 * caller's own.  `r->base` is above every number that is to be restored.
 */
int fds_open(struct snap_ctx *cx, const struct fd_restore *r);

/*
 * Would fds_open() refuse one of them?  As far as the kinds can tell while the
 * processes that are to be replaced have them open; leaves no trace.
 */
int fds_try(struct snap_ctx *cx, const struct fd_restore *r);

/*
 * In a process that has inherited those: close all other descriptors below
 * `base` (the caller's own are above base + nfiles), put each at its number,
 * close base .. base + nfiles - 1, finish those that are `mine` (NULL: all),
 * and take the locks last.
 *
 * POSIX record locks are lost when the process closes *any* descriptor of the
 * same file.  Whoever closes more files afterwards (those it mapped) takes
 * them again with fdlock_posix().
 */
int fds_place(
    struct snap_ctx *cx, const struct fd_restore *r, const bool *mine);

/*
 * Files that are on their way in a socket (`in-flight`) are no descriptors of
 * the process; until this is called they are open as if they were.
 */
void fds_close_in_flight(const struct process *p);

/* ---- for the kinds: a checkpoint ---- */

/*
 * For those of which there may be much to say: between two parts of that.  0,
 * or -ETIMEDOUT with a sentence if the process may not be frozen any longer.
 */
int resource_in_time(struct snap_ctx *cx, const struct fd_probe *q);

/* A duplicate of the descriptor, or -errno with a sentence. */
int resource_getfd(struct snap_ctx *cx, const struct fd_probe *q);

/* Open the object itself anew for reading: contents of regular files. */
int resource_reopen(struct snap_ctx *cx, const struct fd_probe *q);

/* Does its path (without " (deleted)") lead to this very object? */
bool resource_named(const struct fd_probe *q);

/* Note its device and inode, as `object`: what files share is known by it. */
int resource_put_object(struct openfile *f, const struct fd_probe *q);

/* ---- for the kinds: a restore ---- */

/*
 * Was fd/N of the image made to point elsewhere?  Then whatever it was, it is
 * now the file of that path, opened with the access mode of old; or, if it is
 * given, what whoever restores it has at that number.
 */
bool resource_edited(const struct openfile *f);

/*
 * Open `path` with the flags of f, never creating or truncating, never
 * waiting; then give it those flags that can be set.  A sentence at failure.
 */
int resource_open(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, const char *path);

/* The same of an open descriptor. */
int resource_open_again(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd);

/*
 * May `path` be opened with the flags of f?  Without opening it, so that no lease
 * is broken and no device hears of it: 0 and what it is, or -errno with a
 * sentence.
 */
int resource_try(struct snap_ctx *cx, const struct openfile *f,
    const char *path, struct stat *st);

/* F_SETFL of what F_SETFL can set; closes fd at failure.  Returns fd. */
int resource_set_flags(struct snap_ctx *cx, const struct openfile *f, int fd);

/* Seek to f->pos; closes fd at failure.  Returns fd. */
int resource_seek(struct snap_ctx *cx, const struct openfile *f, int fd);

/*
 * Keep a duplicate of `fd`, beside f, until fds_open() ends or f's kind drops
 * it: r->aux[].
 */
int resource_keep(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd);
void resource_drop(const struct fd_restore *r, const struct openfile *f);

/* Add a sentence to what came back differently. */
void resource_note(const struct fd_restore *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Where descriptor `fd` of f's process is open while its kind settles; -1. */
int resource_at(const struct fd_restore *r, const struct openfile *f, int fd);

/* The index of f. */
static inline uint32_t
resource_index(const struct fd_restore *r, const struct openfile *f)
{
	return (uint32_t)(f - r->p->files);
}

/* Where it is open until it is at its numbers. */
static inline int
resource_place(const struct fd_restore *r, const struct openfile *f)
{
	return r->base + (int)resource_index(r, f);
}

#endif
