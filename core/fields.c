#include "fields.h"

#include <string.h>

#include "numa.h"

static const char UNLIMITED[] = "unlimited";

static void
put_limit(struct text *t, uint64_t v)
{
	if (v == UINT64_MAX)
		text_puts(t, UNLIMITED);
	else
		text_putf(t, "%lu", (unsigned long)v);
}

static void
write_value(struct text *t, const struct field *f, const void *at)
{
	const uint64_t *u64 = at;
	const uint32_t *u32 = at;

	switch (f->type) {
	case FIELD_U64:
		text_putf(t, "%lu", (unsigned long)*u64);
		break;
	case FIELD_X64:
		text_putf(t, "0x%016lx", (unsigned long)*u64);
		break;
	case FIELD_U32:
		text_putf(t, "%u", *u32);
		break;
	case FIELD_X32:
		text_putf(t, "0x%08x", *u32);
		break;
	case FIELD_O32:
		text_putf(t, "%04o", *u32);
		break;
	case FIELD_I32:
		text_putf(t, "%d", *(const int32_t *)at);
		break;
	case FIELD_BOOL:
		text_puts(t, *(const bool *)at ? "yes" : "no");
		break;
	case FIELD_NAME:
		text_escape(t, at);
		break;
	case FIELD_IDS:
		text_putf(t, "%u %u %u %u", u32[0], u32[1], u32[2], u32[3]);
		break;
	case FIELD_LIMIT:
		put_limit(t, u64[0]);
		text_puts(t, " ");
		put_limit(t, u64[1]);
		break;
	case FIELD_NUMA:
		numa_write(t, at);
		break;
	}
}

/* Of the types that are used for what may be missing. */
static bool
is_zero(const struct field *f, const void *at)
{
	return f->type == FIELD_BOOL ? !*(const bool *)at
				     : *(const uint32_t *)at == 0;
}

void
fields_write(struct text *t, const struct fields *f, const void *base)
{
	for (size_t i = 0; i < f->n; i++) {
		const void *at = (const char *)base + f->v[i].offset;

		if (f->v[i].optional && is_zero(&f->v[i], at))
			continue;
		text_putf(t, "%s: ", f->v[i].key);
		write_value(t, &f->v[i], at);
		text_puts(t, "\n");
	}
}

static bool
parse_u32(bool (*parse)(const char *s, uint64_t max, uint64_t *v),
    const char *s, uint64_t max, uint32_t *to)
{
	uint64_t v;

	if (!parse(s, max, &v))
		return false;
	*to = (uint32_t)v;
	return true;
}

static bool
parse_i32(const struct field *f, const char *s, void *at)
{
	bool free_range = f->min == 0 && f->max == 0;
	int64_t v;

	if (!text_sdec(s, free_range ? INT32_MIN : f->min,
		free_range ? INT32_MAX : f->max, &v))
		return false;
	*(int32_t *)at = (int32_t)v;
	return true;
}

static bool
parse_bool(const char *s, bool *v)
{
	*v = strcmp(s, "yes") == 0;
	return *v || strcmp(s, "no") == 0;
}

static bool
parse_name(char *s, char *name)
{
	if (!text_unescape(s) || strlen(s) > 15)
		return false;
	strcpy(name, s);
	return true;
}

static bool
parse_ids(char *s, uint32_t *v)
{
	uint64_t n;
	char *w;

	for (int i = 0; i < 4; i++) {
		w = text_word(&s);
		if (w == NULL || !text_dec(w, UINT32_MAX - 1, &n))
			return false;
		v[i] = (uint32_t)n;
	}
	return s == NULL;
}

static bool
parse_limit(char *s, uint64_t *v)
{
	char *w;

	for (int i = 0; i < 2; i++) {
		w = text_word(&s);
		if (w == NULL)
			return false;
		if (strcmp(w, UNLIMITED) == 0)
			v[i] = UINT64_MAX;
		else if (!text_dec(w, UINT64_MAX - 1, &v[i]))
			return false;
	}
	return s == NULL && v[0] <= v[1];
}

static bool
parse_value(const struct field *f, char *s, void *at)
{
	uint64_t max;

	max = f->max != 0 ? (uint64_t)f->max
	      : f->type == FIELD_U32 || f->type == FIELD_O32 ||
		      f->type == FIELD_X32
		  ? UINT32_MAX
		  : UINT64_MAX;
	switch (f->type) {
	case FIELD_U64:
		return text_dec(s, max, at);
	case FIELD_X64:
		return text_xnum(s, max, at);
	case FIELD_U32:
		return parse_u32(text_dec, s, max, at);
	case FIELD_X32:
		return parse_u32(text_xnum, s, max, at);
	case FIELD_O32:
		return parse_u32(text_oct, s, max, at);
	case FIELD_I32:
		return parse_i32(f, s, at);
	case FIELD_BOOL:
		return parse_bool(s, at);
	case FIELD_NAME:
		return parse_name(s, at);
	case FIELD_IDS:
		return parse_ids(s, at);
	case FIELD_LIMIT:
		return parse_limit(s, at);
	case FIELD_NUMA:
		return numa_parse(s, at);
	}
	return false;
}

int
fields_parse(struct lines *l, const struct fields *f, void *base,
    const char *key, char *value, uint64_t *seen)
{
	for (size_t i = 0; i < f->n; i++) {
		if (strcmp(key, f->v[i].key) != 0)
			continue;
		if ((*seen & 1ull << i) != 0)
			return lines_fail(l, "a second `%s'", key);
		*seen |= 1ull << i;
		if (!parse_value(
			&f->v[i], value, (char *)base + f->v[i].offset))
			return lines_fail(l, "bad value of `%s'", key);
		return 1;
	}
	return 0;
}

int
fields_complete(
    struct lines *l, const struct fields *f, uint64_t seen, const char *of)
{
	for (size_t i = 0; i < f->n; i++)
		if ((seen & 1ull << i) == 0 && !f->v[i].optional)
			return lines_fail(l, "%s%sno `%s'", of,
			    *of != '\0' ? ": " : "", f->v[i].key);
	return 0;
}
