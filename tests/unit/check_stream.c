/*
 * The sum of a file that several threads read at once.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "image_stream.h"
#include "unit.h"

#define SIZE (3u * 1024 * 1024 + 4096 * 5)
#define PIECE (96u * 1024)
#define READERS 8

static char data[SIZE];
static struct stream *s;
static unsigned reads; /* that the stream asked for */
static size_t next;
static size_t lost; /* the piece at which a reader gets nothing */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static ssize_t
read_data(void *arg, uint32_t n, void *buf, size_t len, uint64_t off)
{
	(void)arg;
	(void)n;
	reads++;
	if (off >= SIZE)
		return 0;
	if (len > SIZE - off)
		len = SIZE - off;
	memcpy(buf, data + off, len);
	return (ssize_t)len;
}

static const struct stream_source source = { .read = read_data };

static void
set_up(void)
{
	struct image_node node = { .source = IMAGE_PAGES, .node.size = SIZE };

	srand(7);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)rand();
	s = stream_new(&node);
	ck_assert_ptr_nonnull(s);
	reads = 0;
	next = 0;
	lost = SIZE;
}

static void
tear_down(void)
{
	stream_free(s);
}

/* As requests of the kernel are: begun in order, answered in any. */
static void *
reader(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (;;) {
		size_t off, len;

		pthread_mutex_lock(&order);
		off = next;
		next += PIECE;
		len = off >= SIZE ? 0 : SIZE - off < PIECE ? SIZE - off : PIECE;
		if (len > 0)
			stream_begin(s, off, len);
		pthread_mutex_unlock(&order);
		if (len == 0)
			return NULL;
		usleep((unsigned)rand_r(&seed) % 2000);
		stream_feed(s, &source, data + off, off == lost ? 0 : len, off);
	}
}

static void
read_by_many(void)
{
	pthread_t v[READERS];

	for (uintptr_t i = 0; i < READERS; i++)
		ck_assert_int_eq(
		    pthread_create(&v[i], NULL, reader, (void *)i), 0);
	for (size_t i = 0; i < READERS; i++)
		pthread_join(v[i], NULL);
}

static void
expect_sums(void)
{
	XXH128_hash_t whole = XXH3_128bits(data, SIZE), got;

	pthread_mutex_lock(&s->lock);
	ck_assert_int_eq(stream_catch_up(s, &source, SIZE), 0);
	got = XXH3_128bits_digest(s->state);
	pthread_mutex_unlock(&s->lock);
	ck_assert(XXH128_isEqual(got, whole));
	for (size_t i = 0; i < s->pieces->n; i++)
		ck_assert(
		    pagesums_good(s->pieces, i, data + i * s->pieces->piece));
}

START_TEST(nothing_is_read_twice)
{
	read_by_many();
	expect_sums();
	ck_assert_uint_eq(reads, 0);
}
END_TEST

/* Nobody waits for it for ever; what is missing is read. */
START_TEST(a_reader_that_failed)
{
	lost = 5 * PIECE;
	read_by_many();
	expect_sums();
	ck_assert_uint_gt(reads, 0);
}
END_TEST

/* Far ahead, and without a buffer: nothing is taken of it. */
START_TEST(a_reader_that_has_nothing)
{
	stream_begin(s, 5 * PIECE, PIECE);
	stream_feed(s, &source, NULL, 0, 5 * PIECE);
	ck_assert_uint_eq(s->at, 0);
	ck_assert_uint_eq(s->nreading, 0);
	expect_sums();
}
END_TEST

/* One that does not say what it will read. */
START_TEST(without_a_word)
{
	stream_feed(s, &source, data + PIECE, PIECE, PIECE);
	ck_assert_uint_eq(s->at, 0);
	stream_feed(s, &source, data, PIECE, 0);
	ck_assert_uint_eq(s->at, 2 * PIECE);
	ck_assert_uint_eq(reads, 1);
	expect_sums();
}
END_TEST

/* As the library has it, of any length, and in any pieces. */
START_TEST(the_same_sums)
{
	XXH3_state_t *state = XXH3_createState();

	for (size_t n = 0; n < 3000; n += 1 + n / 16) {
		XXH128_hash_t want = XXH3_128bits(data + n % 7, n);

		ck_assert(XXH128_isEqual(hash_of(data + n % 7, n), want));
		XXH3_128bits_reset(state);
		for (size_t at = 0, k; at < n; at += k) {
			k = 1 + (size_t)rand() % 700;
			k = k < n - at ? k : n - at;
			hash_update(state, data + n % 7 + at, k);
		}
		ck_assert(XXH128_isEqual(XXH3_128bits_digest(state), want));
	}
	XXH3_freeState(state);
}
END_TEST

/* More at a time than are known. */
START_TEST(very_many)
{
	for (size_t i = 0; i < 2 * STREAM_READERS_MAX; i++)
		stream_begin(s, i * 4096, 4096);
	for (size_t i = 0; i < 2 * STREAM_READERS_MAX; i++)
		stream_feed(s, &source, data + i * 4096, 4096, i * 4096);
	ck_assert_uint_eq(s->nreading, 0);
	expect_sums();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("stream");
	TCase *tc = tcase_create("stream");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, nothing_is_read_twice);
	tcase_add_test(tc, a_reader_that_failed);
	tcase_add_test(tc, a_reader_that_has_nothing);
	tcase_add_test(tc, without_a_word);
	tcase_add_test(tc, very_many);
	tcase_add_test(tc, the_same_sums);
	suite_add_tcase(suite, tc);
	return unit_run(suite);
}
