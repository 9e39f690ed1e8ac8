#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"

#define PAGE_BITS 4095u

static const char HEX[] = "0123456789abcdef";

/* ---- building ---- */

/* Room for n more bytes and a NUL. */
static bool
room(struct text *t, size_t n)
{
	size_t cap = t->cap == 0 ? 256 : t->cap;
	char *s;

	if (t->failed || n > SIZE_MAX / 4 || t->len > SIZE_MAX / 4)
		return t->failed = true, false;
	while (cap - t->len <= n)
		cap *= 2;
	if (cap == t->cap)
		return true;
	s = realloc(t->s, cap);
	if (s == NULL)
		return t->failed = true, false;
	t->s = s;
	t->cap = cap;
	return true;
}

void
text_put(struct text *t, const void *bytes, size_t n)
{
	if (!room(t, n))
		return;
	if (n != 0) /* of nothing, the place may be NULL */
		memcpy(t->s + t->len, bytes, n);
	t->len += n;
	t->s[t->len] = '\0';
}

void
text_puts(struct text *t, const char *s)
{
	text_put(t, s, strlen(s));
}

void
text_putf(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!room(t, 128))
		return;
	va_start(ap, fmt);
	n = vsnprintf(t->s + t->len, t->cap - t->len, fmt, ap);
	va_end(ap);
	if (n < 0) {
		t->failed = true;
		return;
	}
	if ((size_t)n >= t->cap - t->len) {
		if (!room(t, (size_t)n))
			return;
		va_start(ap, fmt);
		vsnprintf(t->s + t->len, t->cap - t->len, fmt, ap);
		va_end(ap);
	}
	t->len += (size_t)n;
}

void
text_hex(struct text *t, const void *bytes, size_t n)
{
	const uint8_t *b = bytes;

	if (n > SIZE_MAX / 8 || !room(t, n * 2)) {
		t->failed = true;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		t->s[t->len++] = HEX[b[i] >> 4];
		t->s[t->len++] = HEX[b[i] & 15];
	}
	t->s[t->len] = '\0';
}

/* A leading blank would be taken for one behind the colon. */
static bool
must_escape(unsigned char c, bool first)
{
	return c < ' ' || c == 127 || c == '\\' || (first && c == ' ');
}

void
text_escape(struct text *t, const char *s)
{
	const char *begin = s;
	size_t n;

	while (*s != '\0') {
		for (n = 0; s[n] != '\0' &&
			    !must_escape((unsigned char)s[n], s + n == begin);)
			n++;
		text_put(t, s, n);
		s += n;
		if (*s != '\0')
			text_putf(t, "\\%03o", (unsigned char)*s++);
	}
}

char *
text_take(struct text *t, size_t *len)
{
	char *s;

	text_put(t, "", 0);
	if (t->failed) {
		text_fini(t);
		return NULL;
	}
	s = t->s;
	if (len != NULL)
		*len = t->len;
	memset(t, 0, sizeof(*t));
	return s;
}

void
text_fini(struct text *t)
{
	free(t->s);
	memset(t, 0, sizeof(*t));
}

/* ---- numbers ---- */

/* Values plus one of hexadecimal digits; of all else 0. */
static const uint8_t values[256] = {
	['0'] = 1,
	['1'] = 2,
	['2'] = 3,
	['3'] = 4,
	['4'] = 5,
	['5'] = 6,
	['6'] = 7,
	['7'] = 8,
	['8'] = 9,
	['9'] = 10,
	['a'] = 11,
	['b'] = 12,
	['c'] = 13,
	['d'] = 14,
	['e'] = 15,
	['f'] = 16,
};

/* 16 and more: it is none. */
static inline unsigned
digit(char c)
{
	return values[(uint8_t)c] - 1u;
}

static bool
number(const char *s, unsigned base, uint64_t max, uint64_t *v)
{
	uint64_t n = 0;

	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		unsigned d = digit(*s);

		if (d >= base || __builtin_mul_overflow(n, base, &n) ||
		    __builtin_add_overflow(n, d, &n))
			return false;
	}
	*v = n;
	return n <= max;
}

bool
text_dec(const char *s, uint64_t max, uint64_t *v)
{
	if (s[0] == '0' && s[1] != '\0')
		return false;
	return number(s, 10, max, v);
}

bool
text_sdec(const char *s, int64_t min, int64_t max, int64_t *v)
{
	uint64_t u;

	if (*s != '-') {
		if (!text_dec(s, INT64_MAX, &u))
			return false;
		*v = (int64_t)u;
	} else {
		if (!text_dec(s + 1, INT64_MAX, &u) || u == 0)
			return false;
		*v = -(int64_t)u;
	}
	return *v >= min && *v <= max;
}

bool
text_oct(const char *s, uint64_t max, uint64_t *v)
{
	return *s == '0' && number(s, 8, max, v);
}

bool
text_xnum(const char *s, uint64_t max, uint64_t *v)
{
	return s[0] == '0' && s[1] == 'x' && number(s + 2, 16, max, v);
}

bool
text_addr(const char *s, uint64_t *v)
{
	return number(s, 16, UINT64_MAX, v);
}

bool
text_unhex(const char *s, void *bytes, size_t n)
{
	uint8_t *b = bytes;

	for (size_t i = 0; i < n; i++, s += 2) {
		unsigned hi = digit(s[0]), lo = hi < 16 ? digit(s[1]) : 16;

		if (hi > 15 || lo > 15)
			return false;
		b[i] = (uint8_t)(hi << 4 | lo);
	}
	return *s == '\0';
}

bool
text_unescape(char *s)
{
	char *to = s, *begin = s;
	int c;

	while (*s != '\0') {
		if (*s != '\\') {
			if (must_escape((unsigned char)*s, s == begin))
				return false;
			*to++ = *s++;
			continue;
		}
		c = 0;
		for (int i = 1; i <= 3; i++) {
			if (s[i] < '0' || s[i] > '7')
				return false;
			c = c * 8 + (s[i] - '0');
		}
		if (c == 0 || c > 255 ||
		    !must_escape((unsigned char)c, s == begin))
			return false;
		*to++ = (char)c;
		s += 4;
	}
	*to = '\0';
	return true;
}

char *
text_word(char **s)
{
	char *w = *s, *end;

	if (w == NULL || *w == '\0' || *w == ' ')
		return NULL;
	end = strchr(w, ' ');
	if (end != NULL)
		*end++ = '\0';
	*s = end;
	return w;
}

bool
text_range(char *s, uint64_t *start, uint64_t *end)
{
	char *dash = strchr(s, '-');

	if (dash == NULL)
		return false;
	*dash = '\0';
	return text_addr(s, start) && text_addr(dash + 1, end) &&
	       *start < *end && ((*start | *end) & PAGE_BITS) == 0;
}

/* ---- reading ---- */

void
lines_init(struct lines *l, struct snap_ctx *cx, const char *file, char *buf,
    size_t len)
{
	*l = (struct lines){ .cx = cx, .file = file, .buf = buf, .len = len };
}

int
lines_fail(struct lines *l, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return snap_fail(l->cx, -EBADMSG, "%s:%u: %s", l->file, l->line, what);
}

int
lines_next(struct lines *l, char **line)
{
	char *s = l->buf + l->at, *end;

	if (l->at >= l->len)
		return 0;
	l->line++;
	end = memchr(s, '\n', l->len - l->at);
	if (end == NULL)
		return lines_fail(l, "the last line is cut short");
	if (memchr(s, '\0', (size_t)(end - s)) != NULL)
		return lines_fail(l, "a NUL byte");
	*end = '\0';
	l->at = (size_t)(end - l->buf) + 1;
	*line = s;
	return 1;
}

int
lines_pair(struct lines *l, char **key, char **value)
{
	char *s, *colon;
	int r;

	do {
		r = lines_next(l, &s);
		if (r <= 0)
			return r;
	} while (*s == '\0');
	colon = strchr(s, ':');
	if (colon == NULL || colon == s)
		return lines_fail(l, "not `key: value`");
	*colon++ = '\0';
	*key = s;
	*value = colon + strspn(colon, " \t");
	return 1;
}
