/*
 * heal_tail.c - the code in the tail, and one call from there.
 */
#include "heal_area.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

#include "calls.h"
#include "ctx.h"

/*
 * The first address of the zero bytes that end a page of code, if there is
 * room.  First, not last: what lies before it may be another's code that is
 * still wanted.
 */
static int
zero_tail(struct frozen *z, const struct vma *v, uint64_t *at)
{
	uint64_t page[HEAL_PAGE / 8];
	size_t n = HEAL_PAGE / 8;

	if (!frozen_read(z, page, HEAL_PAGE, v->end - HEAL_PAGE))
		return -EFAULT;
	while (n > 0 && page[n - 1] == 0)
		n--;
	n = heal_align(n * 8, 16) + 16;
	if (n + HEAL_BLOCK_SIZE <= HEAL_PAGE)
		*at = v->end - HEAL_PAGE + n;
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

void
heal_way_home(const struct tracee *t, uint8_t out[HEAL_BLOCK_SIZE], uint64_t at,
    uint64_t area)
{
	struct user_regs_struct home;

	calls_by_hand(&home, &t->regs);
	heal_code_block(out, at, area, &home, t->sigmask);
}

int
heal_write_tail(struct snap_ctx *cx, struct frozen *z, const struct process *p)
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
	heal_way_home(heal_thread(z), code, at, z->heal->size);
	z->heal->tail = at;
	if (!frozen_write(z, at, code, sizeof(code)))
		return snap_fail(cx, -errno,
		    "process %d: cannot write to its code: %s", (int)z->pid,
		    strerror(errno));
	return 0;
}

/* Nobody is in it any more. */
bool
heal_wipe_tail(struct frozen *z)
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
int
heal_call_at(struct snap_ctx *cx, struct frozen *z, unsigned entry, long nr,
    const uint64_t args[6], int64_t *result)
{
	struct heal *h = z->heal;
	struct tracee *t = heal_thread(z);
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
	return heal_call_at(cx, z, HEAL_ENTRY_CALL, nr, args, result);
}
