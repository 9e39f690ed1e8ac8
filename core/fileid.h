/*
 * fileid.h - how to know a mapped file again: size, time, ELF build-id.
 *
 * The files are what some process chose to map: anything may be in them.
 */
#ifndef FILEID_H
#define FILEID_H

#include "process.h"

#define FILEID_BUILD_ID_MAX 32 /* bytes; twice as many hex digits */

/*
 * Size, time and build-id of the regular file open at `fd` into `f`.  If only the
 * last could not be read, the others are there all the same.
 */
int fileid_read(int fd, struct mapfile *f);

/* *how: NULL if the file open at `fd` is the one, else in which way it is not. */
int fileid_differs(const struct mapfile *f, int fd, const char **how);

/*
 * The GNU build-id of an ELF file (64-bit, little-endian) in hex, "" if there
 * is none: of an open file, and of one in memory such as the vDSO.
 */
int fileid_build_id(int fd, char hex[2 * FILEID_BUILD_ID_MAX + 1]);
int fileid_build_id_mem(
    const void *image, size_t len, char hex[2 * FILEID_BUILD_ID_MAX + 1]);

#endif
