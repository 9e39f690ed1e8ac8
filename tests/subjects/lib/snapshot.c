/*
 * snapshot.c - everything that /proc shows of the process itself, as text.
 *
 * A line for each thing that must be the same before and after.  What may
 * differ is taken out here: inode numbers of what has no name, the size of
 * the stack, and how the kernel cuts equal neighbours in maps.
 */
#include "snapshot.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "../subject.h"

static char raw[1024 * 1024];

static void __attribute__((format(printf, 2, 3)))
add(struct snapshot *s, const char *fmt, ...)
{
	size_t room = sizeof(s->text) - s->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->text + s->len, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		subject_die("too much for a snapshot");
	s->len += (size_t)n;
}

/* ---- directories, without malloc ---- */

struct entry {
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

/* The numbers that are names in /proc/self/DIR, in order; how many. */
static size_t
numbers(const char *name, int *v, size_t max)
{
	static char buf[65536] __attribute__((aligned(8)));
	char path[64];
	size_t n = 0;
	long got, at;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	if ((fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return 0;
	while ((got = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (at = 0; at < got;) {
			struct entry *e = (struct entry *)(buf + at);

			at += e->len;
			if (e->name[0] == '.' || n == max)
				continue;
			if (strcmp(name, "fd") == 0 && atoi(e->name) == fd)
				continue;
			v[n++] = atoi(e->name);
		}
	close(fd);
	return n;
}

/* ---- maps ---- */

struct area {
	unsigned long start, end, offset;
	char perms[8], dev[32], name[512], flags[128];
	unsigned long ino;
};

/*
 * Accounting (ac), soft-dirty (sd) and "perhaps guard pages" (gu) are the
 * kernel's book-keeping.
 */
static void
parse_flags(const char *line, char *out, size_t size)
{
	size_t n = 0;
	const char *p;

	out[0] = '\0';
	for (p = line; p[0] != '\0' && p[0] != '\n'; p += p[2] == ' ' ? 3 : 2) {
		if (p[1] == '\0' || p[1] == '\n')
			break;
		if (memcmp(p, "ac", 2) == 0 || memcmp(p, "sd", 2) == 0 ||
		    memcmp(p, "gu", 2) == 0)
			continue;
		/* While its memory is being brought, which is no change. */
		if (memcmp(p, "um", 2) == 0)
			continue;
		if (n + 3 >= size)
			break;
		memcpy(out + n, p, 2);
		n += 2;
		out[n++] = ' ';
		out[n] = '\0';
	}
}

static bool
joins(const struct area *a, const struct area *b)
{
	if (a->end != b->start || strcmp(a->perms, b->perms) != 0 ||
	    strcmp(a->name, b->name) != 0 || a->ino != b->ino ||
	    strcmp(a->flags, b->flags) != 0)
		return false;
	return a->ino == 0 || a->offset + (a->end - a->start) == b->offset;
}

static void
add_area(struct snapshot *s, const struct area *a, unsigned allowed)
{
	bool named = a->name[0] == '/' && strstr(a->name, " (deleted)") == NULL;

	if (strcmp(a->name, "[stack]") == 0) {
		add(s, "maps: to %lx %s %s %s\n", a->end, a->perms, a->name,
		    a->flags);
		return;
	}
	if (allowed & SUBJECT_MAPS)
		add(s, "maps: %lx-%lx %s %s\n", a->start, a->end, a->perms,
		    a->flags);
	else
		add(s, "maps: %lx-%lx %s %lx %s %lu %s %s\n", a->start, a->end,
		    a->perms, a->ino != 0 ? a->offset : 0, named ? a->dev : "-",
		    named ? a->ino : 0, a->name, a->flags);
}

static void
take_maps(struct snapshot *s, unsigned allowed)
{
	static struct area area, last;
	bool have_last = false;
	char *line, *next;

	subject_proc("smaps", raw, sizeof(raw));
	for (line = raw; *line != '\0'; line = next) {
		next = strchr(line, '\n');
		next = next == NULL ? line + strlen(line) : next + 1;
		if (strncmp(line, "VmFlags: ", 9) == 0) {
			parse_flags(line + 9, area.flags, sizeof(area.flags));
			if (have_last && joins(&last, &area)) {
				last.end = area.end;
				continue;
			}
			if (have_last)
				add_area(s, &last, allowed);
			last = area;
			have_last = true;
		} else if (strchr("0123456789abcdef", line[0]) != NULL) {
			memset(&area, 0, sizeof(area));
			next[-1] = '\0';
			sscanf(line, "%lx-%lx %7s %lx %31s %lu %511[^\n]",
			    &area.start, &area.end, area.perms, &area.offset,
			    area.dev, &area.ino, area.name);
		}
	}
	if (have_last)
		add_area(s, &last, allowed);
}

/* ---- status, stat and the like ---- */

static void
add_lines(struct snapshot *s, const char *file, const char *const *keys)
{
	char *line, *next;
	size_t i;

	subject_proc(file, raw, sizeof(raw));
	for (line = raw; *line != '\0'; line = next) {
		next = strchr(line, '\n');
		if (next == NULL)
			break;
		*next++ = '\0';
		for (i = 0; keys[i] != NULL; i++)
			if (strncmp(line, keys[i], strlen(keys[i])) == 0)
				add(s, "%s: %s\n", file, line);
	}
}

/* Numbered fields of a stat file, as proc(5) counts them. */
static void
add_stat(struct snapshot *s, const char *file, const int *fields)
{
	char *p, *save = NULL;
	int i;

	subject_proc(file, raw, sizeof(raw));
	if ((p = strrchr(raw, ')')) == NULL)
		return;
	p = strtok_r(p + 1, " \n", &save);
	for (i = 3; p != NULL; i++, p = strtok_r(NULL, " \n", &save)) {
		const int *f;

		for (f = fields; *f != 0; f++)
			if (*f == i)
				add(s, "%s: field %d: %s\n", file, i, p);
	}
}

static void
add_bytes(struct snapshot *s, const char *file)
{
	uint64_t h = 14695981039346656037ull;
	char path[64];
	size_t len = 0;
	ssize_t n, i;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/%s", file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, raw, sizeof(raw))) > 0) {
		for (i = 0; i < n; i++)
			h = (h ^ (unsigned char)raw[i]) * 1099511628211ull;
		len += (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	add(s, "%s: %zu bytes, hash %016llx\n", file, len,
	    (unsigned long long)h);
}

/*
 * The end of a checkpoint holds it for a moment, whenever that comes: its last
 * look may be just now.  That is over when it is left alone; in a second at
 * most.
 */
static void
add_tracer(struct snapshot *s)
{
	const struct timespec ms = { 0, 1000000 };
	char *line;
	int tries = 0;

	do {
		if (tries > 0)
			syscall(SYS_nanosleep, &ms, NULL);
		subject_proc("status", raw, sizeof(raw));
		line = strstr(raw, "\nTracerPid:");
		if (line == NULL)
			subject_die("status has no TracerPid");
	} while (strncmp(line, "\nTracerPid:\t0\n", 14) != 0 && ++tries < 1000);
	line[1 + strcspn(line + 1, "\n")] = '\0';
	add(s, "status: %s\n", line + 1);
}

static void
take_process(struct snapshot *s, unsigned allowed)
{
	static const char *const status[] = { "Name:", "Umask:", "Tgid:",
		"Pid:", "Uid:", "Gid:", "Groups:", "NStgid:", "NSpid:",
		"VmLck:", "CoreDumping:", "THP_enabled:", "Threads:", "SigIgn:",
		"SigCgt:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
		"CapAmb:", "NoNewPrivs:", "Seccomp:", "Cpus_allowed:",
		"x86_Thread", NULL };
	static const char *const pending[] = { "SigPnd:", "ShdPnd:", NULL };
	static const char *const all[] = { "", NULL };
	static const int tty[] = { 7, 0 };
	/* code stack | data brk args env */
	static const int stat[] = { 26, 27, 28, 45, 46, 47, 48, 49, 50, 51, 0 };

	add_tracer(s);
	add_lines(s, "status", status);
	if (!(allowed & SUBJECT_STATUS))
		add_lines(s, "status", pending);
	add_stat(s, "stat", stat);
	if (!(allowed & SUBJECT_TTY))
		add_stat(s, "stat", tty);
	if (!(allowed & SUBJECT_LIMITS))
		add_lines(s, "limits", all);
	add_lines(s, "oom_score_adj", all);
	add_lines(s, "coredump_filter", all);
	add_lines(s, "personality", all);
	add_bytes(s, "cmdline");
	add_bytes(s, "environ");
	add_bytes(s, "auxv");
}

static void
take_threads(struct snapshot *s, unsigned allowed)
{
	static const char *const status[] = { "Name:", "CapEff:", "Uid:",
		"Gid:", "NoNewPrivs:", "Cpus_allowed:", NULL };
	static const char *const mask[] = { "SigBlk:", NULL };
	static const char *const all[] = { "", NULL };
	/* nice, rt_priority, policy */
	static const int stat[] = { 19, 40, 41, 0 };
	static int tids[4096];
	char name[64];
	size_t i, n;

	n = numbers("task", tids, sizeof(tids) / sizeof(tids[0]));
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "task/%d/status", tids[i]);
		add_lines(s, name, status);
		if (!(allowed & SUBJECT_MASKS))
			add_lines(s, name, mask);
		snprintf(name, sizeof(name), "task/%d/stat", tids[i]);
		add_stat(s, name, stat);
		snprintf(name, sizeof(name), "../%d/timerslack_ns", tids[i]);
		add_lines(s, name, all);
	}
}

static void
add_link(struct snapshot *s, const char *name, unsigned allowed)
{
	char path[64], target[4096], *p;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0) {
		add(s, "%s: %s\n", name, strerror(errno));
		return;
	}
	target[n] = '\0';
	if (strncmp(name, "fd/", 3) == 0) {
		/* pipe:[123] is another number in another life. */
		if (strncmp(target, "pipe:[", 6) == 0)
			strcpy(target, "pipe:");
		if (strncmp(target, "socket:[", 8) == 0)
			strcpy(target, "socket:");
		if ((allowed & SUBJECT_FDS) ||
		    ((p = strstr(target, " (deleted)")) != NULL &&
			p[10] == '\0'))
			strcpy(target, "-");
	}
	add(s, "%s: %s\n", name, target);
}

static void
take_fds(struct snapshot *s, unsigned allowed)
{
	static const char *const info[] = { "pos:", "flags:", NULL };
	static int fds[65536];
	char name[64];
	size_t i, n;

	add_link(s, "cwd", allowed);
	add_link(s, "root", allowed);
	add_link(s, "exe", allowed);
	n = numbers("fd", fds, sizeof(fds) / sizeof(fds[0]));
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "fd/%d", fds[i]);
		add_link(s, name, allowed);
		snprintf(name, sizeof(name), "fdinfo/%d", fds[i]);
		add_lines(s, name, info);
	}
}

void
snapshot_take(struct snapshot *s, unsigned allowed)
{
	s->len = 0;
	take_process(s, allowed);
	take_threads(s, allowed);
	take_fds(s, allowed);
	if (!(allowed & SUBJECT_VMAS))
		take_maps(s, allowed);
}

/* The line at p, in the other text? */
static bool
holds(const struct snapshot *s, const char *line, size_t len)
{
	const char *p = s->text, *end = s->text + s->len;

	for (; p < end;
	     p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1)
		if ((size_t)(end - p) >= len && memcmp(p, line, len) == 0)
			return true;
	return false;
}

static void
report_missing(
    const char *sign, const struct snapshot *a, const struct snapshot *b)
{
	const char *p = a->text, *end = a->text + a->len, *next;
	int n = 0;

	for (; p < end; p = next) {
		next = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1;
		if (holds(b, p, (size_t)(next - p)))
			continue;
		if (++n <= 12)
			subject_fail("%s%.*s", sign, (int)(next - p - 1), p);
	}
	if (n > 12)
		subject_fail("%s and %d more lines", sign, n - 12);
}

void
snapshot_compare(const struct snapshot *a, const struct snapshot *b)
{
	if (a->len == b->len && memcmp(a->text, b->text, a->len) == 0)
		return;
	report_missing("- ", a, b);
	report_missing("+ ", b, a);
}
