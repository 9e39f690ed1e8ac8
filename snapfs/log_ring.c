#include "log_ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define VERSION 2u
#define MAGIC "snapfs log ring\n" /* without its NUL */
#define WORDS (RING_CELL / 8 - 1) /* of a cell, without its stamp */

/* The low byte of a stamp: the number of cells in the first, or one of these. */
#define FOLLOWS 0x40u
#define VOID 0x41u
#define BUSY 0x80u

struct cell {
	uint64_t stamp;
	uint64_t words[WORDS];
};

struct ring {
	char magic[16];
	uint32_t version;
	uint32_t cell_size;
	uint32_t ncells;
	uint32_t build_id_len;
	uint8_t build_id[20];
	uint8_t zero[12];
	uint64_t lost;
	uint64_t zeros[7];
	uint64_t next; /* in a line of its own, for every writer changes it */
	uint64_t more_zeros[15];
	struct cell cells[];
};

_Static_assert(sizeof(struct cell) == RING_CELL, "no holes");
_Static_assert(sizeof(struct ring) % RING_CELL == 0, "aligned cells");
_Static_assert(sizeof(struct ring_owner) == 8, "one word");
_Static_assert(RING_ENTRY_CELLS < FOLLOWS, "no other stamp");
_Static_assert(SNAP_LOG_PACKED_MAX % 8 == 0 &&
		   1 + SNAP_LOG_PACKED_MAX / 8 <= RING_ENTRY_WORDS,
    "every record fits");

static size_t
whole_size(uint32_t ncells)
{
	return sizeof(struct ring) + (size_t)ncells * RING_CELL;
}

struct ring *
ring_new(void)
{
	struct snap_log_table own;
	struct ring *r = mmap(NULL, whole_size(RING_CELLS),
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (r == MAP_FAILED)
		return NULL;
	memcpy(r->magic, MAGIC, sizeof(r->magic));
	r->version = VERSION;
	r->cell_size = RING_CELL;
	r->ncells = RING_CELLS;
	snap_log_table_own(&own);
	r->build_id_len = (uint32_t)own.build_id_len;
	memcpy(r->build_id, own.build_id, sizeof(r->build_id));
	return r;
}

void
ring_free(struct ring *r)
{
	if (r != NULL)
		munmap(r, whole_size(r->ncells));
}

uint64_t
ring_lost(const struct ring *r)
{
	return __atomic_load_n(&r->lost, __ATOMIC_RELAXED);
}

/* ---- writing ---- */

/*
 * Make the cell ours until it is stamped.  What is older is overwritten; not
 * what somebody is at, and not what is newer because we were slow.
 */
static bool
claim(struct cell *c, uint64_t number)
{
	uint64_t old = __atomic_load_n(&c->stamp, __ATOMIC_RELAXED);

	do {
		if ((old & BUSY) != 0 || (old != 0 && old >> 8 >= number))
			return false;
	} while (!__atomic_compare_exchange_n(&c->stamp, &old,
	    number << 8 | BUSY, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	/* Nothing of the contents may be seen before that. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return true;
}

static void
stamp(struct cell *c, uint64_t number, unsigned what)
{
	__atomic_store_n(&c->stamp, number << 8 | what, __ATOMIC_RELEASE);
}

static void
put_cells(struct ring *r, const uint64_t *words, size_t nwords)
{
	uint64_t n = (nwords + WORDS - 1) / WORDS, k, i;
	uint64_t first = __atomic_fetch_add(&r->next, n, __ATOMIC_RELAXED);
	struct cell *c;

	for (k = 0; k < n; k++) {
		c = &r->cells[(first + k) % r->ncells];
		if (!claim(c, first + k))
			break;
		for (i = 0; i < WORDS && k * WORDS + i < nwords; i++)
			__atomic_store_n(&c->words[i], words[k * WORDS + i],
			    __ATOMIC_RELAXED);
	}
	if (k < n)
		__atomic_fetch_add(&r->lost, 1, __ATOMIC_RELAXED);
	/* The first one last: when it is there, all are. */
	for (i = k; i-- > 0;)
		stamp(&r->cells[(first + i) % r->ncells], first + i,
		    k < n    ? VOID
		    : i != 0 ? FOLLOWS
			     : (unsigned)n);
}

void
ring_put(struct ring *r, struct ring_owner owner,
    const struct snap_log_record *record)
{
	uint64_t words[RING_ENTRY_WORDS];
	size_t n;

	memcpy(words, &owner, sizeof(owner));
	n = snap_log_pack(record, words + 1);
	put_cells(r, words, 1 + n / 8);
}

/* ---- reading ---- */

/* The words of one cell, if it is what is expected before and after. */
static bool
read_cell(const struct cell *c, uint64_t expect, uint64_t *words)
{
	if (__atomic_load_n(&c->stamp, __ATOMIC_ACQUIRE) != expect)
		return false;
	for (size_t i = 0; i < WORDS; i++)
		words[i] = __atomic_load_n(&c->words[i], __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&c->stamp, __ATOMIC_RELAXED) == expect;
}

/* The number of cells of the entry that begins there, 0 if none does. */
static unsigned
read_entry(const struct ring *r, uint64_t first, uint64_t *words)
{
	uint64_t what = __atomic_load_n(
	    &r->cells[first % r->ncells].stamp, __ATOMIC_ACQUIRE);
	unsigned n = (unsigned)(what & 0xff);

	if (what >> 8 != first || n == 0 || n > RING_ENTRY_CELLS)
		return 0;
	for (unsigned k = 0; k < n; k++)
		if (!read_cell(&r->cells[(first + k) % r->ncells],
			(first + k) << 8 | (k == 0 ? n : FOLLOWS),
			words + k * WORDS))
			return 0;
	return n;
}

int
ring_next(const struct ring *r, uint64_t *at, struct ring_entry *e)
{
	uint64_t end = __atomic_load_n(&r->next, __ATOMIC_ACQUIRE);
	uint64_t oldest = end > r->ncells ? end - r->ncells : 0;

	if (*at < oldest)
		*at = oldest;
	for (e->ncells = 0; *at < end && e->ncells == 0; (*at)++) {
		e->number = *at;
		e->ncells = read_entry(r, *at, e->words);
	}
	if (e->ncells == 0)
		return 0;
	*at = e->number + e->ncells;
	memcpy(&e->owner, e->words, sizeof(e->owner));
	return snap_log_unpack(
		   &e->record, e->words + 1, (e->ncells * WORDS - 1) * 8) < 0
		   ? -EBADMSG
		   : 1;
}

size_t
ring_size(const struct ring *r)
{
	return whole_size(r->ncells);
}

static void
copy_entry(const struct ring_entry *e, struct ring *to)
{
	for (uint64_t k = 0; k < e->ncells; k++) {
		struct cell *c = &to->cells[(e->number + k) % to->ncells];

		stamp(c, e->number + k, k == 0 ? e->ncells : FOLLOWS);
		memcpy(c->words, e->words + k * WORDS, sizeof(c->words));
	}
}

void
ring_copy(const struct ring *r,
    bool (*keep)(void *arg, const struct ring_entry *e), void *arg, void *buf)
{
	struct ring_entry e;
	struct ring *to = buf;
	uint64_t at = 0;
	int one;

	memset(buf, 0, whole_size(r->ncells));
	memcpy(to, r, sizeof(*to));
	while ((one = ring_next(r, &at, &e)) != 0)
		if (one > 0 && keep(arg, &e))
			copy_entry(&e, to);
	/* What comes meanwhile is in the next copy. */
	to->next = at;
}

/* ---- rings of others ---- */

const struct ring *
ring_at(const void *buf, size_t size, const char **why)
{
	const struct ring *r = buf;

	if (size < sizeof(*r) || memcmp(r->magic, MAGIC, sizeof(r->magic)) != 0)
		*why = "there is no ring of snapfs's log in it";
	else if (r->version != VERSION || r->cell_size != RING_CELL)
		*why = "its ring is of a version that is not known here";
	else if (r->ncells == 0 || r->ncells > RING_CELLS_MAX ||
		 r->build_id_len > sizeof(r->build_id) || r->next >> 55 != 0)
		*why = "its ring is damaged";
	else if (size < whole_size(r->ncells))
		*why = "its ring is cut off";
	else
		return r;
	return NULL;
}

bool
ring_is_of(const struct ring *r, const struct snap_log_table *t)
{
	return r->build_id_len == t->build_id_len && t->build_id_len != 0 &&
	       memcmp(r->build_id, t->build_id, t->build_id_len) == 0;
}

void
ring_build(const struct ring *r, char *buf)
{
	buf[0] = '\0';
	for (size_t i = 0; i < r->build_id_len; i++)
		sprintf(buf + 2 * i, "%02x", r->build_id[i]);
}
