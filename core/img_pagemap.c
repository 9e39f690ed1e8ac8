/*
 * img_pagemap.c - `pagemap`: what is known of each VMA of `maps` beyond its
 * line there, and which pages are held.
 *
 *	file N SIZE MTIME BUILDID CONTENT PATH
 *		a mapped file, numbered from 0: bytes, SECONDS.NANOSECONDS, the
 *		ELF build-id or -, the ID of files/ID that holds its contents or
 *		-, and its path, escaped
 *	segment N ID KEY MODE UID GID CUID CGID
 *		file N is System V shared memory: its id, key (hexadecimal),
 *		mode (octal; with SHM_DEST and SHM_LOCKED), owner and maker
 *	exe N	the file that /proc/PID/exe is
 *	vma START-END KIND FILE PKEY FLAGS
 *		one for each line of `maps`, in order; KIND is anon, file,
 *		shared, vdso, vvar, vvar_vclock, vsyscall or other; FILE a number
 *		or -; FLAGS as in VmFlags of /proc/PID/smaps, joined by commas,
 *		or -
 *	numa MODE[,FLAG]... NODES
 *		mbind(2) of the VMA before it, see numa.h
 *	run START-END held OFFSET
 *		pages of the VMA before it, whose bytes are at OFFSET of `pages`
 *	run START-END guard
 *		guard pages, madvise(2)
 *	run START-END zero
 *		pages of anonymous memory that have nothing but zeros
 *	run START-END inherited
 *		pages that are the parent process's at the same addresses
 *	run START-END parent
 *		of an increment: pages that its parent holds, not written since
 *	former START-END OFFSET
 *		what it had when it forked, and children of it still have
 *	huge START-END
 *		behind all others, in order: private anonymous memory that was
 *		in huge pages
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fdkv.h"
#include "img.h"
#include "numa.h"
#include "vma.h"

#define NS 1000000000ll
#define PKEY_MAX 15
#define HUGE (2u << 20)
#define SEGMENT_MODES 03777u /* with SHM_DEST and SHM_LOCKED */

/* The kinds of runs whose bytes are not here. */
static const char *const bare_kinds[] = {
	[RUN_GUARD] = "guard",
	[RUN_INHERITED] = "inherited",
	[RUN_FORMER] = "former",
	[RUN_ZERO] = "zero",
	[RUN_PARENT] = "parent",
};

/* ---- writing ---- */

static void
write_file(struct text *t, size_t n, const struct mapfile *f)
{
	text_putf(t, "file %zu %lu %lld.%09ld %s ", n, (unsigned long)f->size,
	    (long long)f->mtime.tv_sec, f->mtime.tv_nsec,
	    f->build_id[0] != '\0' ? f->build_id : "-");
	if (f->content != 0)
		text_putf(t, "%u ", f->content);
	else
		text_puts(t, "- ");
	text_escape(t, f->path);
	text_puts(t, "\n");
}

static void
write_segment(struct text *t, size_t n, const struct ipc *s)
{
	text_putf(t, "segment %zu ", n);
	img_ipc_write(t, s);
	text_puts(t, "\n");
}

static void
write_vma(struct text *t, const struct vma *v)
{
	text_putf(t, "vma %lx-%lx %s ", (unsigned long)v->start,
	    (unsigned long)v->end, vma_kind_name(v->kind));
	if (v->file >= 0)
		text_putf(t, "%d ", v->file);
	else
		text_puts(t, "- ");
	text_putf(t, "%u ", v->pkey);
	vma_write_flags(t, v->flags);
	text_puts(t, "\n");
	if (v->numa != NULL) {
		text_puts(t, "numa ");
		numa_write(t, v->numa);
		text_puts(t, "\n");
	}
}

static void
write_run(struct text *t, const struct run *r)
{
	text_putf(
	    t, "run %lx-%lx ", (unsigned long)r->start, (unsigned long)r->end);
	if (r->kind == RUN_HELD)
		text_putf(t, "held %lu\n", (unsigned long)r->offset);
	else
		text_putf(t, "%s\n", bare_kinds[r->kind]);
}

/* Bytes that come from two sources are one run in the image. */
static bool
is_more(const struct run *run, const struct run *next)
{
	return next->start == run->end && next->kind == run->kind;
}

void
img_pagemap_write(struct text *t, const struct process *p)
{
	size_t r = 0;

	for (size_t i = 0; i < p->nmapfiles; i++)
		write_file(t, i, &p->mapfiles[i]);
	for (size_t i = 0; i < p->nmapfiles; i++)
		if (p->mapfiles[i].segment != NULL)
			write_segment(t, i, p->mapfiles[i].segment);
	if (p->exe_file >= 0)
		text_putf(t, "exe %d\n", p->exe_file);
	for (size_t i = 0; i < p->nvmas; i++) {
		write_vma(t, &p->vmas[i]);
		while (r < p->nruns && p->runs[r].start < p->vmas[i].end) {
			struct run run = p->runs[r++];

			for (; r < p->nruns && is_more(&run, &p->runs[r]) &&
			       run.end < p->vmas[i].end;
			     r++)
				run.end = p->runs[r].end;
			write_run(t, &run);
		}
	}
	for (size_t i = 0; i < p->nformer; i++)
		text_putf(t, "former %lx-%lx %lu\n",
		    (unsigned long)p->former[i].start,
		    (unsigned long)p->former[i].end,
		    (unsigned long)p->former[i].offset);
	for (size_t i = 0; i < p->nhuge; i++)
		text_putf(t, "huge %lx-%lx\n", (unsigned long)p->huge[i].start,
		    (unsigned long)p->huge[i].end);
}

/* ---- reading ---- */

struct reader {
	struct lines *l;
	struct process *p;
	size_t nvmas;  /* how many have had their line */
	uint64_t last; /* end of the last run */
	uint64_t held; /* bytes of `pages` so far */
	size_t huge;   /* the VMA that the last huge pages were in */
};

static bool
parse_time(char *s, struct timespec *ts)
{
	char *dot = strchr(s, '.');
	uint64_t ns = 0;
	int64_t sec;

	if (dot == NULL || strlen(dot + 1) != 9)
		return false;
	*dot = '\0';
	for (const char *c = dot + 1; *c != '\0'; c++) {
		if (*c < '0' || *c > '9')
			return false;
		ns = ns * 10 + (uint64_t)(*c - '0');
	}
	if (!text_sdec(s, INT64_MIN + 1, INT64_MAX, &sec))
		return false;
	ts->tv_sec = (time_t)sec;
	ts->tv_nsec = (long)ns;
	return true;
}

static bool
parse_build_id(const char *s, struct mapfile *f)
{
	if (strcmp(s, "-") == 0)
		return true;
	if (*s == '\0' || strlen(s) >= sizeof(f->build_id) ||
	    s[strspn(s, "0123456789abcdef")] != '\0')
		return false;
	strcpy(f->build_id, s);
	return true;
}

static bool
parse_content(const struct process *p, const char *s, struct mapfile *f)
{
	uint64_t v;

	if (strcmp(s, "-") == 0)
		return true;
	if (!text_dec(s, UINT32_MAX, &v) || v == 0 ||
	    process_content(p, (uint32_t)v) == NULL)
		return false;
	f->content = (uint32_t)v;
	return true;
}

static int
read_file(struct reader *r, char *s)
{
	char *n = text_word(&s), *size = text_word(&s), *mtime = text_word(&s);
	char *build = text_word(&s), *content = text_word(&s);
	struct mapfile *f;
	uint64_t v;

	if (content == NULL || s == NULL)
		return lines_fail(
		    r->l, "not file N SIZE MTIME BUILDID CONTENT PATH");
	if (r->nvmas > 0 || !text_dec(n, INT32_MAX, &v) || v != r->p->nmapfiles)
		return lines_fail(r->l, "a file out of its order");
	f = process_grow(&r->p->mapfiles, &r->p->nmapfiles, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	if (!text_dec(size, INT64_MAX, &f->size))
		return lines_fail(r->l, "not a size: %.32s", size);
	if (!parse_time(mtime, &f->mtime))
		return lines_fail(r->l, "not a time: %.32s", mtime);
	if (!parse_build_id(build, f))
		return lines_fail(r->l, "not a build-id: %.80s", build);
	if (!parse_content(r->p, content, f))
		return lines_fail(r->l, "no such contents: %.32s", content);
	if (*s == '\0' || !text_unescape(s))
		return lines_fail(r->l, "a bad path");
	f->path = strdup(s);
	return f->path == NULL ? -ENOMEM : 0;
}

static bool
parse_file_index(const struct process *p, const char *s, int *i)
{
	uint64_t v;

	if (!text_dec(s, INT32_MAX, &v) || v >= p->nmapfiles)
		return false;
	*i = (int)v;
	return true;
}

static int
read_segment(struct reader *r, char *line)
{
	char *word = text_word(&line);
	struct ipc s;
	int n;

	if (r->nvmas > 0 || word == NULL || !parse_file_index(r->p, word, &n) ||
	    r->p->mapfiles[n].content == 0 || r->p->mapfiles[n].segment != NULL)
		return lines_fail(
		    r->l, "not the number of a file with contents, once");
	if (!img_ipc_parse(&line, SEGMENT_MODES, &s) || line != NULL)
		return lines_fail(
		    r->l, "not ID KEY MODE UID GID CUID CGID of a segment");
	r->p->mapfiles[n].segment = malloc(sizeof(s));
	if (r->p->mapfiles[n].segment == NULL)
		return -ENOMEM;
	*r->p->mapfiles[n].segment = s;
	return 0;
}

static int
read_exe(struct reader *r, char *s)
{
	if (r->nvmas > 0 || r->p->exe_file >= 0 ||
	    !parse_file_index(r->p, s, &r->p->exe_file))
		return lines_fail(r->l, "not the number of a file, once");
	return 0;
}

/*
 * What the kind says must be possible for a VMA with that line in `maps`.
 */
static const char *
bad_kind(const struct process *p, const struct vma *v, enum vma_kind kind)
{
	enum vma_kind guess = vma_guess_kind(v);
	const struct mapfile *f = v->file >= 0 ? &p->mapfiles[v->file] : NULL;

	if (kind != VMA_FILE && kind != VMA_SHARED_ANON && f != NULL)
		return "of this kind it has no file";
	switch (kind) {
	case VMA_ANON:
		return v->shared ? "it is shared, so not anon" : NULL;
	case VMA_FILE:
		return f == NULL ? "of this kind it has a file" : NULL;
	case VMA_SHARED_ANON:
		return !v->shared ? "it is private, so not shared"
		       : f == NULL || f->content == 0
			   ? "of this kind it has contents"
			   : NULL;
	case VMA_OTHER:
		return NULL;
	default:
		return kind != guess ? "`maps' has another name for it" : NULL;
	}
}

/* The bytes of a file that a VMA shows must have offsets. */
static int
read_vma(struct reader *r, char *s)
{
	char *range = text_word(&s), *kind = text_word(&s);
	char *file = text_word(&s), *pkey = text_word(&s);
	uint64_t start, end, v;
	enum vma_kind k;
	const char *bad;
	struct vma *vma;

	if (pkey == NULL || s == NULL || !text_range(range, &start, &end))
		return lines_fail(
		    r->l, "not vma START-END KIND FILE PKEY FLAGS");
	if (r->nvmas >= r->p->nvmas)
		return lines_fail(r->l, "more VMAs than `maps' has");
	vma = &r->p->vmas[r->nvmas++];
	if (vma->start != start || vma->end != end)
		return lines_fail(r->l, "`maps' has %lx-%lx here",
		    (unsigned long)vma->start, (unsigned long)vma->end);
	if (!vma_kind_parse(kind, &k))
		return lines_fail(r->l, "no such kind: %.32s", kind);
	if (strcmp(file, "-") != 0 && !parse_file_index(r->p, file, &vma->file))
		return lines_fail(r->l, "no such file: %.32s", file);
	bad = bad_kind(r->p, vma, k);
	if (bad != NULL)
		return lines_fail(r->l, "%s", bad);
	vma->kind = k;
	if (!text_dec(pkey, PKEY_MAX, &v))
		return lines_fail(r->l, "no protection key: %.32s", pkey);
	vma->pkey = (uint32_t)v;
	if (!vma_parse_flags(s, &vma->flags))
		return lines_fail(r->l, "bad flags: %.80s", s);
	return 0;
}

static int
read_numa(struct reader *r, char *s)
{
	struct vma *v = r->nvmas == 0 ? NULL : &r->p->vmas[r->nvmas - 1];
	struct numa n;

	if (v == NULL || v->numa != NULL)
		return lines_fail(r->l, "not below a vma, once");
	if (!numa_parse(s, &n))
		return lines_fail(r->l, "not numa MODE[,FLAG]... NODES");
	v->numa = malloc(sizeof(n));
	if (v->numa == NULL)
		return -ENOMEM;
	*v->numa = n;
	return 0;
}

/* Bytes of `pages`, all of which follow one another. */
static int
read_offset(struct reader *r, struct run *run, char *s)
{
	if (!text_dec(s, INT64_MAX, &run->offset) || run->offset != r->held)
		return lines_fail(
		    r->l, "its offset should be %lu", (unsigned long)r->held);
	if (run->end - run->start > r->p->pages_size - r->held)
		return lines_fail(r->l, "it reaches behind the end of `pages'");
	r->held += run->end - run->start;
	return 0;
}

static int
read_held(struct reader *r, const struct vma *v, struct run *run, char *s)
{
	run->kind = RUN_HELD;
	if (v->shared || (v->kind != VMA_ANON && v->kind != VMA_FILE))
		return lines_fail(
		    r->l, "pages are held of private memory only");
	return read_offset(r, run, s);
}

/* A kind that says no more than its name. */
static int
read_bare(struct reader *r, const struct vma *v, struct run *run, char *kind)
{
	run->kind = RUN_HELD;
	for (size_t i = 0; i < sizeof(bare_kinds) / sizeof(bare_kinds[0]); i++)
		if (bare_kinds[i] != NULL && strcmp(kind, bare_kinds[i]) == 0)
			run->kind = (enum run_kind)i;
	if (run->kind == RUN_HELD)
		return lines_fail(r->l,
		    "neither held OFFSET, guard, zero, inherited, former "
		    "nor parent");
	run->offset = r->held;
	if (run->kind == RUN_PARENT && r->p->parent_id[0] == '\0')
		return lines_fail(r->l, "`checkpoint' names no parent");
	if (run->kind != RUN_GUARD && v->shared)
		return lines_fail(
		    r->l, "pages are held of private memory only");
	if (run->kind == RUN_ZERO && v->kind != VMA_ANON)
		return lines_fail(r->l, "only anonymous memory is zero");
	return v->kind == VMA_ANON || v->kind == VMA_FILE
		   ? 0
		   : lines_fail(r->l, "no memory that can have such pages");
}

static int
read_run(struct reader *r, char *s)
{
	char *range = text_word(&s), *kind = text_word(&s);
	const struct vma *v;
	struct run *run;

	if (kind == NULL || r->nvmas == 0)
		return lines_fail(r->l, "not run START-END KIND, below a vma");
	v = &r->p->vmas[r->nvmas - 1];
	run = process_grow(&r->p->runs, &r->p->nruns, sizeof(*run));
	if (run == NULL)
		return -ENOMEM;
	run->src_fd = -1;
	if (!text_range(range, &run->start, &run->end))
		return lines_fail(r->l, "not a range of pages");
	if (run->start < v->start || run->end > v->end)
		return lines_fail(r->l, "it is not inside its VMA");
	if (run->start < r->last)
		return lines_fail(r->l, "starts below the run before it");
	r->last = run->end;
	if (strcmp(kind, "held") == 0 && s != NULL)
		return read_held(r, v, run, s);
	if (s != NULL)
		return lines_fail(r->l, "behind %.32s nothing may come", kind);
	return read_bare(r, v, run, kind);
}

static int
read_former(struct reader *r, char *s)
{
	struct process *p = r->p;
	char *range = text_word(&s);
	struct run *run;

	if (r->nvmas < p->nvmas || p->nhuge > 0)
		return lines_fail(r->l, "former pages not behind the last vma");
	run = process_grow(&p->former, &p->nformer, sizeof(*run));
	if (run == NULL)
		return -ENOMEM;
	run->kind = RUN_HELD;
	run->src_fd = -1;
	if (!text_range(range, &run->start, &run->end))
		return lines_fail(r->l, "not a range of pages");
	if (p->nformer > 1 && run->start < run[-1].end)
		return lines_fail(r->l, "starts below the one before it");
	return s == NULL ? lines_fail(r->l, "not former START-END OFFSET")
			 : read_offset(r, run, s);
}

static int
read_huge(struct reader *r, char *s)
{
	struct process *p = r->p;
	uint64_t start, end;
	struct part *part;
	size_t i = r->huge;

	if (r->nvmas < p->nvmas)
		return lines_fail(r->l, "huge pages before the last vma");
	if (!text_range(s, &start, &end) || start % HUGE != 0 ||
	    end % HUGE != 0)
		return lines_fail(r->l, "not a range of huge pages");
	if (p->nhuge > 0 && start < p->huge[p->nhuge - 1].end)
		return lines_fail(r->l, "starts below the one before it");
	while (i < p->nvmas && p->vmas[i].end <= start)
		i++;
	if (i == p->nvmas || start < p->vmas[i].start || end > p->vmas[i].end ||
	    p->vmas[i].kind != VMA_ANON)
		return lines_fail(r->l, "not inside one anonymous VMA");
	r->huge = i;
	part = process_grow(&p->huge, &p->nhuge, sizeof(*part));
	if (part == NULL)
		return -ENOMEM;
	*part = (struct part){ start, end };
	return 0;
}

static int
read_line(struct reader *r, char *line)
{
	static const struct {
		const char *word;
		int (*read)(struct reader *r, char *s);
	} table[] = {
		{ "run", read_run },
		{ "vma", read_vma },
		{ "file", read_file },
		{ "exe", read_exe },
		{ "segment", read_segment },
		{ "numa", read_numa },
		{ "former", read_former },
		{ "huge", read_huge },
	};
	char *word = text_word(&line);

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (word != NULL && line != NULL &&
		    strcmp(word, table[i].word) == 0)
			return table[i].read(r, line);
	return lines_fail(r->l, "neither file, segment, exe, vma, numa, run, "
				"former nor huge");
}

int
img_pagemap_read(struct lines *l, struct process *p)
{
	struct reader r = { .l = l, .p = p };
	char *line;
	int n, err;

	while ((n = lines_next(l, &line)) > 0) {
		err = read_line(&r, line);
		if (err < 0)
			return err;
	}
	if (n < 0)
		return n;
	if (r.nvmas != p->nvmas)
		return lines_fail(l, "`maps' has more VMAs");
	if (r.held != p->pages_size)
		return lines_fail(l, "`pages' has %lu bytes that no run names",
		    (unsigned long)(p->pages_size - r.held));
	return 0;
}
