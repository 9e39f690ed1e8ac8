/*
 * check_log.c - records, their text, and the ring they are kept in.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"
#include "log.h"
#include "unit.h"

#define HEAD 256 /* of a ring */
#define STAMP(raw, i) ((uint64_t *)((raw) + HEAD + (size_t)(i)*RING_CELL))

/* ---- records ---- */

static struct snap_log_record got;
static uint64_t got_bytes[SNAP_LOG_PACKED_MAX / 8];
static size_t got_size;

static void
take(void *arg, const struct snap_log_record *r)
{
	(*(unsigned *)arg)++;
	got_size = snap_log_pack(r, got_bytes);
	ck_assert_uint_eq(got_size % 8, 0);
	ck_assert_int_eq(snap_log_unpack(&got, got_bytes, got_size), 0);
}

static unsigned takes;

static struct snap_ctx *
new_ctx(enum snap_level level)
{
	const struct snap_options opt = {
		.log = take,
		.log_arg = &takes,
		.log_level = level,
	};

	takes = 0;
	return snap_ctx_new(&opt);
}

static const char *
text(void)
{
	static char buf[4096];
	struct snap_log_table t;

	snap_log_table_own(&t);
	ck_assert_int_eq(snap_log_text(&t, &got, buf, sizeof(buf)), 0);
	return buf;
}

/* What is printed later is what printf(3) would have printed at once. */
#define SAME(...) \
	do { \
		char want[1024]; \
		snprintf(want, sizeof(want), __VA_ARGS__); \
		snap_logf(cx, SNAP_STEP, __VA_ARGS__); \
		ck_assert_str_eq(text(), want); \
	} while (0)

START_TEST(conversions)
{
	struct snap_ctx *cx = new_ctx(SNAP_STEP);
	char array[] = "an array", *pointer = array;
	int here;

	SAME("nothing");
	SAME("100 %%");
	SAME("%d %i", -1, INT32_MIN);
	SAME("%u %u", 0u, UINT32_MAX);
	SAME("%hhd %hhu", (signed char)-3, (unsigned char)250);
	SAME("%hd %hu", (short)-3, (unsigned short)65000);
	SAME("%ld %lu", INT64_MIN, UINT64_MAX);
	SAME("%lld %llu", -5ll, 1ull << 63);
	SAME("%zu %zd %td", sizeof(here), (ssize_t)-1, &here - &here);
	SAME("%jd", (intmax_t)-7);
	SAME("%x %X %o %#x %#lx", 48879u, 48879u, 8u, 255u, 1ul << 40);
	SAME("%5d|%-5d|%05d|%+d|% d", 42, 42, 42, 42, 42);
	SAME("%.3d|%8.3d", 7, 7);
	SAME("%c|%3c", 'x', 'y');
	SAME("%s|%10s|%-10s|%.2s", "abc", "abc", "abc", "abc");
	SAME("%s %s", array, pointer);
	SAME("%p", (void *)&here);
	SAME("%f %.1f %e %g", 1.5, 2.25, 1e10, 0.1);
	SAME("%d %d %d %d %d %d %d %s", 1, 2, 3, 4, 5, 6, 7, "eight");
	SAME("%d", true);
	snap_ctx_free(cx);
}
END_TEST

START_TEST(strings)
{
	struct snap_ctx *cx = new_ctx(SNAP_STEP);
	char longest[5000];
	const char *none = NULL;

	snap_logf(cx, SNAP_STEP, "%s", none);
	ck_assert_str_eq(text(), "(null)");
	snap_logf(cx, SNAP_STEP, "a\n%s", "b\033\177c");
	ck_assert_str_eq(text(), "a?b??c");
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	/* Two that do not fit: the first is cut, the second is not there. */
	snap_logf(cx, SNAP_STEP, "%s %s %d", longest, longest, 5);
	ck_assert_uint_le(got_size, SNAP_LOG_PACKED_MAX);
	ck_assert_uint_gt(got_size, 1400);
	ck_assert_ptr_nonnull(strstr(text(), "xxx (null) 5"));
	snap_ctx_free(cx);
}
END_TEST

static int evaluated;

static int
evaluate(void)
{
	return ++evaluated;
}

START_TEST(levels)
{
	struct snap_ctx *cx = new_ctx(SNAP_NOTICE);
	struct snap_ctx *silent = snap_ctx_new(NULL);

	snap_logf(cx, SNAP_STEP, "%d", evaluate());
	snap_logf(silent, SNAP_ERROR, "%d", evaluate());
	ck_assert_int_eq(evaluated, 0);
	ck_assert_uint_eq(takes, 0);
	snap_logf(cx, SNAP_NOTICE, "%d", evaluate());
	ck_assert_int_eq(evaluated, 1);
	ck_assert_uint_eq(takes, 1);
	ck_assert_int_eq(got.level, SNAP_NOTICE);
	snap_fail(cx, -EPERM, "it failed: %d", 3);
	ck_assert_str_eq(text(), "it failed: 3");
	ck_assert_int_eq(got.level, SNAP_ERROR);
	snap_ctx_free(cx);
	snap_ctx_free(silent);
}
END_TEST

static const char *const refused[] = {
	"%n",
	"%",
	"%d %",
	"%*d",
	"%.*s",
	"%ls",
	"%lc",
	"%Lf",
	"%1000d",
	"%.1000d",
	"%m",
	"%a",
	"%1$d",
	"%hhhd",
	"%d%d%d%d%d%d%d%d%d",
	"%------d",
};

START_TEST(refused_formats)
{
	uint32_t types;
	unsigned nargs;

	ck_assert_int_eq(snap_log_parse(refused[_i], &types, &nargs), -EBADMSG);
}
END_TEST

/* Every byte of a record changed, and every length of it: no crash, no lie. */
START_TEST(hostile_records)
{
	struct snap_ctx *cx = new_ctx(SNAP_STEP);
	struct snap_log_table t;
	struct snap_log_record r;
	unsigned char bytes[sizeof(got_bytes)];
	char buf[256];
	size_t size;

	snap_log_table_own(&t);
	snap_logf(cx, SNAP_STEP, "%s and %d and %s", "one", 2, "three");
	size = got_size;
	for (size_t i = 0; i < size; i++) {
		char *exact = malloc(i + 1);

		memcpy(exact, got_bytes, i);
		ck_assert(snap_log_unpack(&r, exact, i) < 0 || i + 8 > size);
		free(exact);
	}
	for (size_t i = 0; i < size * 256; i++) {
		memcpy(bytes, got_bytes, size);
		bytes[i / 256] ^= (unsigned char)i;
		if (snap_log_unpack(&r, bytes, size) == 0)
			snap_log_text(&t, &r, buf, sizeof(buf));
	}
	/* Arguments that are not those of the format. */
	ck_assert_int_eq(snap_log_unpack(&r, got_bytes, size), 0);
	r.types ^= 1;
	ck_assert_int_eq(snap_log_text(&t, &r, buf, sizeof(buf)), -EBADMSG);
	r.types ^= 1;
	r.nargs--;
	ck_assert_int_eq(snap_log_text(&t, &r, buf, sizeof(buf)), -EBADMSG);
	r.nargs++;
	/* The middle of a format is none. */
	r.format++;
	ck_assert_int_eq(snap_log_text(&t, &r, buf, sizeof(buf)), -EBADMSG);
	r.format = UINT32_MAX;
	ck_assert_int_eq(snap_log_text(&t, &r, buf, sizeof(buf)), -EBADMSG);
	snap_ctx_free(cx);
}
END_TEST

/* ---- tables ---- */

START_TEST(table_of_a_file)
{
	struct snap_log_table own, t;
	char why[128];
	int fd = open("/proc/self/exe", O_RDONLY);

	snap_log_table_own(&own);
	ck_assert_int_eq(snap_log_table_read(&t, fd, why, sizeof(why)), 0);
	ck_assert_uint_eq(own.build_id_len, 20);
	ck_assert_uint_eq(t.build_id_len, 20);
	ck_assert_mem_eq(t.build_id, own.build_id, 20);
	ck_assert_uint_eq(t.size, own.size);
	ck_assert_mem_eq(t.formats, own.formats, own.size);
	snap_log_table_fini(&t);
	close(fd);
}
END_TEST

/* A program's file cut off anywhere, or damaged in its headers: no crash. */
START_TEST(hostile_programs)
{
	struct snap_log_table t;
	static unsigned char bytes[64u << 20];
	char why[128];
	int in = open("/proc/self/exe", O_RDONLY), fd;
	ssize_t n = read(in, bytes, sizeof(bytes));
	uint64_t sections;

	ck_assert_int_gt(n, 4096);
	memcpy(&sections, bytes + 40, 8);
	fd = memfd_create("program", 0);
	ck_assert_int_eq(write(fd, bytes, (size_t)n), n);
	for (size_t i = 0; i < 64 * 8; i++) {
		unsigned char c = bytes[i / 8] ^ (unsigned char)(1u << i % 8);

		pwrite(fd, &c, 1, (off_t)(i / 8));
		if (snap_log_table_read(&t, fd, why, sizeof(why)) == 0)
			snap_log_table_fini(&t);
		pwrite(fd, &bytes[i / 8], 1, (off_t)(i / 8));
	}
	for (uint64_t i = sections * 8; i < (uint64_t)n * 8; i += 5) {
		unsigned char c = bytes[i / 8] ^ (unsigned char)(1u << i % 8);

		pwrite(fd, &c, 1, (off_t)(i / 8));
		if (snap_log_table_read(&t, fd, why, sizeof(why)) == 0)
			snap_log_table_fini(&t);
		pwrite(fd, &bytes[i / 8], 1, (off_t)(i / 8));
	}
	for (off_t end = n - 1; end > 0; end = end * 3 / 4) {
		ftruncate(fd, end);
		ck_assert_int_lt(
		    snap_log_table_read(&t, fd, why, sizeof(why)), 0);
	}
	close(fd);
	close(in);
}
END_TEST

/* ---- the ring ---- */

static size_t
lines_of(const char *s)
{
	size_t n = 0;

	for (; (s = strchr(s, '\n')) != NULL; s++)
		n++;
	return n;
}

START_TEST(filtered_by_user)
{
	struct log *log = log_new(SNAP_STEP, -1);
	size_t len;
	char *s;

	log_put(log, 0, SNAP_ERROR, "of root's: %d", 1);
	log_put(log, 1000, SNAP_ERROR, "%s", "of a user's\nwith\033 junk");
	log_put(log, LOG_ANYONE, SNAP_NOTICE, "of all");
	log_put(log, 1000, SNAP_DEBUG, "too fine");
	s = log_text(log, 1000, false, &len);
	ck_assert_uint_eq(strlen(s), len);
	ck_assert_ptr_null(strstr(s, "root"));
	ck_assert_ptr_nonnull(strstr(s, "error  of a user's?with? junk\n"));
	ck_assert_ptr_nonnull(strstr(s, "notice of all\n"));
	ck_assert_ptr_null(strstr(s, "fine"));
	free(s);
	s = log_errors(log, 0, true, "error", 1, &len);
	ck_assert_ptr_eq(strstr(s, "error: "), s);
	ck_assert_ptr_nonnull(strstr(s, "of a user's"));
	ck_assert_ptr_null(strstr(s, "root"));
	free(s);
	/* The saved ring holds no byte of what he may not see. */
	s = log_raw(log, 1000, false, &len);
	ck_assert_ptr_null(memmem(s, len, "of root", 7));
	ck_assert_ptr_nonnull(memmem(s, len, "of a user", 9));
	free(s);
	log_free(log);
}
END_TEST

/* What fails again and again does not push out what else failed. */
START_TEST(repeated_errors)
{
	struct log *log = log_new(SNAP_STEP, -1);
	struct log_job taking = log_job(log, 0, RING_CHECKPOINT, 7);
	size_t len;
	char *s, *again;

	log_put(log, 0, SNAP_ERROR, "first");
	for (int i = 0; i < 20; i++) {
		log_put(log, 0, SNAP_ERROR, "again");
		log_put(log, 0, SNAP_STEP, "a step");
	}
	log_put_job(&taking, SNAP_ERROR, "again");
	log_put(log, 0, SNAP_ERROR, "last");
	s = log_errors(log, 0, true, "error", 4, &len);
	ck_assert_uint_eq(strlen(s), len);
	ck_assert_uint_eq(lines_of(s), 4);
	ck_assert_ptr_nonnull(strstr(s, "error  first\n"));
	again = strstr(s, "error  again (20 times)\n");
	ck_assert_ptr_nonnull(again);
	ck_assert_ptr_nonnull(strstr(again, "error  7: again\n"));
	ck_assert_ptr_nonnull(strstr(again, "error  last\n"));
	free(s);
	s = log_errors(log, 0, true, "error", 3, &len);
	ck_assert_uint_eq(lines_of(s), 3);
	ck_assert_ptr_null(strstr(s, "first"));
	ck_assert_ptr_nonnull(strstr(s, "(20 times)\n"));
	free(s);
	log_free(log);
}
END_TEST

START_TEST(prefixes)
{
	struct log *log = log_new(SNAP_STEP, -1);
	struct log_job taking = log_job(log, 0, RING_CHECKPOINT, 4194303);
	struct log_job restoring = log_job(log, 0, RING_RESTORE, 12);
	size_t len;
	char *s;

	log_put_job(&taking, SNAP_STEP, "held");
	log_put_job(&restoring, SNAP_STEP, "made");
	s = log_text(log, 0, false, &len);
	ck_assert_ptr_nonnull(strstr(s, " step   4194303: held\n"));
	ck_assert_ptr_nonnull(strstr(s, " step   restore by 12: made\n"));
	free(s);
	log_free(log);
}
END_TEST

START_TEST(wraps)
{
	struct log *log = log_new(SNAP_STEP, -1);
	const int n = 3 * RING_CELLS / 2;
	size_t len;
	char *s, want[32];

	/* Records of one cell. */
	for (int i = 0; i < n; i++)
		log_put(log, 0, SNAP_STEP, "line %d.", i);
	s = log_text(log, 0, false, &len);
	ck_assert_uint_eq(lines_of(s), RING_CELLS);
	snprintf(want, sizeof(want), "line %d.", n - (int)RING_CELLS);
	ck_assert_ptr_nonnull(strstr(s, want));
	snprintf(want, sizeof(want), "line %d.", n - (int)RING_CELLS - 1);
	ck_assert_ptr_null(strstr(s, want));
	snprintf(want, sizeof(want), "line %d.", n - 1);
	ck_assert_ptr_nonnull(strstr(s, want));
	free(s);
	log_free(log);
}
END_TEST

/* Of several cells, so that the oldest is overwritten in part. */
START_TEST(wraps_within_a_record)
{
	struct log *log = log_new(SNAP_STEP, -1);
	char filler[900];
	size_t len;
	char *s;

	memset(filler, 'f', sizeof(filler));
	filler[sizeof(filler) - 1] = '\0';
	for (int i = 0; i < 3001; i++)
		log_put(log, 0, SNAP_STEP, "%d %s end", i, filler + i % 890);
	s = log_text(log, 0, false, &len);
	ck_assert_ptr_nonnull(strstr(s, " 3000 "));
	ck_assert_ptr_null(strstr(s, " 0 "));
	for (char *l = s, *e; (e = strchr(l, '\n')) != NULL; l = e + 1)
		ck_assert(memcmp(e - 4, " end", 4) == 0);
	free(s);
	log_free(log);
}
END_TEST

/* ---- saved rings ---- */

static char *
some_raw(int records, size_t *len)
{
	struct log *log = log_new(SNAP_STEP, -1);
	char *raw;

	for (int i = 0; i < records; i++)
		log_put(log, 0, SNAP_STEP, "line %d of %s", i,
		    "the table, with so many words that all of it is too "
		    "much for a single one of the cells of a ring");
	raw = log_raw(log, 0, true, len);
	log_free(log);
	return raw;
}

static char *
printed(const char *raw, size_t len, size_t *bad)
{
	const char *why = NULL;
	const struct ring *r = ring_at(raw, len, &why);
	struct snap_log_table own;
	char *s = NULL;
	FILE *f;

	*bad = 0;
	if (r == NULL)
		return NULL;
	snap_log_table_own(&own);
	f = open_memstream(&s, &len);
	*bad = log_print_ring(f, r, &own);
	fclose(f);
	return s;
}

START_TEST(saved)
{
	struct snap_log_table own, other;
	const struct ring *r;
	const char *why;
	size_t len, bad;
	char *raw = some_raw(100, &len), *s = printed(raw, len, &bad);

	ck_assert_uint_eq(bad, 0);
	ck_assert_uint_eq(lines_of(s), 100);
	ck_assert_ptr_nonnull(strstr(s, "line 99 of the table, "));
	snap_log_table_own(&own);
	other = own;
	other.build_id[7] ^= 1;
	r = ring_at(raw, len, &why);
	ck_assert(ring_is_of(r, &own));
	ck_assert(!ring_is_of(r, &other));
	other.build_id_len = 0;
	ck_assert(!ring_is_of(r, &other));
	free(s);
	free(raw);
}
END_TEST

/* Records that somebody was writing, or began to overwrite: they are not there. */
START_TEST(torn)
{
	size_t len, bad;
	char *raw = some_raw(100, &len), *s;

	/* Each record has two cells.  Busy in the first, in the second: */
	*STAMP(raw, 20) |= 0x80;
	*STAMP(raw, 31) |= 0x80;
	/* overwritten by a later round, */
	*STAMP(raw, 41) += (uint64_t)RING_CELLS << 8;
	/* never written, */
	*STAMP(raw, 50) = 0;
	/* left out because a cell of it was busy. */
	*STAMP(raw, 60) = (*STAMP(raw, 60) & ~UINT64_C(0xff)) | 0x41;
	s = printed(raw, len, &bad);
	ck_assert_uint_eq(bad, 0);
	ck_assert_uint_eq(lines_of(s), 95);
	ck_assert_ptr_null(strstr(s, "line 10 "));
	ck_assert_ptr_null(strstr(s, "line 15 "));
	ck_assert_ptr_null(strstr(s, "line 20 "));
	ck_assert_ptr_null(strstr(s, "line 25 "));
	ck_assert_ptr_null(strstr(s, "line 30 "));
	free(s);
	free(raw);
}
END_TEST

START_TEST(hostile_rings)
{
	const char *why;
	size_t len, bad;
	char *raw = some_raw(40, &len), *s;
	unsigned seed = 1;

	ck_assert_ptr_null(ring_at(raw, len - 1, &why));
	ck_assert_str_eq(why, "its ring is cut off");
	for (size_t n = 0; n < HEAD; n++)
		ck_assert_ptr_null(ring_at(raw, n, &why));
	for (size_t bit = 0; bit < 8 * (HEAD + 8 * RING_CELL); bit++) {
		raw[bit / 8] ^= (char)(1 << bit % 8);
		free(printed(raw, len, &bad));
		raw[bit / 8] ^= (char)(1 << bit % 8);
	}
	/* Random contents behind good stamps. */
	for (int round = 0; round < 300; round++) {
		for (size_t i = 0; i < 80; i++)
			for (size_t k = 8; k < RING_CELL; k++)
				if (rand_r(&seed) % 8 == 0)
					raw[HEAD + i * RING_CELL + k] =
					    (char)rand_r(&seed);
		free(printed(raw, len, &bad));
		ck_assert_uint_gt(bad, 0);
	}
	s = printed(raw, len, &bad);
	free(s);
	free(raw);
}
END_TEST

/* ---- many at once ---- */

#define WRITERS 4
#define RECORDS 30000

struct writer {
	pthread_t thread;
	struct log *log;
	int n;
};

static void *
write_much(void *arg)
{
	struct writer *w = arg;
	char pad[200];

	memset(pad, 'a' + w->n, sizeof(pad));
	for (int i = 0; i < RECORDS; i++) {
		pad[i % 150] = '\0';
		log_put(w->log, 0, SNAP_STEP, "w%d %d %s %d", w->n, i, pad, i);
		pad[i % 150] = (char)('a' + w->n);
	}
	return NULL;
}

/* A line is whole: both numbers are the same, and the letters are its own. */
static void
check_line(const char *l, const char *end)
{
	const char *p = strstr(l, " step   w");
	int n, a, b, at;

	ck_assert(p != NULL && p < end);
	ck_assert_int_eq(sscanf(p, " step   w%d %d %n", &n, &a, &at), 2);
	p += at;
	ck_assert_int_eq(
	    (int)strspn(p, (char[]){ (char)('a' + n), '\0' }), a % 150);
	ck_assert_int_eq(sscanf(p + a % 150, " %d", &b), 1);
	ck_assert_int_eq(a, b);
}

START_TEST(many_writers)
{
	struct log *log = log_new(SNAP_STEP, -1);
	struct writer w[WRITERS];
	size_t len, lines = 0;
	char *s, *l, *e;

	for (int i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .log = log, .n = i };
		ck_assert_int_eq(
		    pthread_create(&w[i].thread, NULL, write_much, &w[i]), 0);
	}
	for (int round = 0; round < 30; round++) {
		s = log_text(log, 0, true, &len);
		for (l = s; (e = strchr(l, '\n')) != NULL; l = e + 1, lines++)
			check_line(l, e);
		free(s);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	s = log_text(log, 0, true, &len);
	for (l = s; (e = strchr(l, '\n')) != NULL; l = e + 1, lines++)
		check_line(l, e);
	ck_assert_uint_gt(lines, 1000);
	free(s);
	log_free(log);
}
END_TEST

/* What an agent sends, and what only pretends to be that. */
START_TEST(received)
{
	struct log *log = log_new(SNAP_STEP, -1);
	struct log_job job = log_job(log, 1000, RING_RESTORE, 7);
	struct snap_ctx *cx = new_ctx(SNAP_DEBUG);
	char *bytes = (char *)got_bytes, *s;
	uint64_t future = snap_log_now() + 1000000000000000u;
	size_t len;

	snap_logf(cx, SNAP_STEP, "step %d", 1);
	log_received(&job, got_bytes, sizeof(got_bytes));
	memcpy(bytes, &future, 8);
	log_received(&job, got_bytes, sizeof(got_bytes));
	snap_logf(cx, SNAP_DEBUG, "too fine");
	log_received(&job, got_bytes, sizeof(got_bytes));
	bytes[8] ^= 1;
	log_received(&job, got_bytes, sizeof(got_bytes));
	log_received(&job, got_bytes, 7);
	s = log_text(log, 1000, false, &len);
	ck_assert_uint_eq(lines_of(s), 2);
	ck_assert_ptr_nonnull(strstr(s, "restore by 7: step 1\n"));
	free(s);
	snap_ctx_free(cx);
	log_free(log);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("log");
	TCase *tc = tcase_create("log");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, conversions);
	tcase_add_test(tc, strings);
	tcase_add_test(tc, levels);
	tcase_add_loop_test(
	    tc, refused_formats, 0, sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, hostile_records);
	tcase_add_test(tc, table_of_a_file);
	tcase_add_test(tc, hostile_programs);
	tcase_add_test(tc, filtered_by_user);
	tcase_add_test(tc, repeated_errors);
	tcase_add_test(tc, prefixes);
	tcase_add_test(tc, wraps);
	tcase_add_test(tc, wraps_within_a_record);
	tcase_add_test(tc, saved);
	tcase_add_test(tc, torn);
	tcase_add_test(tc, hostile_rings);
	tcase_add_test(tc, many_writers);
	tcase_add_test(tc, received);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
