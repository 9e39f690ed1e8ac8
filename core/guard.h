/*
 * guard.h - what must be done if we are killed in the middle of something.
 *
 * A process is forked that waits for our end: by guard_end(), or by our death.
 * It has what we had when it was made, memory and descriptors.  (If both are
 * killed at the same moment, nobody does it.)
 */
#ifndef GUARD_H
#define GUARD_H

struct snap_ctx;
struct guard;

/*
 * `act` is what the guard does when we are dead.  It runs in a copy of a program
 * with many threads, of which only this one is there: it makes nothing but
 * calls.  `what`, of which it is the guard, is for the sentence.  -errno, with
 * that: nothing was begun.
 */
int guard_begin(struct snap_ctx *cx, const char *what,
    void (*act)(const void *arg), const void *arg, struct guard **out);

/* It is done: the guard ends, and does nothing.  Accepts NULL. */
void guard_end(struct guard *g);

#endif
