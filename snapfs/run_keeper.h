/*
 * run_keeper.h - the parent of a template that snapfs-run(1) has made, and so of
 * all that is cloned from it.
 *
 * The kernel gives a clone no other parent.  So whoever stands in for an
 * instance entrusts it to the keeper, and hears from that how it has stopped or
 * ended; if he ends himself, the keeper ends the instance.  It stays until the
 * template and the last instance have ended; if it is killed, they are.
 */
#ifndef RUN_KEEPER_H
#define RUN_KEEPER_H

#include <sys/types.h>

#include "snap.h"

/* What comes with its descriptors: control, pidfd, and the keeper's socket. */
struct keeper_report {
	int err; /* 0 or -errno; then there is no template */
	struct snap_template t;
	char why[512];
};

#define KEEPER_FDS 3

/*
 * Make a template of the image, in the caller's session; in a process that is to be its
 * keeper, with every signal blocked.  The report goes to the socket `to`.
 */
void keeper_main(int dir, int to) __attribute__((noreturn));

/*
 * Entrust it with `pid`, cloned from its template: a socket from which its
 * status, as of waitpid(2), is read whenever it stops and when it ends, and
 * which is to be closed only when nobody needs the process any more.  Or
 * -errno; EOWNERDEAD: there is no keeper any more.
 */
int keeper_entrust(int keeper, pid_t pid);

#endif
