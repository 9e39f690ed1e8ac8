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

/* `s` begins with `word`: the rest becomes a line of the list. */
static int
add_line(char *list, size_t size, const char *word, const char *s, size_t len,
    char *why, size_t whysize)
{
	size_t n = strlen(list), w = strlen(word);

	if (len == w)
		return fail(why, whysize, -EINVAL, "%s names nothing", word);
	s += w;
	len -= w;
	if (n + len + 2 > size)
		return fail(why, whysize, -E2BIG, "too much after %s", word);
	memcpy(list + n, s, len);
	memcpy(list + n + len, "\n", 2);
	return 1;
}

static bool
begins(const char *s, size_t len, const char *word)
{
	return len >= strlen(word) && memcmp(s, word, strlen(word)) == 0;
}

static int
parse_instances(const char *s, size_t len, struct restore_request *out,
    char *why, size_t whysize)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < len && s[i] >= '0' && s[i] <= '9' && i < 4; i++)
		n = n * 10 + (unsigned)(s[i] - '0');
	if (i == 0 || i < len || n == 0 || n > CONTROL_INSTANCES_MAX)
		return fail(why, whysize, -EINVAL,
		    "instances= wants a number from 1 to %u",
		    CONTROL_INSTANCES_MAX);
	out->instances = n;
	out->new_pid = true;
	return 1;
}

/* A number of the writer's; none of his standard descriptors. */
static int
parse_broker(const char *s, size_t len, struct restore_request *out, char *why,
    size_t whysize)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < len && s[i] >= '0' && s[i] <= '9' && i < 8; i++)
		n = n * 10 + (unsigned)(s[i] - '0');
	if (i == 0 || i < len || n < 3)
		return fail(why, whysize, -EINVAL,
		    "broker= wants the number of a descriptor, from 3 up");
	out->broker = n;
	return 1;
}

/* 1 if the line is an option, 0 if not, -errno. */
static int
parse_option(const char *s, size_t len, struct restore_request *out, char *why,
    size_t whysize)
{
	int err;

	if (is(s, len, "pid=new")) {
		out->new_pid = true;
	} else if (is(s, len, "stopped")) {
		out->stopped = true;
	} else if (is(s, len, "wait")) {
		out->wait = true;
	} else if (is(s, len, "replace")) {
		out->replace = true;
	} else if (is(s, len, "stdio=inherit")) {
		out->inherit = true;
	} else if (is(s, len, "lazy=no")) {
		out->eager = true;
	} else if (is(s, len, "lazy=yes")) {
		out->eager = false;
	} else if (is(s, len, "cgroup=writer")) {
		out->own_cgroup = true;
	} else if (is(s, len, "cgroup=image")) {
		out->own_cgroup = false;
	} else if (is(s, len, "template=yes")) {
		out->template = TEMPLATE_YES;
	} else if (is(s, len, "template=no")) {
		out->template = TEMPLATE_NO;
	} else if (begins(s, len, "instances=")) {
		return parse_instances(s + 10, len - 10, out, why, whysize);
	} else if (begins(s, len, "broker=")) {
		return parse_broker(s + 7, len - 7, out, why, whysize);
	} else if (begins(s, len, "tty=")) {
		err = take_path(out->tty, "the terminal's path", s + 4, len - 4,
		    why, whysize);
		return err < 0 ? err : 1;
	} else if (begins(s, len, "ignore=")) {
		return add_line(out->ignore, sizeof(out->ignore), "ignore=", s,
		    len, why, whysize);
	} else if (begins(s, len, "parent=")) {
		return add_line(out->parents, sizeof(out->parents),
		    "parent=", s, len, why, whysize);
	} else {
		return 0;
	}
	return 1;
}

static int
parse_line(const char *s, size_t len, struct restore_request *out, char *why,
    size_t whysize)
{
	char first[40], quoted[40];
	int err = parse_option(s, len, out, why, whysize);

	if (err != 0)
		return err < 0 ? err : 0;
	if (out->path[0] == '\0')
		return take_path(
		    out->path, "the image's path", s, len, why, whysize);
	if (len == 0)
		return 0;
	quote(quoted, sizeof(quoted), s, len);
	/* Whichever of the two was to be an option. */
	quote(first, sizeof(first), out->path, strlen(out->path));
	return fail(why, whysize, -EINVAL,
	    "one of '%s' and '%s' is no path, and no option: pid=new, "
	    "instances=N, template=yes, template=no, stopped, wait, replace, "
	    "lazy=no, stdio=inherit, cgroup=writer, ignore=WHAT, parent=DIR, "
	    "broker=FD and tty=PATH are understood",
	    first, quoted);
}

int
control_parse(const char *text, size_t len, struct restore_request *out,
    char *why, size_t whysize)
{
	const char *line = text, *nl;
	size_t left = len, n;
	int err;

	why[0] = '\0';
	if (len > CONTROL_MAX)
		return fail(why, whysize, -E2BIG, "the request is too long");
	if (len == 0)
		return fail(why, whysize, -EINVAL, "the request is empty");
	if (memchr(text, '\0', len) != NULL)
		return fail(
		    why, whysize, -EINVAL, "the request contains a NUL byte");
	while (left > 0) {
		nl = memchr(line, '\n', left);
		n = nl == NULL ? left : (size_t)(nl - line);
		err = parse_line(line, n, out, why, whysize);
		if (err < 0)
			return err;
		n += nl != NULL;
		line += n;
		left -= n;
	}
	if (out->new_pid && out->replace)
		return fail(why, whysize, -EINVAL,
		    "pid=new (or instances=N) and replace exclude one another");
	return 0;
}

/* The rest of `path` after the directory `dir`, NULL if it is not below it. */
static const char *
strip(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 0 && dir[n - 1] == '/')
		n--;
	return strncmp(path, dir, n) == 0 && path[n] == '/' ? path + n : NULL;
}

bool
control_is_below(const char *path, const char *cwd, const char *mountpoint)
{
	char whole[2 * PATH_MAX];
	const char *rest;

	snprintf(whole, sizeof(whole), "%s%s%s", path[0] == '/' ? "" : cwd,
	    path[0] == '/' || strcmp(cwd, "/") == 0 ? "" : "/", path);
	rest = strip(whole, mountpoint);
	return rest != NULL && rest[strspn(rest, "/")] != '\0';
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
