/*
 * identity.h - what tells whether an image is still the one that it was, as far
 * as the memory of a process made from it goes.
 */
#ifndef IDENTITY_H
#define IDENTITY_H

#include "templates.h"

/*
 * Of the image in the open directory `dir`: which files the memory comes from,
 * and when each of them, or what is known of it, was changed last (ctime cannot
 * be set back).  The descriptors of the process are not in it: they are opened
 * for each instance.  0 or -errno.
 */
int identity_of(int dir, struct identity *out);

#endif
