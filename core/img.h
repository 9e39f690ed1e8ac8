/*
 * img.h - the text files of an image, one img_*.c each with both directions;
 * image.c knows which there are.
 *
 * A writer cannot fail but by want of memory, which the text remembers.  A
 * reader checks all that its file says, and what it says of the files read
 * before it; 0 or -errno with a sentence that has FILE:LINE.
 */
#ifndef IMG_H
#define IMG_H

#include "ctx.h"
#include "process.h"
#include "text.h"

#define IMG_PAGE 4096u

/* In the order of writing and of reading. */
void img_checkpoint_write(struct text *t, const struct process *p);
int img_checkpoint_read(struct lines *l, struct process *p);
/* Its first line alone: -EPROTO where the version is not known. */
int img_checkpoint_version(struct lines *l);

void img_maps_write(struct text *t, const struct process *p);
int img_maps_read(struct lines *l, struct process *p);

void img_pagemap_write(struct text *t, const struct process *p);
int img_pagemap_read(struct lines *l, struct process *p);

void img_status_write(struct text *t, const struct process *p);
int img_status_read(struct lines *l, struct process *p);

void img_regs_write(struct text *t, const struct process *p);
int img_regs_read(struct lines *l, struct process *p);

void img_signals_write(struct text *t, const struct process *p);
int img_signals_read(struct lines *l, struct process *p);

void img_timers_write(struct text *t, const struct process *p);
int img_timers_read(struct lines *l, struct process *p);

void img_zombies_write(struct text *t, const struct process *p);
int img_zombies_read(struct lines *l, struct process *p);

/*
 * "ID KEY MODE UID GID CUID CGID" of an object of System V IPC, cut off *line,
 * which becomes NULL if that is all; `modes` is what a mode may have.
 */
void img_ipc_write(struct text *t, const struct ipc *o);
bool img_ipc_parse(char **line, uint32_t modes, struct ipc *o);

void img_sysvipc_write(struct text *t, const struct process *p);
int img_sysvipc_read(struct lines *l, struct process *p);

void img_seccomp_write(struct text *t, const struct process *p);
int img_seccomp_read(struct lines *l, struct process *p);

void img_unsupported_write(struct text *t, const struct process *p);
int img_unsupported_read(struct lines *l, struct process *p);

/* Of the n parts, not of a process: it is no part of a checkpoint. */
void img_prefetch_write(struct text *t, const struct part *v, size_t n);
int img_prefetch_read(struct lines *l, struct process *p);

/* fdinfo/N: of one descriptor; `target` is where fd/N leads, copied. */
void img_fdinfo_write(
    struct text *t, const struct process *p, const struct fdent *e);
int img_fdinfo_read(
    struct lines *l, struct process *p, int fd, const char *target);
/* All have been read, in order of their numbers. */
int img_fdinfo_finish(struct snap_ctx *cx, struct process *p);

/* The thread with this id, or NULL. */
struct thread *img_thread(const struct process *p, pid_t tid);

#endif
