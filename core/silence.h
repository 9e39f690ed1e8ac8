/*
 * silence.h - connections of TCP of processes that are to be killed, so that
 * their peers hear nothing of it: whoever has the image goes on with them.
 *
 * Duplicates of them keep them open while the processes die; then they are
 * closed in the state TCP_REPAIR, in which the kernel says nothing.
 */
#ifndef SILENCE_H
#define SILENCE_H

#include "process.h"

struct silenced {
	int fd; /* ours */
	const struct openfile *file;
};

struct silence {
	struct silenced *v;
	size_t n;
};

/*
 * Those of process `pid`, which is frozen, that `files`, what the image has
 * open, has too.
 */
int silence_collect(struct snap_ctx *cx, struct silence *s, pid_t pid,
    int pidfd, const struct openfile *files, size_t nfiles);

/* -ESTALE: something came since, or was sent, and would be lost. */
int silence_compare(struct snap_ctx *cx, const struct silence *s);

/* Done with them; `mute`: what had them was killed. */
void silence_end(struct silence *s, bool mute);

#endif
