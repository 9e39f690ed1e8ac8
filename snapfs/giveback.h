/*
 * giveback.h - memory that was freed goes back to the kernel, once it was much.
 *
 * A du(1) of all processes has many checkpoints at once, and malloc(3) would
 * keep what they had for as long as the daemon runs.
 */
#ifndef GIVEBACK_H
#define GIVEBACK_H

/* `proc` is /proc.  Any thread, with no lock held: it may take milliseconds. */
void giveback_some(int proc);

#endif
