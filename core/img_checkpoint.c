/*
 * img_checkpoint.c - `checkpoint`: what this is, and what it needs.
 *
 *	snapfs checkpoint 1	the first line, and the format's version
 *	id: HEX			32 digits, of this checkpoint alone
 *	parent: none		or the id of the one that an increment needs
 *	time: 2026-11-22T02:47:27.123456789Z
 *	frozen-us: 812		how long the original was held
 *	kernel: 6.18.0		uname -r, escaped
 *	arch: x86_64
 *	pid: 1234
 *	xfeatures: 0xHEX	bits of XCR0 whose state some thread uses
 *	xstate: BIT OFFSET SIZE	where each of them from 2 up is in xsave
 *	vdso: HEX		its build-id, or none
 *	pages: BYTES		the size of `pages`
 *	content: ID BYTES	the size of files/ID, for each of them
 *	content: ID BYTES UP	it is in the directory UP levels of the tree of
 *				processes above (../.. for each)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img.h"
#include "xstate.h"

#define FIRST_LINE "snapfs checkpoint "
#define VERSION "1"
#define ARCH "x86_64"
#define PID_MAX (1 << 22)
#define NS 1000000000

static void
write_time(struct text *t, const struct timespec *ts)
{
	struct tm tm;
	char day[64];

	if (gmtime_r(&ts->tv_sec, &tm) == NULL ||
	    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
		t->failed = true;
		return;
	}
	text_putf(t, "time: %s.%09ldZ\n", day, ts->tv_nsec);
}

static void
write_xstate(struct text *t, uint64_t features)
{
	uint32_t offset, size;

	for (unsigned bit = 2; bit < 63; bit++)
		if ((features & 1ull << bit) != 0 &&
		    xstate_component(bit, &offset, &size))
			text_putf(t, "xstate: %u %u %u\n", bit, offset, size);
}

void
img_checkpoint_write(struct text *t, const struct process *p)
{
	text_puts(t, FIRST_LINE VERSION "\n");
	text_putf(t, "id: %s\n", p->id);
	text_putf(
	    t, "parent: %s\n", p->parent_id[0] != '\0' ? p->parent_id : "none");
	write_time(t, &p->time);
	text_putf(t, "frozen-us: %lu\n", (unsigned long)p->frozen_us);
	text_puts(t, "kernel: ");
	text_escape(t, p->kernel == NULL ? "" : p->kernel);
	text_putf(t, "\narch: %s\n", p->arch);
	text_putf(t, "pid: %d\n", (int)p->pid);
	text_putf(t, "xfeatures: 0x%lx\n", (unsigned long)p->xfeatures);
	write_xstate(t, p->xfeatures);
	text_putf(t, "vdso: %s\n", p->vdso[0] != '\0' ? p->vdso : "none");
	text_putf(t, "pages: %lu\n", (unsigned long)p->pages_size);
	for (size_t i = 0; i < p->ncontents; i++) {
		text_putf(t, "content: %u %lu", p->contents[i].id,
		    (unsigned long)p->contents[i].size);
		if (p->contents[i].up > 0)
			text_putf(t, " %u", p->contents[i].up);
		text_puts(t, "\n");
	}
}

/* ---- reading ---- */

static bool
is_hex(const char *s)
{
	return s[strspn(s, "0123456789abcdef")] == '\0';
}

static int
read_id(struct lines *l, struct process *p, char *s)
{
	if (strlen(s) != 32 || !is_hex(s))
		return lines_fail(l, "an id has 32 hex digits");
	strcpy(p->id, s);
	return 0;
}

static int
read_parent(struct lines *l, struct process *p, char *s)
{
	if (strcmp(s, "none") == 0)
		return 0;
	if (strlen(s) != 32 || !is_hex(s))
		return lines_fail(l, "neither none nor an id");
	if (strcmp(s, p->id) == 0)
		return lines_fail(l, "it is its own parent");
	strcpy(p->parent_id, s);
	return 0;
}

/* Exactly as write_time() has it; n digits, then `sep`. */
static bool
digits(char **s, unsigned n, char sep, int min, int max, int *v)
{
	int sum = 0;

	for (unsigned i = 0; i < n; i++, (*s)++) {
		if (**s < '0' || **s > '9')
			return false;
		sum = sum * 10 + (**s - '0');
	}
	*v = sum;
	return *(*s)++ == sep && sum >= min && sum <= max;
}

static int
read_time(struct lines *l, struct process *p, char *s)
{
	struct tm tm = { 0 };
	int ns;

	if (!digits(&s, 4, '-', 1970, 9999, &tm.tm_year) ||
	    !digits(&s, 2, '-', 1, 12, &tm.tm_mon) ||
	    !digits(&s, 2, 'T', 1, 31, &tm.tm_mday) ||
	    !digits(&s, 2, ':', 0, 23, &tm.tm_hour) ||
	    !digits(&s, 2, ':', 0, 59, &tm.tm_min) ||
	    !digits(&s, 2, '.', 0, 60, &tm.tm_sec) ||
	    !digits(&s, 9, 'Z', 0, NS - 1, &ns) || *s != '\0')
		return lines_fail(l, "not a time in UTC");
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	p->time.tv_sec = timegm(&tm);
	p->time.tv_nsec = ns;
	return 0;
}

static int
read_frozen(struct lines *l, struct process *p, char *s)
{
	return text_dec(s, UINT64_MAX, &p->frozen_us)
		   ? 0
		   : lines_fail(l, "not a number");
}

static int
read_kernel(struct lines *l, struct process *p, char *s)
{
	if (!text_unescape(s))
		return lines_fail(l, "badly escaped");
	p->kernel = strdup(s);
	return p->kernel == NULL ? -ENOMEM : 0;
}

static int
read_arch(struct lines *l, struct process *p, char *s)
{
	if (strcmp(s, ARCH) != 0)
		return snap_fail(l->cx, -EPROTO,
		    "%s:%u: a process of %.32s, and this is %s", l->file,
		    l->line, s, ARCH);
	strcpy(p->arch, s);
	return 0;
}

static int
read_pid(struct lines *l, struct process *p, char *s)
{
	uint64_t v;

	if (!text_dec(s, PID_MAX, &v) || v == 0)
		return lines_fail(l, "not a pid");
	p->pid = (pid_t)v;
	return 0;
}

static int
read_xfeatures(struct lines *l, struct process *p, char *s)
{
	if (!text_xnum(s, UINT64_MAX, &p->xfeatures))
		return lines_fail(l, "not a hex number");
	if ((p->xfeatures & ~xstate_supported()) != 0)
		return snap_fail(l->cx, -EPROTO,
		    "%s:%u: it needs features of the CPU that this one has "
		    "not: 0x%lx",
		    l->file, l->line,
		    (unsigned long)(p->xfeatures & ~xstate_supported()));
	return 0;
}

static int
read_xstate(struct lines *l, struct process *p, char *s)
{
	uint64_t v[3];
	uint32_t offset, size;
	char *w;

	(void)p;
	for (int i = 0; i < 3; i++) {
		w = text_word(&s);
		if (w == NULL || !text_dec(w, UINT32_MAX, &v[i]))
			return lines_fail(l, "not BIT OFFSET SIZE");
	}
	if (s != NULL)
		return lines_fail(l, "more than BIT OFFSET SIZE");
	if (v[0] >= 63 || !xstate_component((unsigned)v[0], &offset, &size) ||
	    offset != v[1] || size != v[2])
		return snap_fail(l->cx, -EPROTO,
		    "%s:%u: this CPU keeps its extended state otherwise",
		    l->file, l->line);
	return 0;
}

static int
read_vdso(struct lines *l, struct process *p, char *s)
{
	if (strcmp(s, "none") == 0)
		return 0;
	if (*s == '\0' || strlen(s) >= sizeof(p->vdso) || !is_hex(s))
		return lines_fail(l, "not a build-id");
	strcpy(p->vdso, s);
	return 0;
}

static int
read_pages(struct lines *l, struct process *p, char *s)
{
	if (!text_dec(s, INT64_MAX, &p->pages_size) ||
	    p->pages_size % IMG_PAGE != 0)
		return lines_fail(l, "not a number of whole pages in bytes");
	return 0;
}

static int
read_content(struct lines *l, struct process *p, char *s)
{
	uint32_t last = p->ncontents > 0 ? p->contents[p->ncontents - 1].id : 0;
	char *id = text_word(&s), *size = text_word(&s), *up = text_word(&s);
	struct content *c;
	uint64_t v;

	if (size == NULL || s != NULL || !text_dec(id, INT32_MAX, &v) ||
	    v <= last)
		return lines_fail(l, "not ID BYTES [UP] with a growing id");
	c = process_grow(&p->contents, &p->ncontents, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->fd = -1;
	c->id = (uint32_t)v;
	if (!text_dec(size, INT64_MAX, &c->size))
		return lines_fail(l, "not a size");
	if (up == NULL)
		return 0;
	if (!text_dec(up, FAMILY_DEPTH_MAX, &v) || v == 0)
		return lines_fail(l, "not a number of levels");
	c->up = (uint32_t)v;
	return 0;
}

/* Those that may be there more than once, or not at all, come last. */
static const struct {
	const char *key;
	int (*read)(struct lines *l, struct process *p, char *value);
} table[] = {
	{ "id", read_id },
	{ "parent", read_parent },
	{ "time", read_time },
	{ "frozen-us", read_frozen },
	{ "kernel", read_kernel },
	{ "arch", read_arch },
	{ "pid", read_pid },
	{ "xfeatures", read_xfeatures },
	{ "vdso", read_vdso },
	{ "pages", read_pages },
	{ "xstate", read_xstate },
	{ "content", read_content },
};
#define NROWS (sizeof(table) / sizeof(table[0]))
#define NSINGLE (NROWS - 2)

int
img_checkpoint_version(struct lines *l)
{
	char *line;
	int r = lines_next(l, &line);

	if (r < 0)
		return r;
	if (r == 0 || strncmp(line, FIRST_LINE, strlen(FIRST_LINE)) != 0)
		return lines_fail(l, "not a checkpoint of snapfs");
	line += strlen(FIRST_LINE);
	if (strcmp(line, VERSION) != 0)
		return snap_fail(l->cx, -EPROTO,
		    "%s:%u: version %.16s is not known here", l->file, l->line,
		    line);
	return 0;
}

static int
read_pair(
    struct lines *l, struct process *p, char *key, char *value, unsigned *seen)
{
	for (unsigned i = 0; i < NROWS; i++) {
		if (strcmp(key, table[i].key) != 0)
			continue;
		if (i < NSINGLE && (*seen & 1u << i) != 0)
			return lines_fail(l, "a second `%s'", key);
		*seen |= 1u << i;
		return table[i].read(l, p, value);
	}
	return lines_fail(l, "unknown key `%.32s'", key);
}

int
img_checkpoint_read(struct lines *l, struct process *p)
{
	char *key, *value;
	unsigned seen = 0;
	int r;

	r = img_checkpoint_version(l);
	if (r < 0)
		return r;
	while ((r = lines_pair(l, &key, &value)) > 0) {
		r = read_pair(l, p, key, value, &seen);
		if (r < 0)
			return r;
	}
	for (unsigned i = 0; r == 0 && i < NSINGLE; i++)
		if ((seen & 1u << i) == 0)
			return lines_fail(l, "no `%s'", table[i].key);
	return r;
}
