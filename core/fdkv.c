#include "fdkv.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "ctx.h"

static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 99;
}

bool
kv_scan_u64(const char **s, int base, uint64_t max, uint64_t *v)
{
	const char *p = *s;
	uint64_t n = 0;

	for (; digit(*p) < base; p++)
		if (__builtin_mul_overflow(n, (uint64_t)base, &n) ||
		    __builtin_add_overflow(n, (uint64_t)digit(*p), &n))
			return false;
	if (p == *s || n > max)
		return false;
	*s = p;
	*v = n;
	return true;
}

bool
kv_scan_text(const char **s, const char *text)
{
	size_t n = strlen(text);

	if (strncmp(*s, text, n) != 0)
		return false;
	*s += n;
	return true;
}

bool
kv_number(const char *value, int base, uint64_t max, uint64_t *v)
{
	return value != NULL && kv_scan_u64(&value, base, max, v) &&
	       *value == '\0';
}

uint64_t
kv_u64(const struct openfile *f, const char *key, int base)
{
	uint64_t v;

	return kv_number(openfile_get(f, key), base, UINT64_MAX, &v) ? v : 0;
}

bool
kv_device(const char *value, dev_t *dev)
{
	uint64_t major, minor;

	if (value == NULL || !kv_scan_u64(&value, 16, UINT32_MAX, &major) ||
	    !kv_scan_text(&value, ":") ||
	    !kv_number(value, 16, UINT32_MAX, &minor))
		return false;
	*dev = makedev((unsigned)major, (unsigned)minor);
	return true;
}

bool
kv_time(const char *value, struct timespec *t)
{
	uint64_t s, ns;

	if (value == NULL || !kv_scan_u64(&value, 10, INT64_MAX, &s) ||
	    !kv_scan_text(&value, ".") || strlen(value) != 9 ||
	    !kv_number(value, 10, 999999999, &ns))
		return false;
	t->tv_sec = (time_t)s;
	t->tv_nsec = (long)ns;
	return true;
}

bool
kv_hex(const char *value, uint8_t *out, size_t len)
{
	if (value == NULL || strlen(value) != 2 * len)
		return false;
	for (size_t i = 0; i < 2 * len; i++)
		if (digit(value[i]) > 15)
			return false;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(digit(value[2 * i]) << 4 |
				   digit(value[2 * i + 1]));
	return true;
}

int
kv_bad(struct snap_ctx *cx, const struct openfile *f, const char *key)
{
	const char *value = openfile_get(f, key);

	if (value == NULL)
		return snap_fail(cx, -EBADMSG, "fdinfo/%u: no `%s' in a %s",
		    f->id, key, f->kind);
	return snap_fail(
	    cx, -EBADMSG, "fdinfo/%u: bad `%s: %.80s'", f->id, key, value);
}

int
kv_need(struct snap_ctx *cx, const struct openfile *f, const char *key)
{
	return openfile_get(f, key) == NULL ? kv_bad(cx, f, key) : 0;
}

int
kv_need_u64(struct snap_ctx *cx, const struct openfile *f, const char *key,
    int base, uint64_t max)
{
	uint64_t v;

	return kv_number(openfile_get(f, key), base, max, &v)
		   ? 0
		   : kv_bad(cx, f, key);
}

int
kv_opt_u64(struct snap_ctx *cx, const struct openfile *f, const char *key,
    int base, uint64_t max)
{
	return openfile_get(f, key) == NULL
		   ? 0
		   : kv_need_u64(cx, f, key, base, max);
}

int
kv_opt_content(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const char *value = openfile_get(f, "content");
	uint64_t id;

	if (value == NULL)
		return 0;
	if (!kv_number(value, 10, UINT32_MAX, &id))
		return kv_bad(cx, f, "content");
	if (process_content(p, (uint32_t)id) == NULL)
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: content: there is no files/%llu", f->id,
		    (unsigned long long)id);
	return 0;
}
