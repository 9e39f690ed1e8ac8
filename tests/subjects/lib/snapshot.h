/*
 * snapshot.h - everything that /proc shows of the process itself, as text.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stddef.h>

struct snapshot {
	char text[1024 * 1024];
	size_t len;
};

/* `allowed`: SUBJECT_*, what is left out. */
void snapshot_take(struct snapshot *s, unsigned allowed);
/* Report what is in one of them only. */
void snapshot_compare(const struct snapshot *a, const struct snapshot *b);

#endif
