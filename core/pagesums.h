/*
 * pagesums.h - `pagesums`: the sums of the pieces of `pages`, so that each can
 * be verified when it is read, alone and in any order.
 *
 *	piece: 262144			bytes in a piece; the last may be shorter
 *	pages: 9cdd...			the sum of all of it, as in xxh128sums
 *	9cdd3826127e3b2d407e198c8705782d	XXH128 of each, in order
 */
#ifndef PAGESUMS_H
#define PAGESUMS_H

#include <inttypes.h>

#include "text.h"

/*
 * What is written.  Small enough that one page that is waited for need not
 * wait long for its piece, large enough to be read at full speed; and larger
 * where there are many, since the sums are all read first.
 */
#define PAGESUMS_SMALL (64u << 10)
#define PAGESUMS_PIECE (256u << 10)
#define PAGESUMS_LARGE (256u << 20) /* of `pages`: from here on */

#define PAGESUMS_BAD \
	"pages: the piece at %" PRIu64 " has another checksum than pagesums " \
	"says: damaged, or edited (then remove the line of pages from " \
	"xxh128sums)"

struct pagesums {
	uint64_t piece; /* bytes */
	uint64_t size;	/* of `pages` */
	size_t n;
	uint8_t whole[16];
	uint8_t (*sum)[16];
};

/* The size of a piece of `pages` of this size. */
uint64_t pagesums_piece(uint64_t size);

/* All sums zero, to be computed; NULL if there is no memory. */
struct pagesums *pagesums_new(uint64_t size);
void pagesums_free(struct pagesums *s);

/* Of the text, which does not depend on what the sums are. */
uint64_t pagesums_length(uint64_t size);
void pagesums_write(struct text *t, const struct pagesums *s);

/* 0, -ENOMEM, or -EBADMSG with FILE:LINE. */
int pagesums_read(struct lines *l, uint64_t size, struct pagesums **out);

/* Bytes of piece `i`. */
uint64_t pagesums_bytes(const struct pagesums *s, size_t i);
bool pagesums_good(const struct pagesums *s, size_t i, const void *bytes);

#endif
