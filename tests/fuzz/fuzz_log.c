/*
 * fuzz_log.c - what log lines are made of that others made: a saved ring, a
 * record, the file of a program with formats, a format.  The first byte of the
 * input says which.
 *
 * Formats are those below, so that what was kept means the same in each build.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "snap.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char formats[] = "nothing\0"
			      "%d of %s\0"
			      "%-20s|%08lx|%5.2f|%c%%\0"
			      "%s%s%s%s%s%s%s%s\0"
			      "%p %hhu %zd %jx";

static const struct snap_log_table table = {
	.formats = formats,
	.size = sizeof(formats),
	.build_id = "01234567890123456789",
	.build_id_len = 20,
};

static void
check(bool right)
{
	if (!right)
		abort();
}

/* One line, all of it printable. */
static void
line(const struct snap_log_table *t, const struct snap_log_record *r)
{
	char text[64], again[64];

	memset(text, 'x', sizeof(text));
	if (snap_log_text(t, r, text, sizeof(text)) < 0)
		return;
	check(memchr(text, '\0', sizeof(text)) != NULL);
	strcpy(again, text);
	snap_printable(again);
	check(strcmp(again, text) == 0);
}

static bool
keep(void *arg, const struct ring_entry *e)
{
	(*(size_t *)arg)++;
	return e->owner.uid % 2 == 0;
}

/* What is copied of it is a ring, with no more in it. */
static void
copy(const struct ring *r)
{
	size_t size = ring_size(r), before = 0, after = 0;
	void *buf = aligned_alloc(8, size), *again = aligned_alloc(8, size);
	const struct ring *c;
	const char *why;

	ring_copy(r, keep, &before, buf);
	c = ring_at(buf, size, &why);
	check(c != NULL);
	ring_copy(c, keep, &after, again);
	check(after <= before);
	free(buf);
	free(again);
}

static void
ring(const uint8_t *data, size_t size)
{
	/* A multiple of its alignment, which may be more than there is. */
	uint64_t *buf = malloc(size + 8);
	const struct ring *r;
	const char *why = NULL;
	char build[41], *text = NULL;
	size_t len;
	FILE *f;

	memcpy(buf, data, size);
	r = ring_at(buf, size, &why);
	check((r == NULL) == (why != NULL));
	if (r != NULL) {
		ring_build(r, build);
		check(memchr(build, '\0', sizeof(build)) != NULL);
		ring_is_of(r, &table);
		f = open_memstream(&text, &len);
		log_print_ring(f, r, &table);
		fclose(f);
		free(text);
		copy(r);
	}
	free(buf);
}

static void
record(const uint8_t *data, size_t size)
{
	uint8_t packed[SNAP_LOG_PACKED_MAX];
	struct snap_log_record r, same;
	uint8_t *buf = malloc(size + (size == 0));

	memcpy(buf, data, size);
	if (snap_log_unpack(&r, buf, size) == 0) {
		line(&table, &r);
		/* What was read can be written, and read again. */
		size = snap_log_pack(&r, packed);
		check(size <= sizeof(packed) && size % 8 == 0);
		check(snap_log_unpack(&same, packed, size) == 0);
		check(same.format == r.format && same.nargs == r.nargs);
	}
	free(buf);
}

static void
program(const uint8_t *data, size_t size)
{
	struct snap_log_table t;
	int fd = memfd_create("program", MFD_CLOEXEC);
	char why[128] = "";
	const char *fmt;
	uint32_t types;
	unsigned nargs;
	size_t at = 0;

	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	if (snap_log_table_read(&t, fd, why, sizeof(why)) == 0) {
		while ((fmt = snap_log_next_format(&t, &at)) != NULL)
			snap_log_parse(fmt, &types, &nargs);
		snap_log_table_fini(&t);
	} else {
		check(why[0] != '\0');
	}
	close(fd);
}

/* Seven bytes of each argument, and a format. */
static void
format(const uint8_t *data, size_t size)
{
	struct snap_log_table t = { 0 };
	struct snap_log_record r = { .level = SNAP_STEP };
	const size_t head = SNAP_LOG_ARGS * 7;
	char *text;

	if (size <= head)
		return;
	text = malloc(size - head + 1);
	memcpy(text, data + head, size - head);
	text[size - head] = '\0';
	t.formats = text;
	t.size = strlen(text) + 1;
	if (snap_log_parse(text, &r.types, &r.nargs) == 0) {
		check(r.nargs <= SNAP_LOG_ARGS);
		for (unsigned i = 0; i < r.nargs; i++) {
			memcpy(&r.args[i], data + 7 * i, 7);
			if ((r.types >> 4 * i & 15) == SNAP_LOG_STR)
				r.args[i] = data[7 * i] % 2 == 0
						? 0
						: (uint64_t)(uintptr_t)text;
		}
		line(&t, &r);
	}
	free(text);
}

static void (*const kinds[])(
    const uint8_t *data, size_t size) = { ring, record, program, format };
#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- seeds ---- */

static void
write_seed(const char *dir, int kind, const char *name, const void *v, size_t n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%d-%s", dir, kind, name);
	f = fopen(path, "w");
	check(f != NULL);
	fputc(kind, f);
	check(fwrite(v, 1, n, f) == n);
	fclose(f);
}

static bool
all(void *arg, const struct ring_entry *e)
{
	(void)arg;
	(void)e;
	return true;
}

/* Of a ring only the first cells, and its head says so. */
#define SEED_CELLS 16u

static void
write_seeds(const char *dir)
{
	struct ring *r = ring_new();
	uint32_t types;
	unsigned nargs;
	size_t at = 0, head;
	const char *fmt;
	char packed[SNAP_LOG_PACKED_MAX];
	uint64_t *buf;

	while ((fmt = snap_log_next_format(&table, &at)) != NULL) {
		struct snap_log_record rec = { .time = 1795312047123456789u,
			.format = (uint32_t)(fmt - formats),
			.level = SNAP_STEP };

		check(snap_log_parse(fmt, &types, &nargs) == 0);
		rec.types = types;
		rec.nargs = nargs;
		for (unsigned i = 0; i < nargs; i++)
			if ((types >> 4 * i & 15) == SNAP_LOG_STR)
				rec.args[i] = (uint64_t)(uintptr_t) "a string";
		write_seed(dir, 1, fmt[0] == 'n' ? "nothing" : fmt + 1, packed,
		    snap_log_pack(&rec, packed));
		ring_put(
		    r, (struct ring_owner){ 1000, 42, RING_CHECKPOINT }, &rec);
	}
	head = ring_size(r) - (size_t)RING_CELLS * RING_CELL;
	buf = aligned_alloc(8, ring_size(r));
	ring_copy(r, all, NULL, buf);
	for (size_t i = 0; i < head / 4; i++)
		if (((uint32_t *)buf)[i] == RING_CELLS)
			((uint32_t *)buf)[i] = SEED_CELLS;
	write_seed(dir, 0, "ring", buf, head + SEED_CELLS * RING_CELL);
	free(buf);
	ring_free(r);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (getenv("FUZZ_SEEDS") != NULL) {
		write_seeds(getenv("FUZZ_SEEDS"));
		exit(0);
	}
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0)
		kinds[data[0] % NKINDS](data + 1, size - 1);
	return 0;
}
