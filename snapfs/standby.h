/*
 * standby.h - an agent (agent.h) that has been begun, and waits for its request:
 * whom for, it does not know.  To begin one takes as long as all that it does for
 * an instance; so where there are templates one is kept.
 */
#ifndef STANDBY_H
#define STANDBY_H

#include <sys/types.h>

struct standby {
	pid_t pid; /* our child; 0: there is none */
	int sock;  /* owned */
};

/*
 * 0 or -errno.  It ends with the thread that begins it, and when its socket is
 * closed.
 */
int standby_begin(struct standby *s);

/* It is the caller's from now on, and there is none. */
struct standby standby_take(struct standby *s);

/* It is ended, if there is one. */
void standby_end(struct standby *s);

#endif
