#include "numa.h"

#include <string.h>

#define F_BALANCING (1u << 13)
#define F_RELATIVE (1u << 14)
#define F_STATIC (1u << 15)
#define FLAGS (F_BALANCING | F_RELATIVE | F_STATIC)

/* By the kernel's numbers, MPOL_*: in an image, and in numa_maps. */
static const struct {
	const char *name, *kernels;
} modes[] = {
	{ "default", "default" },
	{ "prefer", "prefer" },
	{ "bind", "bind" },
	{ "interleave", "interleave" },
	{ "local", "local" },
	{ "prefer-many", "prefer (many)" },
	{ "weighted-interleave", "weighted interleave" },
};
#define NMODES (sizeof(modes) / sizeof(modes[0]))

static const struct {
	const char *name;
	uint32_t flag;
} flags[] = {
	{ "static", F_STATIC },
	{ "relative", F_RELATIVE },
	{ "balancing", F_BALANCING },
};
#define NFLAGS (sizeof(flags) / sizeof(flags[0]))

bool
numa_known(const struct numa *n)
{
	return (n->mode & ~FLAGS) < NMODES;
}

/* ---- nodes: 0-3,8 ---- */

static bool
has_node(const struct numa *n, unsigned k)
{
	return k < NUMA_NODES && (n->nodes[k / 64] >> k % 64 & 1) != 0;
}

static void
write_nodes(struct text *t, const struct numa *n)
{
	const char *sep = "";

	for (unsigned k = 0; k < NUMA_NODES; k++) {
		unsigned first = k;

		if (!has_node(n, k))
			continue;
		while (has_node(n, k + 1))
			k++;
		text_putf(t, k == first ? "%s%u" : "%s%u-%u", sep, first, k);
		sep = ",";
	}
	if (*sep == '\0')
		text_puts(t, "-");
}

/* Of s[0..len): a number below NUMA_NODES, and how long it is; 0: none. */
static size_t
scan_node(const char *s, size_t len, unsigned *k)
{
	size_t i = 0;

	for (*k = 0; i < len && s[i] >= '0' && s[i] <= '9'; i++) {
		*k = *k * 10 + (unsigned)(s[i] - '0');
		if (*k >= NUMA_NODES)
			return 0;
	}
	return i;
}

static bool
parse_nodes(const char *s, size_t len, struct numa *n)
{
	unsigned first, last;
	size_t i = 0, k;

	for (;;) {
		k = scan_node(s + i, len - i, &first);
		if (k == 0)
			return false;
		i += k;
		last = first;
		if (i < len && s[i] == '-') {
			k = scan_node(s + i + 1, len - i - 1, &last);
			if (k == 0 || last < first)
				return false;
			i += 1 + k;
		}
		for (; first <= last; first++)
			n->nodes[first / 64] |= 1ull << first % 64;
		if (i == len)
			return true;
		if (s[i++] != ',')
			return false;
	}
}

/* ---- modes ---- */

void
numa_write(struct text *t, const struct numa *n)
{
	text_puts(t, numa_known(n) ? modes[n->mode & ~FLAGS].name : "unknown");
	for (size_t i = 0; i < NFLAGS; i++)
		if ((n->mode & flags[i].flag) != 0)
			text_putf(t, ",%s", flags[i].name);
	text_puts(t, " ");
	write_nodes(t, n);
}

static bool
equal(const char *s, size_t len, const char *name)
{
	return strlen(name) == len && memcmp(s, name, len) == 0;
}

static bool
parse_mode(const char *s, size_t len, bool kernels, struct numa *n)
{
	for (size_t i = 0; i < NMODES; i++)
		if (equal(s, len, kernels ? modes[i].kernels : modes[i].name)) {
			n->mode = (uint32_t)i;
			return true;
		}
	return false;
}

static bool
parse_flag(const char *s, size_t len, struct numa *n)
{
	for (size_t i = 0; i < NFLAGS; i++)
		if (equal(s, len, flags[i].name)) {
			n->mode |= flags[i].flag;
			return true;
		}
	return false;
}

bool
numa_parse(char *s, struct numa *n)
{
	char *word = text_word(&s);
	size_t len;

	memset(n, 0, sizeof(*n));
	if (word == NULL || s == NULL)
		return false;
	len = strcspn(word, ",");
	if (!parse_mode(word, len, false, n) || n->mode == 0)
		return false;
	while (word[len] == ',') {
		word += len + 1;
		len = strcspn(word, ",");
		if (!parse_flag(word, len, n))
			return false;
	}
	return strcmp(s, "-") == 0 || parse_nodes(s, strlen(s), n);
}

/* "bind=static|balancing:0-3": each part behind the first may be missing. */
bool
numa_parse_maps(const char *s, size_t len, struct numa *n)
{
	const char *colon = memchr(s, ':', len), *end, *equals, *bar;

	memset(n, 0, sizeof(*n));
	end = colon == NULL ? s + len : colon;
	equals = memchr(s, '=', (size_t)(end - s));
	if (!parse_mode(
		s, (size_t)((equals == NULL ? end : equals) - s), true, n))
		return false;
	while (equals != NULL) {
		equals++;
		bar = memchr(equals, '|', (size_t)(end - equals));
		if (!parse_flag(equals,
			(size_t)((bar == NULL ? end : bar) - equals), n))
			return false;
		equals = bar;
	}
	return colon == NULL ||
	       parse_nodes(colon + 1, (size_t)(s + len - colon - 1), n);
}
