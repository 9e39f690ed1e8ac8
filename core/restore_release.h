/*
 * restore_release.h - of the processes of a tree all are let go, or none.
 *
 * The kernel lets them go one after the other.  If we are killed in between, it
 * kills those that we trace still, and a guard those that run already.
 */
#ifndef RESTORE_RELEASE_H
#define RESTORE_RELEASE_H

#include <stddef.h>

struct guard;
struct restore_tree;

struct release {
	struct guard *guard; /* NULL: of one process there is none */
	int *pidfds;
	size_t n;
};

/* None runs yet.  -errno, with a sentence: to be ended all the same. */
int release_begin(struct restore_tree *t, struct release *r);

/* All run, or it is for the caller to end them. */
void release_end(struct release *r);

#endif
