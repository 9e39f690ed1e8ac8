#include "pagesums.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "hash.h"
#include "img.h"

#define KEY "piece: "
#define WHOLE "pages: "
#define DIGITS 32
#define PIECE_MAX (1u << 20)

static size_t
pieces(uint64_t size, uint64_t piece)
{
	return (size_t)(size / piece + (size % piece != 0));
}

static struct pagesums *
sized(uint64_t size, uint64_t piece)
{
	struct pagesums *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->piece = piece;
	s->size = size;
	s->n = pieces(size, piece);
	s->sum = calloc(s->n + 1, sizeof(*s->sum));
	if (s->sum == NULL) {
		free(s);
		return NULL;
	}
	return s;
}

uint64_t
pagesums_piece(uint64_t size)
{
	return size < PAGESUMS_LARGE ? PAGESUMS_SMALL : PAGESUMS_PIECE;
}

struct pagesums *
pagesums_new(uint64_t size)
{
	return sized(size, pagesums_piece(size));
}

void
pagesums_free(struct pagesums *s)
{
	if (s == NULL)
		return;
	free(s->sum);
	free(s);
}

/* ---- writing ---- */

static void
write_head(struct text *t, uint64_t piece, const uint8_t whole[16])
{
	text_putf(t, KEY "%lu\n" WHOLE, (unsigned long)piece);
	text_hex(t, whole, 16);
	text_puts(t, "\n");
}

uint64_t
pagesums_length(uint64_t size)
{
	uint64_t piece = pagesums_piece(size);
	int head = snprintf(NULL, 0, KEY "%lu\n" WHOLE "%*s\n",
	    (unsigned long)piece, DIGITS, "");

	return (uint64_t)head + pieces(size, piece) * (DIGITS + 1);
}

void
pagesums_write(struct text *t, const struct pagesums *s)
{
	write_head(t, s->piece, s->whole);
	for (size_t i = 0; i < s->n; i++) {
		text_hex(t, s->sum[i], sizeof(s->sum[i]));
		text_puts(t, "\n");
	}
}

/* ---- reading ---- */

static int
read_whole(struct lines *l, uint8_t whole[16])
{
	char *line;
	int r = lines_next(l, &line);

	if (r < 0)
		return r;
	if (r == 0 || strncmp(line, WHOLE, strlen(WHOLE)) != 0 ||
	    !text_unhex(line + strlen(WHOLE), whole, 16))
		return lines_fail(l, "not the sum of `pages'");
	return 0;
}

static int
read_head(struct lines *l, uint64_t *piece, uint8_t whole[16])
{
	char *line;
	int r = lines_next(l, &line);

	if (r < 0)
		return r;
	if (r == 0 || strncmp(line, KEY, strlen(KEY)) != 0 ||
	    !text_dec(line + strlen(KEY), PIECE_MAX, piece) ||
	    *piece < IMG_PAGE || (*piece & (*piece - 1)) != 0)
		return lines_fail(l,
		    "not the size of a piece: a power of two from %u to %u",
		    (unsigned)IMG_PAGE, PIECE_MAX);
	return read_whole(l, whole);
}

static int
read_sums(struct lines *l, struct pagesums *s)
{
	size_t n = 0;
	char *line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		if (n == s->n)
			return lines_fail(l, "more sums than pieces");
		if (!text_unhex(line, s->sum[n], sizeof(s->sum[n])))
			return lines_fail(l, "not a sum of 32 hex digits");
		n++;
	}
	if (r == 0 && n < s->n)
		return lines_fail(l, "fewer sums than pieces");
	return r;
}

int
pagesums_read(struct lines *l, uint64_t size, struct pagesums **out)
{
	struct pagesums *s;
	uint64_t piece = 0;
	uint8_t whole[16];
	int err;

	err = read_head(l, &piece, whole);
	if (err < 0)
		return err;
	/* What there is no text for shall not cost memory. */
	if (pieces(size, piece) > l->len / (DIGITS + 1))
		return lines_fail(l, "fewer sums than pieces");
	s = sized(size, piece);
	if (s == NULL)
		return -ENOMEM;
	memcpy(s->whole, whole, sizeof(whole));
	err = read_sums(l, s);
	if (err < 0)
		pagesums_free(s);
	else
		*out = s;
	return err;
}

/* ---- using ---- */

uint64_t
pagesums_bytes(const struct pagesums *s, size_t i)
{
	uint64_t left = s->size - i * s->piece;

	return left < s->piece ? left : s->piece;
}

bool
pagesums_good(const struct pagesums *s, size_t i, const void *bytes)
{
	XXH128_canonical_t c;

	XXH128_canonicalFromHash(&c, hash_of(bytes, pagesums_bytes(s, i)));
	return memcmp(c.digest, s->sum[i], sizeof(c.digest)) == 0;
}
