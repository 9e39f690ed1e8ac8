/*
 * imagedir.h - find the image that a path means: the directory itself, or the
 * only one in it.
 */
#ifndef IMAGEDIR_H
#define IMAGEDIR_H

#include <stddef.h>

/* *fd is open; or -errno, with a sentence in `why`. */
int imagedir_open(const char *path, int *fd, char *why, size_t size);

#endif
