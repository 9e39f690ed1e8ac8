#include "heal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "ctx.h"
#include "freeze_seccomp.h"
#include "heal_area.h"
#include "leftover.h"
#include "stubs.h"

/* What clearing up may take when the freeze has taken too long already. */
#define CLEARING_NS 50000000u

size_t
heal_caller(const struct frozen *z)
{
	return z->heal->caller;
}

bool
heal_contains_thread(const struct frozen *z, const struct tracee *t)
{
	const struct heal *h = z->heal;
	struct user_regs_struct r;

	if (h == NULL || tracee_getregs(t, &r) != 0)
		return false;
	return (h->tail != 0 && r.rip - h->tail < HEAL_BLOCK_SIZE) ||
	       (h->scratch != 0 && r.rip - h->scratch < h->size);
}

/* ---- the scratch area ---- */

static int
lay_out(struct frozen *z, const struct heal_room *room)
{
	static const struct heal_room none;
	struct heal *h = z->heal;
	size_t at = HEAL_HEAD_SIZE + (size_t)(heal_code_end - heal_code);

	h->lists = calloc(z->n, sizeof(*h->lists));
	if (h->lists == NULL)
		return -ENOMEM;
	if (room == NULL)
		room = &none;
	h->done = heal_align(at, 64);
	at = heal_align(h->done + z->n * sizeof(uint32_t), 64);
	for (size_t i = 0; i < z->n; i++) {
		struct heal_list *l = &h->lists[i];
		bool extra = i == h->caller;

		l->slot = at;
		l->home = l->slot + heal_align(sizeof(struct heal_slot), 16);
		l->records = l->home + HEAL_BLOCK_SIZE;
		l->data = l->records +
			  (room->records + (extra ? room->caller_records : 0)) *
			      sizeof(struct heal_record);
		l->end = l->data + room->data + (extra ? room->caller_data : 0);
		at = l->end = heal_align(l->end, 16);
	}
	h->size = heal_align(at, HEAL_PAGE);
	h->shadow = calloc(1, h->size);
	return h->shadow == NULL ? -ENOMEM : 0;
}

/*
 * Shared, so that it never becomes one with a neighbour and no copy of it is
 * made when the process is forked.
 */
static int
map_scratch(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;
	const uint64_t args[6] = { 0, h->size,
		PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS,
		(uint64_t)-1, 0 };
	int64_t at;
	int err;

	err = heal_call_at(cx, z, HEAL_ENTRY_MAP, SYS_mmap, args, &at);
	if (err != 0) {
		/*
		 * There may be an area now, and only the code itself, when it
		 * goes on, makes it known to the next who comes.
		 */
		heal_thread(z)->away = false;
		h->tail = 0;
		return err;
	}
	if (at == -EACCES)
		return snap_fail(cx, -ENOTSUP,
		    "process %d: it has forbidden itself memory that can be "
		    "written and run (PR_SET_MDWE), which our calls need",
		    (int)z->pid);
	if (at < 0 && at >= -4095)
		return snap_fail(cx, -ENOTSUP,
		    "process %d: it may not map %zu bytes of memory for our "
		    "calls: %s",
		    (int)z->pid, h->size, strerror((int)-at));
	h->scratch = (uint64_t)at;
	return 0;
}

/*
 * The caller and the room, then what others left, then the tail, from which
 * calls can be made.
 */
static int
open_tail(struct snap_ctx *cx, struct frozen *z, const struct process *p,
    struct leftovers *l)
{
	int err;

	err = leftovers_find(z, p, l);
	if (err == 0)
		err = leftovers_go_home(z, l);
	if (err == 0)
		err = leftovers_check(z, p, l);
	if (err != 0)
		return snap_fail(
		    cx, err, "process %d: %s", (int)z->pid, strerror(-err));
	leftovers_wipe(z, l);
	err = stubs_enter(z, p);
	if (err != 0)
		return snap_fail(cx, err,
		    "process %d: calls with a time-out: %s", (int)z->pid,
		    strerror(-err));
	return heal_write_tail(cx, z, p);
}

int
heal_open(struct snap_ctx *cx, struct frozen *z, struct process *p,
    const struct heal_room *room)
{
	struct leftovers l = { 0 };
	int err;

	z->heal = calloc(1, sizeof(*z->heal));
	if (z->heal == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	err = heal_choose_caller(cx, z);
	if (err == 0 && lay_out(z, room) != 0)
		err = snap_fail(cx, -ENOMEM, "no memory");
	if (err == 0)
		err = open_tail(cx, z, p, &l);
	if (err == 0)
		err = leftovers_unmap(cx, z, &l, p);
	leftovers_free(&l);
	if (err == 0 && room != NULL)
		err = map_scratch(cx, z);
	return err;
}

unsigned
heal_options(const struct frozen *z)
{
	return z->heal->children;
}

void
heal_scratch(const struct frozen *z, uint64_t *addr, uint64_t *size)
{
	*addr = z->heal->scratch;
	*size = z->heal->size;
}

void
heal_spare(const struct frozen *z, uint64_t *addr, uint64_t *size)
{
	const struct heal_list *l = &z->heal->lists[z->heal->caller];

	*addr = z->heal->scratch + l->data;
	*size = l->end - l->data;
}

uint64_t
heal_address(const struct frozen *z, const uint8_t *code)
{
	return z->heal->scratch + HEAL_HEAD_SIZE + (uint64_t)(code - heal_code);
}

/* ---- lists ---- */

uint64_t
heal_data(struct frozen *z, size_t i, size_t size)
{
	struct heal_list *l = &z->heal->lists[i];
	size_t at = l->data + l->data_used;

	size = heal_align(size, 16);
	if (at + size > l->end)
		abort(); /* the room asked for in heal_open() was too small */
	l->data_used += size;
	return z->heal->scratch + at;
}

size_t
heal_add(struct frozen *z, size_t i, long nr, uint64_t a0, uint64_t a1,
    uint64_t a2, uint64_t a3, uint64_t a4)
{
	struct heal_list *l = &z->heal->lists[i];
	struct heal_record rec = { nr, { a0, a1, a2, a3, a4, 0 } };
	size_t at = l->records + l->nrecords * sizeof(rec);

	if (at + sizeof(rec) > l->data)
		abort(); /* likewise */
	memcpy(z->heal->shadow + at, &rec, sizeof(rec));
	return l->nrecords++;
}

size_t
heal_try(struct frozen *z, size_t i, long nr, uint64_t a0, uint64_t a1,
    uint64_t a2, uint64_t a3, uint64_t a4)
{
	const uint64_t args[6] = { a0, a1, a2, a3, a4 };

	if (!freeze_seccomp_allows(z, &z->v[i], nr, args))
		return HEAL_NONE;
	return heal_add(z, i, nr, a0, a1, a2, a3, a4);
}

int64_t
heal_result(const struct frozen *z, size_t i, size_t record)
{
	struct heal_record rec;

	if (record == HEAL_NONE)
		return -ENOSYS;
	memcpy(&rec,
	    z->heal->shadow + z->heal->lists[i].records + record * sizeof(rec),
	    sizeof(rec));
	return rec.nr;
}

void *
heal_answer(const struct frozen *z, uint64_t addr)
{
	return z->heal->shadow + (addr - z->heal->scratch);
}

/* ---- the end ---- */

static int
unmap_scratch(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;
	const uint64_t args[6] = { h->scratch, h->size };
	int64_t result;
	int err;

	if (h->scratch == 0)
		return 0;
	err = heal_call(cx, z, SYS_munmap, args, &result);
	if (err == 0)
		err = (int)result;
	if (err == 0)
		h->scratch = 0;
	return err;
}

/* All but the caller. */
static int
others_home(struct frozen *z)
{
	int err = 0;

	for (size_t i = 0; i < z->n && err == 0; i++)
		if (i != z->heal->caller)
			err = tracee_home(&z->v[i]);
	return err;
}

int
heal_close(struct snap_ctx *cx, struct frozen *z)
{
	int err;

	/* They may be in what is unmapped. */
	err = others_home(z);
	if (err == 0)
		err = unmap_scratch(cx, z);
	if (err == 0)
		err = tracee_home(heal_thread(z));
	if (err == 0 && !heal_wipe_tail(z))
		err = -errno;
	if (err != 0)
		return snap_fail(cx, err, "process %d: clearing up: %s",
		    (int)z->pid, strerror(-err));
	return 0;
}

/*
 * One that has waited for too long has gone home and run since then: the
 * registers that it had would take it back in time.
 */
static void
left_meanwhile(const struct frozen *z, struct tracee *t)
{
	if (t->state != TRACEE_STOPPED || !t->away ||
	    heal_contains_thread(z, t))
		return;
	t->away = t->settled = false;
	t->went_home = true;
}

/*
 * Threads that are stopped go home first; the scratch area is unmapped only
 * if nobody runs in it, nor may come back to it.  What cannot be cleared up is
 * left: it harms nobody, and the next checkpoint takes it away.
 */
void
heal_abandon(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;
	bool empty = true;

	if (h == NULL)
		return;
	if (z->deadline < now_ns() + CLEARING_NS)
		z->deadline = now_ns() + CLEARING_NS;
	for (size_t i = 0; i < z->n; i++) {
		left_meanwhile(z, &z->v[i]);
		if (z->v[i].state == TRACEE_STOPPED)
			tracee_home(&z->v[i]);
		empty &= !z->v[i].away && !z->v[i].went_home;
	}
	if (empty && h->tail != 0 && heal_thread(z)->state == TRACEE_STOPPED &&
	    (h->scratch == 0 || unmap_scratch(cx, z) == 0)) {
		tracee_home(heal_thread(z));
		heal_wipe_tail(z);
	}
	free(h->lists);
	free(h->shadow);
	free(h);
	z->heal = NULL;
}
