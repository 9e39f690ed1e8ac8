/*
 * res.h - the rows of the resource table, one res_KIND.c each.
 */
#ifndef RES_H
#define RES_H

#include "resource.h"

extern const struct resource res_path, res_memfd, res_secret, res_file, res_dir,
    res_pipe, res_fifo, res_tty, res_ptmx, res_device, res_eventfd, res_epoll,
    res_timerfd, res_signalfd, res_inotify, res_fanotify, res_pidfd, res_unix,
    res_inet, res_netlink, res_dead, res_tcp, res_unsupported;

/*
 * Files without a name: keep their contents (and mode) at a checkpoint, put
 * them into an empty file at a restore.
 */
int res_keep_contents(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f);
int res_fill(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd);

/*
 * A pseudo-terminal with both its sides in the process.  Its master, by its
 * number; whether a master's other side is elsewhere; the number of a
 * terminal.  res_ptmx_open() gives a master's place, opened if need be.
 */
#define PTMX_OUTSIDE \
	"the master side of a pseudo terminal, whose other side is in " \
	"a process outside the tree or was not opened"
const struct openfile *res_ptmx_find(const struct process *p, uint64_t number);
bool res_ptmx_outside(const struct process *p, const struct openfile *f);
/* Has p, or another of its tree, the master of this number? */
bool res_ptmx_in_tree(const struct process *p, uint64_t number);
int res_ptmx_open(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f);
bool res_tty_number(const struct openfile *f, uint64_t *number);
bool res_tty_pty(dev_t dev, uint64_t *number);
/* A terminal that none of p's masters belongs to, and that was not hung up. */
bool res_tty_from_outside(const struct process *p, const struct openfile *f);

/* The mode and size of a terminal: note, check, set them. */
int res_tty_put_mode(struct openfile *f, int fd);
int res_tty_check_mode(struct snap_ctx *cx, const struct openfile *f);
void res_tty_set_mode(
    const struct fd_restore *r, const struct openfile *f, int fd);

/* Whatever it was: the image was made to say that it is this path. */
int res_edited_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f);

/* It is the caller's: his descriptor f->std. */
int res_given_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f);

/* res_tty.c: give the terminal `fd` the mode that it had as f. */
void res_tty_adopt(
    const struct fd_restore *r, const struct openfile *f, int fd);

#endif
