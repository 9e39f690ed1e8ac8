/*
 * heal_area.h - the tail and the scratch area, as the parts of heal see them.
 *
 *	heal.c		the order: prepare, lists of calls, clear up
 *	heal_tail.c	code in the tail; one call from there
 *	heal_allowed.c	who may make these calls, by its seccomp filters
 *	heal_run.c	threads run their lists, or a piece of code
 */
#ifndef HEAL_AREA_H
#define HEAL_AREA_H

#include "heal.h"

#define HEAL_PAGE 4096u

/* The part of the scratch area that is one thread's; offsets into it. */
struct heal_list {
	size_t slot, home, records, data, end;
	size_t nrecords, data_used;
};

struct heal {
	size_t caller;
	unsigned children; /* PTRACE_O_* of processes that it makes for us */
	uint64_t tail;	   /* 0: not written */
	uint64_t scratch;  /* 0: not mapped */
	uint8_t *shadow;   /* what is, or is to be, in the scratch area */
	size_t size;
	size_t done; /* offset of what the threads say, 32 bits each */
	struct heal_list *lists; /* one a thread */
};

static inline size_t
heal_align(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static inline struct tracee *
heal_thread(const struct frozen *z)
{
	return &z->v[z->heal->caller];
}

/* heal_tail.c: `area` is where the tail's own call maps the scratch area. */
void heal_way_home(const struct tracee *t, uint8_t out[HEAL_BLOCK_SIZE],
    uint64_t at, uint64_t area);
int heal_write_tail(
    struct snap_ctx *cx, struct frozen *z, const struct process *p);
bool heal_wipe_tail(struct frozen *z);
int heal_call_at(struct snap_ctx *cx, struct frozen *z, unsigned entry, long nr,
    const uint64_t args[6], int64_t *result);

/* heal_allowed.c */
int heal_choose_caller(struct snap_ctx *cx, struct frozen *z);
int heal_check_lists(struct snap_ctx *cx, struct frozen *z);

#endif
