/*
 * image_sums.h - `xxh128sums`: a line "HASH  path" for every other regular
 * file of an image, those of its children's too (but for their xxh128sums), in
 * the order of the tree but for `checkpoint`, which comes last: an image
 * without that line was cut short.
 *
 * What `xxhsum -c xxh128sums` reads: XXH128 in hex, two blanks, the path.
 */
#ifndef IMAGE_SUMS_H
#define IMAGE_SUMS_H

#include "image.h"

/* Of the text, which does not depend on what the files hold. */
uint64_t image_sums_length(const struct image_tree *t, uint32_t dir);

/*
 * The text of a sums file that was read; borrowed for the call.  -EBADMSG if
 * its syntax is bad, a path is unsafe, or the last line is not checkpoint's.
 */
int image_sums_parse(
    struct snap_ctx *cx, char *text, size_t len, struct image_sums **out);

/*
 * Compare bytes with the line of that path and mark it as done: 0, also where
 * it has no line (edited, and taken as meant), or -EBADMSG.
 */
int image_sums_check(struct snap_ctx *cx, struct image_sums *s,
    const char *path, const void *bytes, size_t len);

/* Has this path a line, with this sum? */
bool image_sums_is(
    const struct image_sums *s, const char *path, const uint8_t hash[16]);

/* Does this path have a line?  `mark`: it was found, and is seen to later. */
bool image_sums_has(struct image_sums *s, const char *path, bool mark);

/* Takes over what image_pagesums() shall give. */
void image_sums_set_pages(struct image_sums *s, struct pagesums *pages);

/* -EBADMSG if a path that no one asked for is no regular file below `dir`. */
int image_sums_rest(struct snap_ctx *cx, const struct image_sums *s, int dir);

#endif
