/*
 * log_format.c - log records as text: formats, and tables of them.  Pure.
 */
#include "snap_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "snap.h"

/* One piece of a format: text, or one conversion with its `%`. */
struct piece {
	const char *text;
	size_t len;
	enum snap_log_type type; /* NONE: it is text */
	char length;		 /* 'H' hh, 'h', 'l', 'L' ll, 'z' or 0 */
	char conversion;
};

/* ---- formats ---- */

static enum snap_log_type
type_of(char conversion)
{
	switch (conversion) {
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
	case 'o':
	case 'c':
		return SNAP_LOG_INT;
	case 's':
		return SNAP_LOG_STR;
	case 'p':
		return SNAP_LOG_PTR;
	case 'e':
	case 'f':
	case 'g':
		return SNAP_LOG_DBL;
	default:
		return SNAP_LOG_NONE;
	}
}

static const char *
skip(const char *s, const char *set, size_t max)
{
	size_t n = strspn(s, set);

	return s + (n < max ? n : max);
}

static char
take_length(const char **s)
{
	char c = **s;

	if (c == '\0' || strchr("hlztj", c) == NULL)
		return 0;
	(*s)++;
	if ((c == 'h' || c == 'l') && **s == c) {
		(*s)++;
		return c == 'h' ? 'H' : 'L';
	}
	/* All of these are as long as a long long here. */
	return c == 't' || c == 'j' ? 'L' : c;
}

/* The piece that begins at *s, which is moved past it. */
static int
next_piece(const char **s, struct piece *p)
{
	const char *at = *s;

	*p = (struct piece){ .text = at };
	if (at[0] == '%' && at[1] == '%') {
		p->text = at + 1;
		p->len = 1;
		*s = at + 2;
		return 0;
	}
	if (at[0] != '%') {
		p->len = strcspn(at, "%");
		*s = at + p->len;
		return 0;
	}
	at = skip(at + 1, "-+ #0", 5);
	at = skip(at, "0123456789", 3);
	if (*at == '.')
		at = skip(at + 1, "0123456789", 3);
	p->length = take_length(&at);
	p->conversion = *at;
	p->type = type_of(*at);
	/* %ls and %lc are other things, %Lf another type. */
	if (p->type == SNAP_LOG_NONE ||
	    (p->length != 0 && (p->type != SNAP_LOG_INT || *at == 'c')))
		return -EBADMSG;
	*s = at + 1;
	p->len = (size_t)(*s - p->text);
	return 0;
}

int
snap_log_parse(const char *fmt, uint32_t *types, unsigned *nargs)
{
	struct piece p;

	*types = 0;
	*nargs = 0;
	while (*fmt != '\0') {
		if (next_piece(&fmt, &p) < 0)
			return -EBADMSG;
		if (p.type == SNAP_LOG_NONE)
			continue;
		if (*nargs == SNAP_LOG_ARGS)
			return -EBADMSG;
		*types |= (uint32_t)p.type << 4 * (*nargs)++;
	}
	return 0;
}

/* ---- text ---- */

/* The value as it was before it became 64 bits. */
static unsigned long long
narrowed(const struct piece *p, uint64_t v)
{
	bool with_sign = p->conversion == 'd' || p->conversion == 'i';

	switch (p->length) {
	case 'H':
		return with_sign ? (uint64_t)(int8_t)v : (uint8_t)v;
	case 'h':
		return with_sign ? (uint64_t)(int16_t)v : (uint16_t)v;
	case 'l':
		return with_sign ? (uint64_t)(long)v : (unsigned long)v;
	case 'L':
		return v;
	case 'z':
		return (size_t)v;
	default:
		return with_sign ? (uint64_t)(int32_t)v : (uint32_t)v;
	}
}

/* Flags, width and precision as they were, with another length. */
static void
respell(const struct piece *p, const char *length, char *spec, size_t size)
{
	size_t n = strcspn(p->text, "hlztjdiuxXocspefg");

	snprintf(
	    spec, size, "%.*s%s%c", (int)n, p->text, length, p->conversion);
}

static int
put_value(const struct piece *p, uint64_t v, char *buf, size_t size)
{
	union {
		uint64_t u;
		double d;
	} both = { v };
	const char *s = (const char *)(uintptr_t)v;
	char spec[32];

	respell(p,
	    p->length == 0 && p->conversion == 'c' ? ""
	    : p->type == SNAP_LOG_INT		   ? "ll"
						   : "",
	    spec, sizeof(spec));
	switch (p->type) {
	case SNAP_LOG_STR:
		return snprintf(buf, size, spec, s == NULL ? "(null)" : s);
	case SNAP_LOG_PTR:
		return snprintf(buf, size, spec, s);
	case SNAP_LOG_DBL:
		return snprintf(buf, size, spec, both.d);
	default:
		return p->conversion == 'c'
			   ? snprintf(buf, size, spec, (int)(char)v)
			   : snprintf(buf, size, spec, narrowed(p, v));
	}
}

static int
put_piece(const struct piece *p, const struct snap_log_record *r, unsigned *arg,
    char *buf, size_t size)
{
	if (p->type != SNAP_LOG_NONE)
		return put_value(p, r->args[(*arg)++], buf, size);
	return snprintf(buf, size, "%.*s", (int)p->len, p->text);
}

int
snap_log_text(const struct snap_log_table *t, const struct snap_log_record *r,
    char *buf, size_t size)
{
	const char *fmt = snap_log_format(t, r->format);
	struct piece p;
	uint32_t types;
	unsigned nargs, arg = 0;
	size_t at = 0;
	int n = 0;

	buf[0] = '\0';
	if (fmt == NULL || snap_log_parse(fmt, &types, &nargs) < 0 ||
	    types != r->types || nargs != r->nargs)
		return -EBADMSG;
	while (*fmt != '\0' && n >= 0 && at + 1 < size) {
		if (next_piece(&fmt, &p) < 0)
			return -EBADMSG;
		n = put_piece(&p, r, &arg, buf + at, size - at);
		at += n > 0 ? (size_t)n : 0;
	}
	/* What comes from elsewhere (names, paths) must stay on its line. */
	snap_printable(buf);
	return 0;
}

/* ---- tables ---- */

const char *
snap_log_format(const struct snap_log_table *t, uint32_t format)
{
	if (format >= t->size || t->formats[format] == '\0' ||
	    (format != 0 && t->formats[format - 1] != '\0'))
		return NULL;
	return t->formats + format;
}

const char *
snap_log_next_format(const struct snap_log_table *t, size_t *at)
{
	const char *fmt;

	while (*at < t->size && t->formats[*at] == '\0')
		(*at)++;
	if (*at >= t->size)
		return NULL;
	fmt = t->formats + *at;
	*at += strlen(fmt);
	return fmt;
}
