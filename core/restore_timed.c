#include "restore_timed.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "restore_tree.h"
#include "seccomp.h"
#include "stub_code.h"
#include "stubs.h"
#include "timed.h"

/* The last page of the image's vDSO, where ours lies now; 0: there is none. */
static uint64_t
read_page(const struct restore *r, uint8_t page[STUB_PAGE])
{
	struct iovec here = { page, STUB_PAGE }, there = { NULL, STUB_PAGE };
	uint64_t at = 0;

	for (size_t i = 0; i < r->p->nvmas; i++)
		if (stubs_may_lie_in(&r->p->vmas[i]))
			at = r->p->vmas[i].end - STUB_PAGE;
	there.iov_base = (void *)(uintptr_t)at;
	return process_vm_readv(r->pid, &here, 1, &there, 1, 0) == STUB_PAGE
		   ? at
		   : 0;
}

static bool
write_stub(pid_t tid, const struct stub *s)
{
	uint64_t word[STUB_SIZE / sizeof(uint64_t)];

	stub_write(s, (uint8_t *)word);
	for (size_t i = 0; i < STUB_SIZE / sizeof(*word); i++)
		if (ptrace(PTRACE_POKETEXT, tid, s->at + i * sizeof(*word),
			word[i]) < 0)
			return false;
	return true;
}

/* See frozen->cancels. */
static bool
is_cancelled(const struct process *p)
{
	uint64_t handler = p->actions[STUBS_SIGCANCEL - 1].handler;

	return handler != (uintptr_t)SIG_DFL && handler != (uintptr_t)SIG_IGN;
}

static uint64_t
time_over(uint64_t now, uint64_t left)
{
	uint64_t until = now + left;

	return until < INT64_MAX ? until : INT64_MAX;
}

void
restore_timed(
    struct restore *r, size_t i, pid_t tid, struct user_regs_struct *u)
{
	const struct thread *t = &r->p->threads[i];
	const struct timed *timed = timed_find(t->restart.nr);
	struct user_regs_struct home = *u, there;
	uint64_t now = now_ns(), at;
	uint8_t page[STUB_PAGE];
	struct stub s;
	int off;

	stub_wait(&home, t->restart.nr);
	*u = there = home;
	s = (struct stub){ .nr = t->restart.nr,
		.tid = tid,
		.original = *timed_reg(timed, &home),
		.home = home.rip,
		.rsp = home.rsp,
		.until = time_over(now, t->restart.left_ns) };
	if (!t->restart.has_timeout || !timed_ends(timed, s.original) ||
	    is_cancelled(r->p))
		return;
	at = read_page(r, page);
	off = at != 0 ? stub_place(page) : -1;
	if (off < 0)
		return;
	s.at = at + (uint64_t)off;
	stub_settle(&s, now);
	stub_enter(&s, now, &there);
	if (filters_allow_elsewhere(&r->p->filters, t->filter, &there) &&
	    write_stub(tid, &s))
		*u = there;
}
