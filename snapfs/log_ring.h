/*
 * log_ring.h - the ring that log records are put into.
 *
 * Memory of a fixed size, and the same bytes in a file: a head that says whose
 * it is, and cells of 128 bytes.  A record takes as many cells as it needs, one
 * after another (mostly one is enough), and when the ring is full it takes those of the oldest.
 *
 *	head    magic, version, build-id, number of cells, the next one's number
 *	cell    8 bytes stamp, 120 bytes of a record
 *
 * Cells are counted from the beginning of the log for ever; a stamp is the
 * cell's number, and what it is to its record.  A writer takes its cells' numbers
 * in one atomic step, then each cell by exchanging its stamp; it never waits.
 * If somebody is still writing to a cell that is wanted (he was stopped a whole
 * ring ago), then the newer record is lost, and counted.
 *
 * All that reads a ring believes nothing that is in it.
 */
#ifndef LOG_RING_H
#define LOG_RING_H

#include "snap.h"

#define RING_CELLS 8192u
#define RING_CELL 128u
#define RING_CELLS_MAX (1u << 22)
#define RING_ENTRY_CELLS 13u /* of the longest record */
#define RING_ENTRY_WORDS (RING_ENTRY_CELLS * (RING_CELL / 8 - 1))

/* For whom the work was done of which an entry tells, and what the work was. */
enum ring_kind { RING_PLAIN, RING_CHECKPOINT, RING_RESTORE };

struct ring_owner {
	uint32_t uid;
	uint32_t pid : 24;
	uint32_t kind : 8; /* enum ring_kind */
};

struct ring;

/* Memory of its own, page-aligned, of which the kernel gives what is used. */
struct ring *ring_new(void);
void ring_free(struct ring *r);

/* Any number of threads at once, in any place but a signal handler. */
void ring_put(struct ring *r, struct ring_owner owner,
    const struct snap_log_record *record);

/* How many records had to be left out since the ring began. */
uint64_t ring_lost(const struct ring *r);

/* ---- reading ---- */

/* One entry, with the memory that the strings of `record` are in. */
struct ring_entry {
	uint64_t number; /* of its first cell */
	struct ring_owner owner;
	struct snap_log_record record;
	unsigned ncells;
	uint64_t words[RING_ENTRY_WORDS];
};

/*
 * The entries from the oldest to the newest: *at begins as 0 and is kept by
 * this.  1 with an entry, 0 at the end, -EBADMSG for one that is damaged.
 * One that is being written or overwritten is not there.
 */
int ring_next(const struct ring *r, uint64_t *at, struct ring_entry *e);

/* The bytes of the whole ring, with only those entries that `keep` allows. */
size_t ring_size(const struct ring *r);
void ring_copy(const struct ring *r,
    bool (*keep)(void *arg, const struct ring_entry *e), void *arg, void *buf);

/*
 * The ring that begins at `buf`, of which `size` bytes are there; aligned to 8.
 * NULL if there is none, with the reason in *why.
 */
const struct ring *ring_at(const void *buf, size_t size, const char **why);

/* Was it made by the build whose table this is? */
bool ring_is_of(const struct ring *r, const struct snap_log_table *t);

/* Its build-id in hex, for messages; `buf` has 41 bytes. */
void ring_build(const struct ring *r, char *buf);

#endif
