/*
 * giveback.h - memory that was freed goes back to the kernel, once it was much.
 *
 * A du(1) of all processes has many checkpoints at once, and malloc(3) would
 * keep what they had for as long as the daemon runs.
 */
#ifndef GIVEBACK_H
#define GIVEBACK_H

#include <stddef.h>

struct giveback {
	_Atomic size_t rest; /* bytes that were resident after the last time */
	_Atomic unsigned
	    most; /* checkpoints that there were at once since then */
};

/*
 * After something was freed; `live` is how many checkpoints there are still, and
 * `proc` is /proc.  Any thread, with no lock held: it may take milliseconds.
 */
void giveback_some(struct giveback *g, unsigned live, int proc);

#endif
