/*
 * snapfs-log.c - the program: a saved ring of the log, as lines.
 *
 * The file is what was copied from .log.raw, or a core file of the daemon.  It
 * and the program that made it are untrusted.
 */
#include "log.h"

#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define SEGMENTS_MAX 65535u
/* A ring of the greatest number of cells, and what comes before them. */
#define RING_BYTES_MAX ((size_t)RING_CELLS_MAX * RING_CELL + PAGE)

static const char usage[] =
    "usage: snapfs-log [-b PROGRAM] FILE\n"
    "       snapfs-log -f PROGRAM\n"
    "\n"
    "    -b, --binary PROGRAM   the snapfs that made the ring\n"
    "    -f, --formats          print the formats of PROGRAM\n"
    "\n"
    "See snapfs-log(1).\n";

/* ---- the table ---- */

/* The snapfs that is beside this program, else the one in PATH's usual place. */
static void
default_program(char *buf, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		err(1, "/proc/self/exe");
	self[n] = '\0';
	snprintf(buf, size, "%s/snapfs", dirname(self));
}

static void
read_table(struct snap_log_table *t, const char *program)
{
	char why[128];
	int fd = open(program, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", program);
	if (snap_log_table_read(t, fd, why, sizeof(why)) < 0)
		errx(1, "%s: %s", program, why);
	close(fd);
}

/* One a line; 1 if there is one that could not be decoded. */
static int
print_formats(const char *program)
{
	struct snap_log_table t;
	const char *fmt;
	uint32_t types;
	unsigned nargs;
	size_t at = 0;
	int bad = 0;

	read_table(&t, program);
	while ((fmt = snap_log_next_format(&t, &at)) != NULL) {
		puts(fmt);
		if (snap_log_parse(fmt, &types, &nargs) < 0) {
			warnx("%s: this format cannot be decoded: %s", program,
			    fmt);
			bad = 1;
		}
	}
	if (t.build_id_len == 0) {
		warnx("%s: it has no build-id", program);
		bad = 1;
	}
	snap_log_table_fini(&t);
	return bad;
}

/* ---- rings ---- */

struct input {
	const char *path;
	int fd;
	uint64_t size;
	const char *program;
	struct snap_log_table table;
	unsigned rings; /* found */
	size_t damaged; /* entries */
};

/* The number of bytes read; a pipe has been made a file before. */
static size_t
read_at(const struct input *in, void *buf, size_t size, uint64_t off)
{
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		n = pread(in->fd, (char *)buf + done, size - done,
		    (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err(1, "%s", in->path);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static void
print_ring(struct input *in, const struct ring *r)
{
	char build[48], own[48] = "";

	in->rings++;
	if (!ring_is_of(r, &in->table)) {
		for (size_t i = 0; i < in->table.build_id_len; i++)
			sprintf(own + 2 * i, "%02x", in->table.build_id[i]);
		ring_build(r, build);
		errx(1,
		    "%s: its ring was made by the build %s, and %s is the "
		    "build %s: give the right one with --binary",
		    in->path, build, in->program, own);
	}
	in->damaged += log_print_ring(stdout, r, &in->table);
}

/*
 * A ring that begins there, if one does.  `room` is how much of it there can
 * be; its own size says how much of that is read.
 */
static const char *
try_ring(struct input *in, uint64_t off, uint64_t room)
{
	static uint64_t head[PAGE / 8];
	const struct ring *r;
	const char *why;
	uint64_t *all;
	size_t n, size;

	memset(head, 0, sizeof(head));
	read_at(in, head, room < PAGE ? room : PAGE, off);
	r = ring_at(head, room < RING_BYTES_MAX ? room : RING_BYTES_MAX, &why);
	if (r == NULL)
		return why;
	size = ring_size(r);
	all = malloc(size);
	if (all == NULL)
		err(1, "%s", in->path);
	n = read_at(in, all, size, off);
	r = ring_at(all, n, &why);
	if (r != NULL)
		print_ring(in, r);
	free(all);
	return r == NULL ? why : NULL;
}

/* ---- core files ---- */

static bool
is_core(const struct input *in, Elf64_Ehdr *e)
{
	return read_at(in, e, sizeof(*e), 0) == sizeof(*e) &&
	       memcmp(e->e_ident, ELFMAG, SELFMAG) == 0;
}

/* Rings are at the beginning of a page. */
static void
search_segment(struct input *in, const Elf64_Phdr *p)
{
	char magic[16];
	uint64_t at, size = p->p_filesz;

	if (p->p_offset >= in->size)
		return;
	if (size > in->size - p->p_offset)
		size = in->size - p->p_offset;
	for (at = 0; at < size; at += PAGE)
		if (read_at(in, magic, sizeof(magic), p->p_offset + at) ==
			sizeof(magic) &&
		    memcmp(magic, "snapfs log ring\n", sizeof(magic)) == 0)
			try_ring(in, p->p_offset + at, size - at);
}

static void
search_core(struct input *in, const Elf64_Ehdr *e)
{
	Elf64_Phdr p;

	if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_type != ET_CORE ||
	    e->e_phentsize != sizeof(p))
		errx(1, "%s: it is neither a ring nor a core file", in->path);
	for (unsigned i = 0; i < e->e_phnum; i++) {
		if (read_at(in, &p, sizeof(p), e->e_phoff + i * sizeof(p)) !=
		    sizeof(p))
			errx(
			    1, "%s: its program headers are cut off", in->path);
		if (p.p_type == PT_LOAD)
			search_segment(in, &p);
	}
	if (in->rings == 0)
		errx(1, "%s: there is no ring of snapfs's log in it", in->path);
}

/* ---- the file ---- */

/* What cannot be read twice is copied first: `snapfs-log /snap/.log.raw`. */
static void
open_input(struct input *in)
{
	FILE *copy = tmpfile();
	char buf[65536];
	ssize_t n;
	struct stat st;

	in->fd = open(in->path, O_RDONLY | O_CLOEXEC);
	if (in->fd < 0 || fstat(in->fd, &st) < 0)
		err(1, "%s", in->path);
	if (copy == NULL)
		err(1, "temporary file");
	if (S_ISREG(st.st_mode) && st.st_size != 0) {
		in->size = (uint64_t)st.st_size;
		fclose(copy);
		return;
	}
	while ((n = read(in->fd, buf, sizeof(buf))) > 0) {
		if (fwrite(buf, 1, (size_t)n, copy) != (size_t)n)
			err(1, "temporary file");
		in->size += (uint64_t)n;
	}
	if (n < 0)
		err(1, "%s", in->path);
	if (fflush(copy) != 0)
		err(1, "temporary file");
	close(in->fd);
	in->fd = fileno(copy);
}

static int
print_file(const char *path, const char *program)
{
	struct input in = { .path = path, .program = program };
	const char *why = NULL;
	Elf64_Ehdr e;

	open_input(&in);
	read_table(&in.table, program);
	if (is_core(&in, &e))
		search_core(&in, &e);
	else
		why = try_ring(&in, 0, in.size);
	if (why != NULL)
		errx(1, "%s: %s", path, why);
	if (in.damaged != 0)
		warnx("%s: %zu records are damaged", path, in.damaged);
	snap_log_table_fini(&in.table);
	return in.damaged != 0;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "binary", required_argument, NULL, 'b' },
		{ "formats", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char program[PATH_MAX + 16] = "";
	bool formats = false;
	int c, status;

	while ((c = getopt_long(argc, argv, "b:fh", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			snprintf(program, sizeof(program), "%s", optarg);
			break;
		case 'f':
			formats = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (argc - optind != 1 || (formats && *program != '\0')) {
		fputs(usage, stderr);
		return 2;
	}
	if (*program == '\0')
		default_program(program, sizeof(program));
	status = formats ? print_formats(argv[optind])
			 : print_file(argv[optind], program);
	if (fflush(stdout) != 0)
		err(1, "standard output");
	return status;
}
