/*
 * text.h - the text of an image's files: a builder, and a strict reader.
 *
 * An image's text is lines, each ended by a newline.  In most files a line is
 * "key: value".  Values may hold any byte: those that would break the line
 * (control bytes, a leading blank, and backslashes) are written as \ooo in octal.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct snap_ctx;

/* ---- building ---- */

/* All zero is an empty one.  An error is kept until text_take(). */
struct text {
	char *s;
	size_t len, cap;
	bool failed;
};

void text_putf(struct text *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void text_puts(struct text *t, const char *s);
void text_put(struct text *t, const void *bytes, size_t n);
void text_hex(struct text *t, const void *bytes, size_t n);
/* With control bytes, DEL, backslashes and a leading blank as \ooo. */
void text_escape(struct text *t, const char *s);
/* The text, NUL-terminated and to be freed; NULL if memory ran out. */
char *text_take(struct text *t, size_t *len);
void text_fini(struct text *t);

/* ---- strict numbers; the whole of [s, end of s] must be one ---- */

bool text_dec(const char *s, uint64_t max, uint64_t *v);
bool text_sdec(const char *s, int64_t min, int64_t max, int64_t *v);
bool text_oct(const char *s, uint64_t max, uint64_t *v);  /* leading 0 */
bool text_xnum(const char *s, uint64_t max, uint64_t *v); /* 0x... */
bool text_addr(const char *s, uint64_t *v); /* hex digits alone, 1 to 16 */
/* Exactly n bytes as 2n lower-case hex digits. */
bool text_unhex(const char *s, void *bytes, size_t n);
/* Undo text_escape() in place; false where it could not have written it. */
bool text_unescape(char *s);

/* ---- reading ---- */

struct lines {
	struct snap_ctx *cx;
	const char *file; /* its name in error sentences */
	char *buf;	  /* changed while it is read: newlines become NUL */
	size_t len, at;
	unsigned line; /* number of the line last returned */
};

/* `buf` has a NUL at buf[len]; it is borrowed. */
void lines_init(struct lines *l, struct snap_ctx *cx, const char *file,
    char *buf, size_t len);

/* 1 and a line, 0 at the end, -EBADMSG: NUL byte, or no newline at the end. */
int lines_next(struct lines *l, char **line);

/* The same for "key: value" (blanks behind the colon); skips empty lines. */
int lines_pair(struct lines *l, char **key, char **value);

/* -EBADMSG with the sentence FILE:LINE: ... */
int lines_fail(struct lines *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Cut the next word off *s: words are separated by one space each.  NULL if
 * there is none.
 */
char *text_word(char **s);

/* Cut a range START-END in hex: page-aligned, START < END. */
bool text_range(char *s, uint64_t *start, uint64_t *end);

#endif
