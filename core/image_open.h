/*
 * image_open.h - the files of an image that somebody else has written.
 *
 * Every file is opened by a name of our own choice below the directory `dir`,
 * never through a link, never waiting, and is taken only if it is a regular
 * file.  0, a descriptor that is the caller's, or -errno with a sentence, but
 * for the -ENOMEM of image_list_numbers().
 */
#ifndef IMAGE_OPEN_H
#define IMAGE_OPEN_H

#include <stddef.h>
#include <stdint.h>

struct snap_ctx;

/* Why PATH could not be opened, by the `err` of open(2): positive. */
int image_open_fail(struct snap_ctx *cx, const char *path, int err);

/*
 * As openat(2), -1 and errno.  No component of `path` may be a link; two is the
 * most there are.
 */
int image_open_below(int dir, const char *path, int flags);

/* Takes over `fd`, and returns it if it is a regular file, of *size bytes. */
int image_open_plain(
    struct snap_ctx *cx, const char *path, int fd, uint64_t *size);

int image_open_file(
    struct snap_ctx *cx, int dir, const char *path, uint64_t *size);

/*
 * Whole, at most `max` bytes, with a NUL behind it that is not counted; to be
 * freed.  Bytes that come meanwhile are not taken.
 */
int image_load(struct snap_ctx *cx, int dir, const char *path, uint64_t max,
    char **text, size_t *len);

/*
 * The numbers that are the names in children/, fd/ or fdinfo/, sorted; *v is to
 * be freed in any case.  There may be no such directory: some tools do not copy
 * empty ones.
 */
int image_list_numbers(
    struct snap_ctx *cx, int dir, const char *path, int **v, size_t *n);

/* Their order, for bsearch(3). */
int image_by_number(const void *a, const void *b);

#endif
