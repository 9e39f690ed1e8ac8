#include "stubs.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "leftover.h"
#include "seccomp.h"
#include "stub_code.h"
#include "timed.h"
#include "vma.h"

/* Of what lies below the stack of a call a handler's frame is in this part. */
#define FRAMES (256u << 10)

/*
 * How far CLOCK_MONOTONIC and the clock of the scheduler, by which we know when
 * a thread fell asleep, may run apart: a part in so many.
 */
#define DRIFT 2048

/* The last page of the vDSO, and the stubs in it. */
struct stubs {
	struct frozen *z;
	const struct process *p;
	uint64_t at;
	uint8_t page[STUB_PAGE];
	struct stub v[STUBS_MAX]; /* at 0: there is none */
};

/* ---- one stub, one thread ---- */

static bool
read_at(struct frozen *z, const struct user_regs_struct *r, struct stub *s)
{
	uint64_t at = r->rip / STUB_SIZE * STUB_SIZE;
	uint8_t bytes[STUB_SIZE];
	struct user_regs_struct home;

	return frozen_read(z, bytes, sizeof(bytes), at) &&
	       stub_read(s, bytes, at) && stub_leave(s, r, &home);
}

static bool
may_call(const struct frozen *z, const struct tracee *t,
    const struct user_regs_struct *r)
{
	return t->seccomp == 0 ||
	       (t->seccomp == SECCOMP_MODE_FILTER &&
		   filters_allow_elsewhere(&z->filters, t->filter, r));
}

/* It waits, and its registers are `home`: it is to go on in the stub. */
static int
go_on(struct frozen *z, struct tracee *t, struct stub *s,
    const struct user_regs_struct *home)
{
	uint64_t now = now_ns();
	struct user_regs_struct r = *home;

	stub_enter(s, now, &r);
	if (!may_call(z, t, &r))
		return 0;
	stub_settle(s, now);
	if (!frozen_write(z, s->at + STUB_LEFT, s->left, sizeof(s->left)))
		return -errno;
	t->regs = r;
	return tracee_setregs(t, &t->regs);
}

/* ---- the page ---- */

bool
stubs_may_lie_in(const struct vma *v)
{
	return v->kind == VMA_VDSO && v->prot == (PROT_READ | PROT_EXEC) &&
	       v->end - v->start >= STUB_PAGE;
}

static bool
open_page(struct stubs *x, struct frozen *z, const struct process *p)
{
	*x = (struct stubs){ .z = z, .p = p };
	for (size_t i = 0; i < p->nvmas; i++)
		if (stubs_may_lie_in(&p->vmas[i]))
			x->at = p->vmas[i].end - STUB_PAGE;
	if (x->at == 0 || !frozen_read(z, x->page, STUB_PAGE, x->at))
		return false;
	for (size_t k = 0; k < STUBS_MAX; k++) {
		size_t off = k * STUB_SIZE;

		if (!stub_read(&x->v[k], x->page + off, x->at + off))
			x->v[k].at = 0;
	}
	return true;
}

static bool
put(struct stubs *x, size_t k, const struct stub *s)
{
	uint8_t *bytes = x->page + k * STUB_SIZE;

	memset(bytes, 0, STUB_SIZE);
	if (s != NULL)
		stub_write(s, bytes);
	x->v[k] = s != NULL ? *s : (struct stub){ 0 };
	return frozen_write(x->z, x->at + k * STUB_SIZE, bytes, STUB_SIZE);
}

/* ---- whose are they? ---- */

static struct tracee *
owner(const struct stubs *x, const struct stub *s)
{
	for (size_t i = 0; i < x->z->n; i++)
		if (x->z->v[i].tid == s->tid)
			return &x->z->v[i];
	return NULL;
}

/* It has made the call, and no handler is between it and the stub. */
static bool
is_back(const struct stub *s, const struct tracee *t)
{
	return t->regs.rip == s->home && t->regs.rsp == s->rsp;
}

static bool
is_in(const struct stub *s, const struct tracee *t)
{
	return t->regs.rip - s->at < STUB_SIZE;
}

/* A thread of a process that has the same memory, by vfork(2) or clone(2)? */
static bool
shares_memory(pid_t tid, pid_t pid)
{
	return syscall(SYS_kcmp, tid, pid, KCMP_VM, 0, 0) <= 0 &&
	       errno != ESRCH;
}

/* Neither a thread nor a frame on a stack leads to it, as far as can be seen. */
static bool
is_unused(const struct stubs *x, const struct stub *s)
{
	struct region place = { s->at, STUB_SIZE, false };
	const struct leftovers l = { &place, 1 };
	const struct vma *v = vma_find(x->p, s->rsp);
	uint64_t below = s->rsp - FRAMES;

	errno = 0;
	if (x->z->astray ||
	    (owner(x, s) == NULL && shares_memory(s->tid, x->z->pid)))
		return false;
	for (size_t i = 0; i < x->z->n; i++)
		if (is_in(s, &x->z->v[i]) ||
		    leftovers_returns(x->z, x->p, x->z->v[i].regs.rsp, &l))
			return false;
	if (v == NULL)
		return true;
	if (s->rsp - v->start < FRAMES)
		below = v->start;
	return !leftovers_returns(x->z, x->p, below, &l);
}

/* A place for one of this thread: -1, there is none. */
static int
find_place(struct stubs *x, const struct tracee *t)
{
	int off;

	for (size_t k = 0; k < STUBS_MAX; k++)
		if (x->v[k].at != 0 && x->v[k].tid == t->tid &&
		    is_back(&x->v[k], t))
			return (int)k;
	off = stub_place(x->page);
	for (size_t k = 0; k < STUBS_MAX && off < 0; k++)
		if (x->v[k].at != 0 && is_unused(x, &x->v[k]) &&
		    put(x, k, NULL))
			off = stub_place(x->page);
	return off < 0 ? -1 : off / (int)STUB_SIZE;
}

/* Where a thread is back, and waits for no time, it is of no use any more. */
static void
wipe_left(struct stubs *x)
{
	for (size_t k = 0; k < STUBS_MAX; k++) {
		const struct stub *s = &x->v[k];
		const struct tracee *t = s->at != 0 ? owner(x, s) : NULL;

		if (t != NULL && is_back(s, t) && t->sample.until == 0)
			put(x, k, NULL);
	}
}

/* ---- into a stub, out of it ---- */

/* One that was in a stub when it was stopped; 0: it was not. */
static int
found_in(struct stubs *x, struct tracee *t)
{
	size_t k = (t->regs.rip - x->at) / STUB_SIZE;
	struct user_regs_struct home;
	struct stub *s;
	int err;

	if (k >= STUBS_MAX || x->v[k].at == 0)
		return 0;
	s = &x->v[k];
	if (!stub_leave(s, &t->regs, &home))
		return 1;
	if (stub_waits(&home, s->nr)) {
		t->sample.until = s->until;
		err = go_on(x->z, t, s, &home);
	} else {
		t->regs = home;
		err = tracee_setregs(t, &t->regs);
	}
	return err == 0 ? 1 : err;
}

/* When its time is over: 0, it has none, or nobody knows. */
static uint64_t
time_over(const struct stubs *x, struct tracee *t)
{
	const struct timed *timed = timed_find((long)t->regs.orig_rax);
	const struct calls_memory m = { frozen_read, x->z };
	const struct call_sample *sample = &t->sample;
	uint64_t whole, until;

	if (timed == NULL || !sample->valid ||
	    !stub_waits(&t->regs, timed->nr) ||
	    !timed_whole(timed, *timed_reg(timed, &t->regs), &m, &whole) ||
	    __builtin_add_overflow(
		sample->since + sample->slept / DRIFT, whole, &until))
		return 0;
	return until < INT64_MAX ? until : 0;
}

/* Is that instruction one that we know how to make elsewhere? */
static bool
made_by_syscall(struct frozen *z, const struct user_regs_struct *r)
{
	uint8_t insn[2];

	return frozen_read(z, insn, sizeof(insn), r->rip - sizeof(insn)) &&
	       insn[0] == 0x0f && insn[1] == 0x05;
}

static int
move(struct stubs *x, struct tracee *t)
{
	struct stub s = { .nr = (int)t->regs.orig_rax,
		.tid = t->tid,
		.home = t->regs.rip,
		.rsp = t->regs.rsp,
		.until = t->sample.until };
	struct user_regs_struct home = t->regs;
	int k;

	if (x->z->cancels || t->no_calls || t->away ||
	    !made_by_syscall(x->z, &home))
		return 0;
	k = find_place(x, t);
	if (k < 0)
		return 0;
	s.at = x->at + (uint64_t)k * STUB_SIZE;
	s.original = *timed_reg(timed_find(s.nr), &home);
	stub_settle(&s, now_ns());
	return put(x, (size_t)k, &s) ? go_on(x->z, t, &x->v[k], &home) : 0;
}

int
stubs_enter(struct frozen *z, const struct process *p)
{
	struct stubs x;
	bool page = open_page(&x, z, p);
	int err = 0;

	for (size_t i = 0; i < z->n && err >= 0; i++) {
		struct tracee *t = &z->v[i];

		err = page ? found_in(&x, t) : 0;
		if (err == 0)
			t->sample.until = time_over(&x, t);
	}
	if (!page || err < 0)
		return err < 0 ? err : 0;
	wipe_left(&x);
	err = 0;
	for (size_t i = 0; i < z->n && err == 0; i++)
		if (z->v[i].sample.until != 0 &&
		    z->v[i].regs.rip - x.at >= STUB_PAGE)
			err = move(&x, &z->v[i]);
	return err;
}

/* ---- the program's registers; letting go ---- */

void
stubs_home(
    struct frozen *z, const struct tracee *t, struct user_regs_struct *home)
{
	struct stub s;

	*home = t->regs;
	if (t->sample.until != 0 && read_at(z, &t->regs, &s))
		stub_leave(&s, &t->regs, home);
}

void
stubs_settle(struct frozen *z)
{
	for (size_t i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];
		struct user_regs_struct home;
		struct stub s;

		if (t->state == TRACEE_STOPPED && t->settled && !t->away &&
		    !t->went_home && timed_find((long)t->regs.orig_rax) &&
		    read_at(z, &t->regs, &s) &&
		    stub_leave(&s, &t->regs, &home) && stub_waits(&home, s.nr))
			go_on(z, t, &s, &home);
	}
}
