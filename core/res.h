/*
 * res.h - the rows of the resource table, one res_KIND.c each.
 */
#ifndef RES_H
#define RES_H

#include "resource.h"

extern const struct resource res_path, res_memfd, res_file, res_dir, res_pipe,
    res_fifo, res_tty, res_device, res_eventfd, res_epoll, res_timerfd,
    res_signalfd, res_inotify, res_pidfd, res_unix, res_inet, res_netlink,
    res_dead, res_tcp, res_unsupported;

/*
 * Files without a name: keep their contents (and mode) at a checkpoint, put
 * them into an empty file at a restore.
 */
int res_keep_contents(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f);
int res_fill(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd);

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
