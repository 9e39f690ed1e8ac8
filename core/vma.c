#include "vma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull
#define PAGE_BITS 4095u
#define NAME_COLUMN 73 /* where the kernel puts the path */

static const struct {
	char name[3];
	uint64_t flag;
} flag_names[] = {
	{ "gd", VMA_F_GROWSDOWN },
	{ "lo", VMA_F_LOCKED },
	{ "lf", VMA_F_LOCKONFAULT },
	{ "sr", VMA_F_SEQ },
	{ "rr", VMA_F_RAND },
	{ "dc", VMA_F_DONTCOPY },
	{ "nr", VMA_F_NORESERVE },
	{ "ht", VMA_F_HUGETLB },
	{ "wf", VMA_F_WIPEONFORK },
	{ "dd", VMA_F_DONTDUMP },
	{ "hg", VMA_F_HUGEPAGE },
	{ "nh", VMA_F_NOHUGEPAGE },
	{ "mg", VMA_F_MERGEABLE },
	{ "um", VMA_F_UFFD },
	{ "sl", VMA_F_SEALED },
	{ "dp", VMA_F_DROPPABLE },
	{ "ss", VMA_F_SHADOWSTACK },
	{ "ac", VMA_F_ACCOUNT },
	{ "io", VMA_F_IO },
	{ "sf", VMA_F_SYNC },
	{ "mw", VMA_F_MAYWRITE },
	/* read as another's, written as the first of its kind */
	{ "uw", VMA_F_UFFD },
	{ "ui", VMA_F_UFFD },
	{ "pf", VMA_F_IO },
};
#define NFLAGS (sizeof(flag_names) / sizeof(flag_names[0]))
#define NFLAGS_WRITTEN (NFLAGS - 3)

static const char *const kind_names[] = {
	[VMA_ANON] = "anon",
	[VMA_FILE] = "file",
	[VMA_SHARED_ANON] = "shared",
	[VMA_VDSO] = "vdso",
	[VMA_VVAR] = "vvar",
	[VMA_VVAR_VCLOCK] = "vvar_vclock",
	[VMA_VSYSCALL] = "vsyscall",
	[VMA_OTHER] = "other",
};
#define NKINDS (sizeof(kind_names) / sizeof(kind_names[0]))

/*
 * A CPU that can have five levels may be run with four: so try.  Where there
 * are five the kernel gives addresses above 2^47 to who wishes for one; it is
 * only a wish, since a sanitizer's run-time ends at what cannot be.
 */
uint64_t
vma_task_size(void)
{
	void *above = (void *)(1ull << 47);
	void *at =
	    mmap(above, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool five = at != MAP_FAILED && at >= above;

	if (at != MAP_FAILED)
		munmap(at, PAGE);
	return (1ull << (five ? 56 : 47)) - PAGE;
}

/* ---- names ---- */

const char *
vma_kind_name(enum vma_kind kind)
{
	return kind_names[kind];
}

bool
vma_kind_parse(const char *name, enum vma_kind *kind)
{
	for (size_t i = 0; i < NKINDS; i++) {
		if (strcmp(name, kind_names[i]) == 0) {
			*kind = (enum vma_kind)i;
			return true;
		}
	}
	return false;
}

void
vma_write_flags(struct text *t, uint64_t flags)
{
	const char *sep = "";

	for (size_t i = 0; i < NFLAGS_WRITTEN; i++) {
		if ((flags & flag_names[i].flag) == 0)
			continue;
		text_putf(t, "%s%s", sep, flag_names[i].name);
		sep = ",";
	}
	if (*sep == '\0')
		text_puts(t, "-");
}

static uint64_t
flag_by_name(const char *s)
{
	for (size_t i = 0; i < NFLAGS; i++)
		if (memcmp(s, flag_names[i].name, 2) == 0)
			return flag_names[i].flag;
	return 0;
}

bool
vma_parse_flags(char *s, uint64_t *flags)
{
	uint64_t f;

	*flags = 0;
	if (strcmp(s, "-") == 0)
		return true;
	for (;; s += 3) {
		if (strlen(s) < 2 || (f = flag_by_name(s)) == 0 ||
		    (*flags & f) != 0)
			return false;
		*flags |= f;
		if (s[2] == '\0')
			return true;
		if (s[2] != ',')
			return false;
	}
}

/* ---- maps ---- */

static bool
starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool
ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

static enum vma_kind
special_kind(const char *path)
{
	static const struct {
		const char *path;
		enum vma_kind kind;
	} table[] = {
		{ "", VMA_ANON },
		{ "[heap]", VMA_ANON },
		{ "[stack]", VMA_ANON },
		{ "[vdso]", VMA_VDSO },
		{ "[vvar]", VMA_VVAR },
		{ "[vvar_vclock]", VMA_VVAR_VCLOCK },
		{ "[vsyscall]", VMA_VSYSCALL },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(path, table[i].path) == 0)
			return table[i].kind;
	return starts(path, "[anon:") ? VMA_ANON : VMA_OTHER;
}

enum vma_kind
vma_guess_kind(const struct vma *v)
{
	/* an inode may have the number 0: the first System V segment */
	if (v->ino == 0 && v->major == 0 && v->minor == 0)
		return v->shared ? VMA_OTHER : special_kind(v->path);
	if (starts(v->path, "anon_inode:") || starts(v->path, "/[aio]") ||
	    starts(v->path, "socket:"))
		return VMA_OTHER;
	/* hugetlb: shown like a file, restored like what it means */
	if (starts(v->path, "/anon_hugepage"))
		return v->shared ? VMA_SHARED_ANON : VMA_ANON;
	if (!v->shared)
		return VMA_FILE;
	if (starts(v->path, "[anon_shmem:"))
		return VMA_SHARED_ANON;
	if (ends(v->path, " (deleted)") &&
	    (starts(v->path, "/dev/zero ") || starts(v->path, "/memfd:") ||
		starts(v->path, "/SYSV")))
		return VMA_SHARED_ANON;
	return VMA_FILE;
}

/* "rwxp", any of the first three may be '-' */
static bool
parse_perms(const char *s, struct vma *v)
{
	static const int prot[3] = { PROT_READ, PROT_WRITE, PROT_EXEC };

	if (strlen(s) != 4)
		return false;
	for (int i = 0; i < 3; i++) {
		if (s[i] == "rwx"[i])
			v->prot |= (unsigned)prot[i];
		else if (s[i] != '-')
			return false;
	}
	v->shared = s[3] == 's';
	return s[3] == 's' || s[3] == 'p';
}

static bool
parse_device(char *s, struct vma *v)
{
	char *colon = strchr(s, ':');
	uint64_t major, minor;

	if (colon == NULL)
		return false;
	*colon = '\0';
	if (!text_addr(s, &major) || !text_addr(colon + 1, &minor) ||
	    major > 0xfff || minor > 0xfffff)
		return false;
	v->major = (uint32_t)major;
	v->minor = (uint32_t)minor;
	return true;
}

int
vma_parse(char *line, struct vma *v)
{
	char *range, *perms, *offset, *device, *ino;

	memset(v, 0, sizeof(*v));
	v->file = -1;
	range = text_word(&line);
	perms = text_word(&line);
	offset = text_word(&line);
	device = text_word(&line);
	ino = text_word(&line);
	if (ino == NULL || line == NULL ||
	    !text_range(range, &v->start, &v->end) || !parse_perms(perms, v) ||
	    !text_addr(offset, &v->offset) || (v->offset & PAGE_BITS) != 0 ||
	    v->offset > (uint64_t)INT64_MAX - (v->end - v->start) ||
	    !parse_device(device, v) || !text_dec(ino, UINT64_MAX, &v->ino))
		return -EINVAL;
	v->path = strdup(line + strspn(line, " "));
	if (v->path == NULL)
		return -ENOMEM;
	v->kind = vma_guess_kind(v);
	return 0;
}

int
vma_parse_maps(struct lines *l, struct process *p)
{
	uint64_t last = p->nvmas > 0 ? p->vmas[p->nvmas - 1].end : 0;
	struct vma *v;
	char *line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));
		if (v == NULL)
			return -ENOMEM;
		r = vma_parse(line, v);
		if (r == -EINVAL)
			return lines_fail(l, "not a line of maps");
		if (r < 0)
			return r;
		if (v->start < last)
			return lines_fail(l, "starts below the line before it");
		last = v->end;
	}
	return r;
}

void
vma_write(struct text *t, const struct vma *v)
{
	size_t begin = t->len;

	text_putf(t, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ",
	    (unsigned long)v->start, (unsigned long)v->end,
	    v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-',
	    v->prot & PROT_EXEC ? 'x' : '-', v->shared ? 's' : 'p',
	    (unsigned long)v->offset, v->major, v->minor,
	    (unsigned long)v->ino);
	if (v->path[0] != '\0') {
		while (!t->failed && t->len - begin < NAME_COLUMN - 1)
			text_put(t, " ", 1);
		text_putf(t, " %s", v->path);
	}
	text_put(t, "\n", 1);
}

struct vma *
vma_find(const struct process *p, uint64_t addr)
{
	size_t lo = 0, hi = p->nvmas;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->vmas[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->nvmas && p->vmas[lo].start <= addr ? &p->vmas[lo] : NULL;
}

/* ---- smaps ---- */

static uint64_t
parse_vmflags(const char *s)
{
	uint64_t flags = 0;

	for (; s[0] != '\0' && s[1] != '\0'; s += s[2] == ' ' ? 3 : 2)
		flags |= flag_by_name(s);
	return flags;
}

/* A header looks like a line of maps; the others are "Key:   value". */
static bool
smaps_header(char *line, uint64_t *start, uint64_t *end)
{
	char *range = text_word(&line);

	return range != NULL && strchr(range, ':') == NULL &&
	       text_range(range, start, end);
}

static const char *
smaps_value(const char *line, const char *key)
{
	if (!starts(line, key))
		return NULL;
	line += strlen(key);
	return line + strspn(line, " \t");
}

static void
smaps_line(char *line, uint64_t *flags, uint32_t *pkey)
{
	const char *s;

	s = smaps_value(line, "VmFlags:");
	if (s != NULL)
		*flags = parse_vmflags(s);
	s = smaps_value(line, "ProtectionKey:");
	if (s != NULL)
		*pkey = (uint32_t)strtoul(s, NULL, 10);
}

int
vma_apply_smaps(struct lines *l, struct process *p, uint64_t mask, bool *seen)
{
	uint64_t start = 0, end = 0, flags = 0;
	uint32_t pkey = 0;
	size_t i = 0;
	char *line;
	int r;

	do {
		r = lines_next(l, &line);
		if (r < 0)
			return r;
		/* all of one is known when the next begins */
		if (r > 0 && (line[0] < '0' || line[0] > '9') &&
		    (line[0] < 'a' || line[0] > 'f')) {
			smaps_line(line, &flags, &pkey);
			continue;
		}
		while (i < p->nvmas && p->vmas[i].start < start)
			i++;
		for (; i < p->nvmas && p->vmas[i].start < end; i++) {
			p->vmas[i].flags &= ~mask;
			p->vmas[i].flags |= flags & mask;
			if (!p->vmas[i].shared)
				p->vmas[i].flags &= ~(uint64_t)VMA_F_MAYWRITE;
			p->vmas[i].pkey = pkey;
			if (seen != NULL)
				seen[i] = true;
		}
		if (r > 0 && !smaps_header(line, &start, &end))
			return lines_fail(l, "not a line of smaps");
		flags = pkey = 0;
	} while (r > 0);
	return 0;
}

bool
vma_smaps_missing(const char *smaps)
{
	static const char key[] = "\nVmFlags:";
	const char *line = smaps, *end, *um;

	while ((line = strstr(line, key)) != NULL) {
		line += sizeof(key) - 1;
		end = strchrnul(line, '\n');
		um = memmem(line, (size_t)(end - line), " um", 3);
		if (um != NULL && (um[3] == ' ' || um[3] == '\n'))
			return true;
	}
	return false;
}
