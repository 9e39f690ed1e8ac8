#include "control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A piece of the request as it may stand in a sentence: short, printable. */
static void
quote(char *out, size_t size, const char *s, size_t len)
{
	size_t i, n = 0;

	for (i = 0; i < len && n + 4 < size; i++)
		out[n++] = s[i] >= ' ' && s[i] < 0x7f ? s[i] : '?';
	if (i < len) {
		memcpy(out + n, "...", 3);
		n += 3;
	}
	out[n] = '\0';
}

static int fail(char *why, size_t size, int err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int
fail(char *why, size_t size, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	return err;
}

/* A path out of one line, into PATH_MAX bytes. */
static int
take_path(char *out, const char *what, const char *s, size_t len, char *why,
    size_t whysize)
{
	if (len == 0)
		return fail(why, whysize, -EINVAL, "%s is empty", what);
	if (len >= PATH_MAX)
		return fail(
		    why, whysize, -ENAMETOOLONG, "%s is too long", what);
	memcpy(out, s, len);
	out[len] = '\0';
	return 0;
}

static bool
is(const char *s, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(s, word, len) == 0;
}

static int
parse_option(const char *s, size_t len, struct restore_request *out, char *why,
    size_t whysize)
{
	char quoted[64];

	if (len == 0)
		return 0;
	if (is(s, len, "pid=new")) {
		out->new_pid = true;
	} else if (is(s, len, "stopped")) {
		out->stopped = true;
	} else if (is(s, len, "replace")) {
		out->replace = true;
	} else if (len >= 4 && memcmp(s, "tty=", 4) == 0) {
		return take_path(out->tty, "the terminal's path", s + 4,
		    len - 4, why, whysize);
	} else {
		quote(quoted, sizeof(quoted), s, len);
		return fail(why, whysize, -EINVAL,
		    "there is no option '%s': pid=new, stopped, replace and "
		    "tty=PATH are understood",
		    quoted);
	}
	return 0;
}

int
control_parse(const char *text, size_t len, struct restore_request *out,
    char *why, size_t whysize)
{
	const char *end = text + len, *line, *nl;
	int err;

	memset(out, 0, sizeof(*out));
	why[0] = '\0';
	if (len > CONTROL_MAX)
		return fail(why, whysize, -E2BIG, "the request is too long");
	if (memchr(text, '\0', len) != NULL)
		return fail(
		    why, whysize, -EINVAL, "the request contains a NUL byte");
	for (line = text; line < end || line == text; line = nl + 1) {
		nl = memchr(line, '\n', (size_t)(end - line));
		if (nl == NULL)
			nl = end;
		if (line == text)
			err = take_path(out->path, "the image's path", line,
			    (size_t)(nl - line), why, whysize);
		else
			err = parse_option(
			    line, (size_t)(nl - line), out, why, whysize);
		if (err < 0)
			return err;
	}
	if (out->new_pid && out->replace)
		return fail(why, whysize, -EINVAL,
		    "pid=new and replace exclude one another");
	return 0;
}

/* ---- answers ---- */

void
control_answer_put(struct control_answers *a, uid_t uid, const char *text)
{
	size_t i, at = 0;

	for (i = 0; i < CONTROL_USERS; i++) {
		if (a->v[i].used && a->v[i].uid == uid) {
			at = i;
			break;
		}
		if (a->v[i].when < a->v[at].when)
			at = i;
	}
	a->v[at].used = true;
	a->v[at].uid = uid;
	a->v[at].when = ++a->clock;
	snprintf(a->v[at].text, sizeof(a->v[at].text), "%s", text);
}

const char *
control_answer_get(const struct control_answers *a, uid_t uid)
{
	size_t i;

	for (i = 0; i < CONTROL_USERS; i++)
		if (a->v[i].used && a->v[i].uid == uid)
			return a->v[i].text;
	return "";
}
