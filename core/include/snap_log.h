/*
 * snap_log.h - log calls that format nothing.
 *
 * A call leaves its format string in the ELF section `snap_log` of the program
 * and makes a record of the string's place there and the raw arguments.  What
 * becomes of the record is up to the sink that gets it.  Text is made of it by
 * whoever wants to read it, with the table of formats of this very build: of
 * the program that runs, or of its file.
 *
 * The arguments are integers, pointers, doubles, and strings, at most
 * SNAP_LOG_ARGS of them; anything else does not compile.  A format may use the
 * conversions d i u x X o c s p e f g with flags, width and precision in
 * digits and the lengths hh h l ll z t j (snap_log_parse() refuses all else,
 * and the build asks it of every format).
 */
#ifndef SNAP_LOG_H
#define SNAP_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAP_LOG_ARGS 8
#define SNAP_LOG_SECTION "snap_log"

enum snap_level {
	SNAP_ERROR,
	SNAP_NOTICE,
	SNAP_STEP, /* one step of a checkpoint or restore, with its time */
	SNAP_DEBUG,
};

/* Of an argument: four bits of `types`, the first argument's lowest. */
enum snap_log_type {
	SNAP_LOG_NONE,
	SNAP_LOG_INT,
	SNAP_LOG_STR,
	SNAP_LOG_PTR,
	SNAP_LOG_DBL,
};

struct snap_log_record {
	uint64_t time;	 /* ns of CLOCK_REALTIME */
	uint32_t format; /* its offset in the section */
	uint32_t types;
	enum snap_level level;
	unsigned nargs;
	/* Sign-extended; a string's is the address of it, or NULL. */
	uint64_t args[SNAP_LOG_ARGS];
};

/* ---- a record as bytes ---- */

#define SNAP_LOG_PACKED_MAX 1536u

/*
 * The bytes of a record with its strings, of which an overlong one is cut.
 * The number of bytes, a multiple of 8; `buf` has SNAP_LOG_PACKED_MAX.
 */
size_t snap_log_pack(const struct snap_log_record *r, void *buf);

/*
 * The other way round.  Strings point into `buf`, which may be anybody's:
 * -EBADMSG if it is no record.  That the format is one, and fits the
 * arguments, is seen by snap_log_text().
 */
int snap_log_unpack(struct snap_log_record *r, const void *buf, size_t size);

/* ---- formats ---- */

struct snap_log_table {
	const char *formats; /* the section; ends with a NUL */
	size_t size;
	uint8_t build_id[20];
	size_t build_id_len; /* 0: the program has none */
	char *owned;	     /* `formats`, if it was read */
};

/* That of the running program; needs no fini. */
void snap_log_table_own(struct snap_log_table *t);

/*
 * That of a program's file, which may be anybody's.  0, or -errno with a
 * sentence in `why`.
 */
int snap_log_table_read(
    struct snap_log_table *t, int fd, char *why, size_t whysize);
void snap_log_table_fini(struct snap_log_table *t);

/* The format that begins there, or NULL. */
const char *snap_log_format(const struct snap_log_table *t, uint32_t format);

/* The format after `at`, an offset that is then moved past it; NULL: no more. */
const char *snap_log_next_format(const struct snap_log_table *t, size_t *at);

/* What arguments it takes; -EBADMSG if it has what is not allowed above. */
int snap_log_parse(const char *fmt, uint32_t *types, unsigned *nargs);

/*
 * The text of a record, on one line (what is not printable becomes `?`), cut to
 * `size`.  -EBADMSG if there is no such format, or it takes other arguments.
 */
int snap_log_text(const struct snap_log_table *t,
    const struct snap_log_record *r, char *buf, size_t size);

/* ---- making a record ---- */

/* By the linker; not there in a program without log calls. */
extern const char snap_log_begin[] __asm__("__start_snap_log")
    __attribute__((weak, visibility("hidden")));
extern const char snap_log_end[] __asm__("__stop_snap_log")
    __attribute__((weak, visibility("hidden")));

uint64_t snap_log_now(void);

static inline uint64_t
snap_log_signed(long long v)
{
	return (uint64_t)v;
}

static inline uint64_t
snap_log_unsigned(unsigned long long v)
{
	return v;
}

static inline uint64_t
snap_log_pointer(const void *v)
{
	return (uint64_t)(uintptr_t)v;
}

static inline uint64_t
snap_log_double(double v)
{
	union {
		double d;
		uint64_t u;
	} both = { v };

	return both.u;
}

/* Only there for the compiler to compare format and arguments. */
static inline void __attribute__((format(printf, 1, 2)))
snap_log_check(const char *fmt, ...)
{
	(void)fmt;
}

/* clang-format off */
#define SNAP_LOG_TYPE(x) _Generic((x), \
	char *: SNAP_LOG_STR, const char *: SNAP_LOG_STR, \
	void *: SNAP_LOG_PTR, const void *: SNAP_LOG_PTR, \
	float: SNAP_LOG_DBL, double: SNAP_LOG_DBL, \
	_Bool: SNAP_LOG_INT, char: SNAP_LOG_INT, \
	signed char: SNAP_LOG_INT, unsigned char: SNAP_LOG_INT, \
	short: SNAP_LOG_INT, unsigned short: SNAP_LOG_INT, \
	int: SNAP_LOG_INT, unsigned: SNAP_LOG_INT, \
	long: SNAP_LOG_INT, unsigned long: SNAP_LOG_INT, \
	long long: SNAP_LOG_INT, unsigned long long: SNAP_LOG_INT)
#define SNAP_LOG_VALUE(x) _Generic((x), \
	char *: snap_log_pointer, const char *: snap_log_pointer, \
	void *: snap_log_pointer, const void *: snap_log_pointer, \
	float: snap_log_double, double: snap_log_double, \
	char: snap_log_signed, signed char: snap_log_signed, \
	short: snap_log_signed, int: snap_log_signed, \
	long: snap_log_signed, long long: snap_log_signed, \
	default: snap_log_unsigned)(x)

#define SNAP_LOG_N_(_0, _1, _2, _3, _4, _5, _6, _7, _8, n, ...) n
#define SNAP_LOG_N(...) \
	SNAP_LOG_N_(0, ##__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define SNAP_LOG_CAT_(a, b) a##b
#define SNAP_LOG_CAT(a, b) SNAP_LOG_CAT_(a, b)

#define SNAP_LOG_T0() 0
#define SNAP_LOG_T1(x) (uint32_t)SNAP_LOG_TYPE(x)
#define SNAP_LOG_T2(x, ...) (SNAP_LOG_T1(x) | SNAP_LOG_T1(__VA_ARGS__) << 4)
#define SNAP_LOG_T3(x, ...) (SNAP_LOG_T1(x) | SNAP_LOG_T2(__VA_ARGS__) << 4)
#define SNAP_LOG_T4(x, ...) (SNAP_LOG_T1(x) | SNAP_LOG_T3(__VA_ARGS__) << 4)
#define SNAP_LOG_T5(x, ...) (SNAP_LOG_T1(x) | SNAP_LOG_T4(__VA_ARGS__) << 4)
#define SNAP_LOG_T6(x, ...) (SNAP_LOG_T1(x) | SNAP_LOG_T5(__VA_ARGS__) << 4)
#define SNAP_LOG_T7(x, ...) (SNAP_LOG_T1(x) | SNAP_LOG_T6(__VA_ARGS__) << 4)
#define SNAP_LOG_T8(x, ...) (SNAP_LOG_T1(x) | SNAP_LOG_T7(__VA_ARGS__) << 4)
#define SNAP_LOG_V0() 0
#define SNAP_LOG_V1(x) SNAP_LOG_VALUE(x)
#define SNAP_LOG_V2(x, ...) SNAP_LOG_V1(x), SNAP_LOG_V1(__VA_ARGS__)
#define SNAP_LOG_V3(x, ...) SNAP_LOG_V1(x), SNAP_LOG_V2(__VA_ARGS__)
#define SNAP_LOG_V4(x, ...) SNAP_LOG_V1(x), SNAP_LOG_V3(__VA_ARGS__)
#define SNAP_LOG_V5(x, ...) SNAP_LOG_V1(x), SNAP_LOG_V4(__VA_ARGS__)
#define SNAP_LOG_V6(x, ...) SNAP_LOG_V1(x), SNAP_LOG_V5(__VA_ARGS__)
#define SNAP_LOG_V7(x, ...) SNAP_LOG_V1(x), SNAP_LOG_V6(__VA_ARGS__)
#define SNAP_LOG_V8(x, ...) SNAP_LOG_V1(x), SNAP_LOG_V7(__VA_ARGS__)

/*
 * Make a record of a literal format and its arguments, and do `statement`, in
 * which it is called snap_log_record.
 */
#define SNAP_LOG(statement, lvl, fmt, ...) \
	do { \
		static const char snap_log_fmt[] \
		    __attribute__((section(SNAP_LOG_SECTION), used, \
			aligned(1))) = "" fmt ""; \
		const struct snap_log_record snap_log_record = { \
			.time = snap_log_now(), \
			.format = (uint32_t)(snap_log_fmt - snap_log_begin), \
			.types = SNAP_LOG_CAT(SNAP_LOG_T, \
			    SNAP_LOG_N(__VA_ARGS__))(__VA_ARGS__), \
			.level = (lvl), \
			.nargs = SNAP_LOG_N(__VA_ARGS__), \
			.args = { SNAP_LOG_CAT(SNAP_LOG_V, \
			    SNAP_LOG_N(__VA_ARGS__))(__VA_ARGS__) }, \
		}; \
		if (0) \
			snap_log_check(fmt, ##__VA_ARGS__); \
		statement; \
	} while (0)
/* clang-format on */

#endif
