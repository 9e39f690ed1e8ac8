#include "heal.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze_seccomp.h"
#include "leftover.h"
#include "syscalls.h"

#define PAGE 4096u

/* What clearing up may take when the freeze has taken too long already. */
#define CLEARING_NS 50000000u

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

/* The part of the scratch area that is one thread's; offsets into it. */
struct list {
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
	size_t done;	    /* offset of what the threads say, 32 bits each */
	struct list *lists; /* one a thread */
};

static size_t
align(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static struct tracee *
caller(const struct frozen *z)
{
	return &z->v[z->heal->caller];
}

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

/* ---- the tail ---- */

/*
 * The first address of the zero bytes that end a page of code, if there is
 * room.  First, not last: what lies before it may be another's code that is
 * still wanted.
 */
static int
zero_tail(struct frozen *z, const struct vma *v, uint64_t *at)
{
	uint64_t page[PAGE / 8];
	size_t n = PAGE / 8;

	if (!frozen_read(z, page, PAGE, v->end - PAGE))
		return -EFAULT;
	while (n > 0 && page[n - 1] == 0)
		n--;
	n = align(n * 8, 16) + 16;
	if (n + HEAL_BLOCK_SIZE <= PAGE)
		*at = v->end - PAGE + n;
	return 0;
}

bool
heal_is_code(const struct vma *v)
{
	return v->kind == VMA_FILE && !v->shared &&
	       v->prot == (PROT_READ | PROT_EXEC);
}

/* Where the vDSO has no room, or there is none, the first that has. */
static int
find_tail(struct frozen *z, const struct process *p, uint64_t *at)
{
	int err = 0;

	*at = 0;
	for (size_t i = 0; i < p->nvmas && *at == 0 && err == 0; i++)
		if (p->vmas[i].kind == VMA_VDSO)
			err = zero_tail(z, &p->vmas[i], at);
	/* A file may have lost its end. */
	for (size_t i = 0; i < p->nvmas && *at == 0 && err == 0; i++)
		if (heal_is_code(&p->vmas[i]))
			zero_tail(z, &p->vmas[i], at);
	return err;
}

static void
way_home(const struct tracee *t, uint8_t out[HEAL_BLOCK_SIZE], uint64_t at,
    uint64_t area)
{
	struct user_regs_struct home;

	calls_by_hand(&home, &t->regs);
	heal_code_block(out, at, area, &home, t->sigmask);
}

static int
write_tail(struct snap_ctx *cx, struct frozen *z, const struct process *p)
{
	uint8_t code[HEAL_BLOCK_SIZE];
	uint64_t at;
	int err = find_tail(z, p, &at);

	if (err != 0)
		return snap_fail(cx, err, "process %d: look at its code: %s",
		    (int)z->pid, strerror(-err));
	if (at == 0)
		return snap_fail(cx, -ENOTSUP,
		    "process %d: no room for code that heals itself: neither "
		    "in a vDSO nor at the end of other code",
		    (int)z->pid);
	way_home(caller(z), code, at, z->heal->size);
	z->heal->tail = at;
	if (!frozen_write(z, at, code, sizeof(code)))
		return snap_fail(cx, -errno,
		    "process %d: cannot write to its code: %s", (int)z->pid,
		    strerror(errno));
	return 0;
}

/* Nobody is in it any more. */
static bool
wipe_tail(struct frozen *z)
{
	static const uint8_t zeros[HEAL_BLOCK_SIZE];
	bool ok = true;

	if (z->heal->tail != 0)
		ok = frozen_write(z, z->heal->tail, zeros, sizeof(zeros));
	z->heal->tail = 0;
	return ok;
}

/* ---- one call ---- */

/* Resume until the thread is about to make its call. */
static int
run_to_call(struct frozen *z, struct tracee *t)
{
	int err, sig = 0;

	for (;;) {
		err = tracee_resume(t, PTRACE_SYSCALL, sig);
		if (err == 0)
			err = tracee_wait(t, z->deadline);
		if (err != 0)
			return err;
		if (t->stop == (SIGTRAP | 0x80))
			return 0;
		sig = tracee_signal(t);
	}
}

/*
 * Stop at the entry of the call, interrupt the thread there, and let it go:
 * what is called here is not disturbed by that, and the next stop is the one
 * after the call from which registers can be set for good.
 */
static int
call_at(struct snap_ctx *cx, struct frozen *z, unsigned entry, long nr,
    const uint64_t args[6], int64_t *result)
{
	struct heal *h = z->heal;
	struct tracee *t = caller(z);
	struct user_regs_struct r;
	int err;

	heal_code_enter_call(&r, &t->regs, h->tail + entry, nr, args);
	err = tracee_options(t, PTRACE_O_TRACESYSGOOD);
	if (err == 0)
		err = tracee_move(t, &r);
	if (err == 0)
		err = run_to_call(z, t);
	if (err == 0)
		err = tracee_interrupt(t);
	if (err == 0)
		err = tracee_resume(t, PTRACE_CONT, 0);
	if (err == 0)
		err = tracee_wait_interrupted(t, z->deadline);
	if (err == 0)
		err = tracee_getregs(t, &r);
	if (err == 0 && r.rip != h->tail + entry + HEAL_SYSCALL_SIZE)
		err = -EPROTO;
	if (err != 0)
		return snap_fail(cx, err, "process %d: call %ld in it: %s",
		    (int)z->pid, nr, strerror(-err));
	*result = (int64_t)r.rax;
	return 0;
}

int
heal_call(struct snap_ctx *cx, struct frozen *z, long nr,
    const uint64_t args[6], int64_t *result)
{
	return call_at(cx, z, HEAL_ENTRY_CALL, nr, args, result);
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
	h->done = align(at, 64);
	at = align(h->done + z->n * sizeof(uint32_t), 64);
	for (size_t i = 0; i < z->n; i++) {
		struct list *l = &h->lists[i];
		bool extra = i == h->caller;

		l->slot = at;
		l->home = l->slot + align(sizeof(struct heal_slot), 16);
		l->records = l->home + HEAL_BLOCK_SIZE;
		l->data = l->records +
			  (room->records + (extra ? room->caller_records : 0)) *
			      sizeof(struct heal_record);
		l->end = l->data + room->data + (extra ? room->caller_data : 0);
		at = l->end = align(l->end, 16);
	}
	h->size = align(at, PAGE);
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

	err = call_at(cx, z, HEAL_ENTRY_MAP, SYS_mmap, args, &at);
	if (err != 0) {
		/*
		 * There may be an area now, and only the code itself, when it
		 * goes on, makes it known to the next who comes.
		 */
		caller(z)->away = false;
		h->tail = 0;
		return err;
	}
	if (at < 0 && at >= -4095)
		return snap_fail(cx, -ENOTSUP,
		    "process %d: it may not map %zu bytes of memory for our "
		    "calls: %s",
		    (int)z->pid, h->size, strerror((int)-at));
	h->scratch = (uint64_t)at;
	return 0;
}

/* ---- what its filters let pass ---- */

/* What the code itself calls in every thread, and in the caller. */
static const struct heal_record codes_calls[] = {
	{ SYS_rt_sigprocmask, { SIG_SETMASK, 0, 0, sizeof(uint64_t) } },
	{ SYS_ppoll, { 0, 0, 0, 0, sizeof(uint64_t) } },
	{ SYS_mmap, { 0, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_SHARED | MAP_ANONYMOUS, (uint64_t)-1, 0 } },
	{ SYS_munmap, { 0, PAGE } },
	{ SYS_clone, { CLONE_VM | CLONE_FS | CLONE_FILES } },
	{ SYS_clone, { CLONE_FILES } },
	{ SYS_wait4, { 1, 0, __WALL } },
	{ SYS_exit_group, { 0 } },
	{ SYS_prctl, { PR_SET_NAME } },
};
#define OF_EVERY_THREAD 2

/* The first call of some that it may not make, or NULL. */
static const struct heal_record *
forbidden(const struct frozen *z, size_t thread, const struct heal_record *v,
    size_t n)
{
	const struct tracee *t = &z->v[thread];

	for (size_t i = 0; i < n; i++)
		if (!freeze_seccomp_allows(z, t, (long)v[i].nr, v[i].args))
			return &v[i];
	return NULL;
}

static int
not_allowed(struct snap_ctx *cx, const struct frozen *z, size_t i, uint64_t nr)
{
	if (z->v[i].seccomp == SECCOMP_MODE_STRICT)
		return snap_fail(cx, -ENOTSUP,
		    "process %d: it is in seccomp's strict mode, in which no "
		    "call can be made in it",
		    (int)z->pid);
	return snap_fail(cx, -ENOTSUP,
	    "process %d: its seccomp filter does not let %s pass, a call that "
	    "must be made in it",
	    (int)z->pid, syscall_name((long)nr));
}

/* Is there anything in the lists that a thread may not do?  Then it does none. */
static int
check_lists(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;

	for (size_t i = 0; i < z->n; i++) {
		const struct list *l = &h->lists[i];
		const struct heal_record *r;

		if (z->v[i].no_calls || z->v[i].seccomp == 0)
			continue;
		r = forbidden(
		    z, i, (const void *)(h->shadow + l->records), l->nrecords);
		if (r != NULL && i == h->caller)
			return not_allowed(cx, z, i, r->nr);
		z->v[i].no_calls = r != NULL;
	}
	return 0;
}

/* System calls must be ours to make in some thread. */
static int
choose_caller(struct snap_ctx *cx, struct frozen *z)
{
	const size_t n = sizeof(codes_calls) / sizeof(codes_calls[0]);
	struct heal *h = z->heal;
	const struct heal_record *r, *first = NULL;
	size_t i, filtered = z->n;

	for (i = z->n; i-- > 0;) {
		struct tracee *t = &z->v[i];

		if (t->no_calls || t->seccomp == 0)
			continue;
		t->no_calls =
		    forbidden(z, i, codes_calls, OF_EVERY_THREAD) != NULL;
		h->children = PTRACE_O_SUSPEND_SECCOMP;
	}
	for (i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];

		r = forbidden(z, i, codes_calls, n);
		if (!t->no_calls && r == NULL)
			break;
		if (r != NULL && first == NULL) {
			first = r;
			filtered = i;
		}
	}
	h->caller = i;
	if (i < z->n)
		return 0;
	if (first != NULL)
		return not_allowed(cx, z, filtered, first->nr);
	return snap_fail(cx, -ENOTSUP,
	    "process %d: all of its system calls are redirected "
	    "(syscall user dispatch)",
	    (int)z->pid);
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
	return write_tail(cx, z, p);
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
	err = choose_caller(cx, z);
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

uint64_t
heal_address(const struct frozen *z, const uint8_t *code)
{
	return z->heal->scratch + HEAL_HEAD_SIZE + (uint64_t)(code - heal_code);
}

/* ---- lists ---- */

uint64_t
heal_data(struct frozen *z, size_t i, size_t size)
{
	struct list *l = &z->heal->lists[i];
	size_t at = l->data + l->data_used;

	size = align(size, 16);
	if (at + size > l->end)
		abort(); /* the room asked for in heal_open() was too small */
	l->data_used += size;
	return z->heal->scratch + at;
}

size_t
heal_add(struct frozen *z, size_t i, long nr, uint64_t a0, uint64_t a1,
    uint64_t a2, uint64_t a3, uint64_t a4)
{
	struct list *l = &z->heal->lists[i];
	struct heal_record rec = { nr, { a0, a1, a2, a3, a4, 0 } };
	size_t at = l->records + l->nrecords * sizeof(rec);

	if (at + sizeof(rec) > l->data)
		abort(); /* likewise */
	memcpy(z->heal->shadow + at, &rec, sizeof(rec));
	return l->nrecords++;
}

int64_t
heal_result(const struct frozen *z, size_t i, size_t record)
{
	struct heal_record rec;

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

/* ---- running ---- */

static void
fresh_slot(struct heal *h, size_t i)
{
	memset(h->shadow + h->lists[i].slot, 0, sizeof(struct heal_slot));
	memset(h->shadow + h->done + i * sizeof(uint32_t), 0, sizeof(uint32_t));
}

static uint32_t
said(const struct heal *h, size_t i)
{
	uint32_t v;

	memcpy(&v, h->shadow + h->done + i * sizeof(v), sizeof(v));
	return v;
}

static int
enter(struct frozen *z, size_t i, const uint8_t *code)
{
	struct heal *h = z->heal;
	struct list *l = &h->lists[i];
	struct tracee *t = &z->v[i];
	struct user_regs_struct r;
	int err;

	heal_code_enter(&r, &t->regs, heal_address(z, code),
	    h->scratch + l->records, l->nrecords, h->scratch + l->slot,
	    h->scratch + h->done + i * sizeof(uint32_t), h->scratch + l->home);
	err = tracee_move(t, &r);
	return err == 0 ? tracee_resume(t, PTRACE_CONT, 0) : err;
}

int
heal_start(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;
	const struct heal_head head = { .magic = HEAL_MAGIC, .size = h->size };
	struct hurry hurry;
	int err = 0;

	memcpy(h->shadow, &head, sizeof(head));
	memcpy(h->shadow + HEAL_HEAD_SIZE, heal_code,
	    (size_t)(heal_code_end - heal_code));
	for (size_t i = 0; i < z->n; i++) {
		struct list *l = &h->lists[i];

		fresh_slot(h, i);
		way_home(
		    &z->v[i], h->shadow + l->home, h->scratch + l->home, false);
	}
	if (!frozen_write(z, h->scratch, h->shadow, h->size))
		return snap_fail(cx, -errno, "process %d: write to it: %s",
		    (int)z->pid, strerror(errno));
	err = check_lists(cx, z);
	if (err != 0)
		return err;
	hurry_begin(&hurry);
	for (size_t i = 0; i < z->n && err == 0; i++)
		if (!z->v[i].no_calls)
			err = enter(z, i, heal_code_calls);
	hurry_end(&hurry);
	if (err != 0)
		return snap_fail(cx, err, "process %d: calls in it: %s",
		    (int)z->pid, strerror(-err));
	return 0;
}

/* Of threads [from, to) that are away: how many have not said a word? */
static int
look(struct frozen *z, size_t from, size_t to, size_t *silent)
{
	struct heal *h = z->heal;
	size_t at = h->done + from * sizeof(uint32_t);

	if (!frozen_read(z, h->shadow + at, (to - from) * sizeof(uint32_t),
		h->scratch + at))
		return -ESRCH;
	*silent = 0;
	for (size_t i = from; i < to; i++)
		*silent += z->v[i].away && said(h, i) == 0;
	return 0;
}

/*
 * One that is stopped although nobody asked: for SIGSTOP, which is passed on,
 * or by an interruption that was still due.
 */
static int
push(struct tracee *t)
{
	int err;

	err = tracee_poll(t);
	if (err == 0 && t->state == TRACEE_STOPPED)
		err = tracee_resume(t, PTRACE_CONT, tracee_signal(t));
	return err;
}

/* Wait until they have said that they are done. */
static int
wait_done(struct frozen *z, size_t from, size_t to)
{
	unsigned naps = 0;
	size_t silent;
	int err;

	for (;;) {
		err = look(z, from, to, &silent);
		if (err != 0 || silent == 0)
			return err;
		for (size_t i = from; i < to && err == 0; i++)
			if (z->v[i].away && said(z->heal, i) == 0)
				err = push(&z->v[i]);
		if (err == 0 && now_ns() > z->deadline)
			err = -ETIMEDOUT;
		if (err != 0)
			return err;
		nap(&naps);
	}
}

/*
 * It waited so long for us that it went home, and came to its end there; or
 * the whole process did, which shows when the checkpoint is taken again.
 */
static int
ended_at_home(struct tracee *t)
{
	t->away = false;
	return -EAGAIN;
}

/* Stop them where they wait for us. */
static int
stop_parked(struct frozen *z, size_t from, size_t to)
{
	int err = 0, err1;

	for (size_t i = from; i < to; i++)
		if (z->v[i].away)
			tracee_interrupt(&z->v[i]);
	for (size_t i = from; i < to; i++)
		if (z->v[i].away) {
			err1 = tracee_wait_interrupted(&z->v[i], z->deadline);
			if (err1 == -ESRCH)
				err1 = ended_at_home(&z->v[i]);
			err = err == 0 ? err1 : err;
		}
	return err;
}

/*
 * All are stopped: have the answers.  One that has waited for too long may be
 * home already, and have run since then: it is left alone, and the checkpoint
 * has to be taken again.  While it is still in our code it has not.
 */
static int
have_answers(struct frozen *z)
{
	struct heal *h = z->heal;
	int err = 0;

	if (!frozen_read(z, h->shadow, h->size, h->scratch))
		return -ESRCH;
	for (size_t i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];

		if (!t->away || said(h, i) != HEAL_LEFT ||
		    heal_contains_thread(z, t))
			continue;
		t->away = t->settled = false;
		t->went_home = true;
		err = -EAGAIN;
	}
	return err;
}

/* EAGAIN is no failure yet. */
static int
calls_failed(struct snap_ctx *cx, const struct frozen *z, int err)
{
	if (err == -EAGAIN)
		return err;
	return snap_fail(cx, err, "process %d: calls in it: %s", (int)z->pid,
	    strerror(-err));
}

/*
 * For the case of our death: threads that were stopped where they nap need not
 * wait for us any more; and if the area is busy, they nap until it is not.
 */
static int
set_head(struct frozen *z, uint64_t busy)
{
	const struct heal_head head = { .busy = busy,
		.nap = { 0, HEAL_NAP_STOPPED_NS } };

	return frozen_write(z, z->heal->scratch + HEAL_BUSY, &head.busy,
		   HEAL_HEAD_SIZE - HEAL_BUSY)
		   ? 0
		   : -errno;
}

int
heal_finish(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;
	int err;

	err = wait_done(z, 0, z->n);
	if (err == 0)
		err = stop_parked(z, 0, z->n);
	if (err == 0)
		err = set_head(z, 0);
	if (err == 0)
		err = have_answers(z);
	if (err != 0)
		return calls_failed(cx, z, err);
	for (size_t i = 0; i < z->n; i++)
		h->lists[i].nrecords = h->lists[i].data_used = 0;
	return 0;
}

int
heal_enter(struct snap_ctx *cx, struct frozen *z, const uint8_t *code,
    const struct heal_slot *names)
{
	struct heal *h = z->heal;
	size_t i = h->caller, slot = h->lists[i].slot;
	size_t done = h->done + i * sizeof(uint32_t);
	struct heal_slot fresh;
	int err = 0;

	fresh_slot(h, i);
	memcpy(&fresh, h->shadow + slot, sizeof(fresh));
	memcpy(fresh.name, names->name, sizeof(fresh.name));
	memcpy(fresh.old_name, names->old_name, sizeof(fresh.old_name));
	memcpy(h->shadow + slot, &fresh, sizeof(fresh));
	if (!frozen_write(z, h->scratch + slot, h->shadow + slot,
		sizeof(struct heal_slot)) ||
	    !frozen_write(
		z, h->scratch + done, h->shadow + done, sizeof(uint32_t)))
		err = -errno;
	if (err == 0 && code == heal_code_twin)
		err = set_head(z, h->scratch + slot);
	if (err == 0)
		err = tracee_options(caller(z), PTRACE_O_TRACECLONE);
	if (err == 0)
		err = enter(z, i, code);
	if (err != 0)
		return snap_fail(cx, err, "process %d: calls in it: %s",
		    (int)z->pid, strerror(-err));
	return 0;
}

int
heal_event(struct snap_ctx *cx, struct frozen *z, int event, pid_t *child)
{
	size_t i = z->heal->caller, silent;
	struct tracee *t = &z->v[i];
	unsigned naps = 0;
	unsigned long msg;
	int err;

	for (;;) {
		err = look(z, i, i + 1, &silent);
		if (err == 0)
			err = tracee_poll(t);
		if (err == 0 && t->state == TRACEE_STOPPED) {
			if (t->stop == (SIGTRAP | event << 8))
				break;
			err = tracee_resume(t, PTRACE_CONT, tracee_signal(t));
		}
		if (err == 0 && silent == 0)
			return 0;
		if (err == 0 && now_ns() > z->deadline)
			err = -ETIMEDOUT;
		if (err != 0)
			return snap_fail(cx, err, "process %d: calls in it: %s",
			    (int)z->pid, strerror(-err));
		nap(&naps);
	}
	if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &msg) < 0)
		return snap_fail(cx, -errno, "process %d is gone", (int)z->pid);
	*child = (pid_t)msg;
	return 1;
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
heal_leave(struct snap_ctx *cx, struct frozen *z, struct heal_slot *slot)
{
	struct heal *h = z->heal;
	size_t i = h->caller;
	int err;

	err = wait_done(z, i, i + 1);
	if (err == 0)
		err = stop_parked(z, i, i + 1);
	if (err == 0)
		err = set_head(z, 0);
	if (err == 0)
		err = have_answers(z);
	if (err == 0)
		err = others_home(z);
	if (err != 0)
		return calls_failed(cx, z, err);
	memcpy(slot, h->shadow + h->lists[i].slot, sizeof(*slot));
	return 0;
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

int
heal_close(struct snap_ctx *cx, struct frozen *z)
{
	int err;

	/* They may be in what is unmapped. */
	err = others_home(z);
	if (err == 0)
		err = unmap_scratch(cx, z);
	if (err == 0)
		err = tracee_home(caller(z));
	if (err == 0 && !wipe_tail(z))
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
	if (empty && h->tail != 0 && caller(z)->state == TRACEE_STOPPED &&
	    (h->scratch == 0 || unmap_scratch(cx, z) == 0)) {
		tracee_home(caller(z));
		wipe_tail(z);
	}
	free(h->lists);
	free(h->shadow);
	free(h);
	z->heal = NULL;
}
