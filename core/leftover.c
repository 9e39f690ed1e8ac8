#include "leftover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "filling.h"
#include "heal.h"
#include "vma.h"

#define PAGE 4096u

/* A way home may lead to another, if tracers were killed in quick succession.
 */
#define MAX_HOPS 16

/* How much of a stack is searched, from its top on. */
#define STACK_SEARCH (256u << 10)
#define STACK_PAGES (STACK_SEARCH / PAGE + 2)

#define USER64_CS 0x33
#define FRAME (2 * sizeof(uint64_t)) /* from rip to cs */

/* ---- finding ---- */

static int
add(struct leftovers *l, uint64_t start, uint64_t size, bool scratch)
{
	struct region *r = process_grow(&l->v, &l->n, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	*r = (struct region){ start, size, scratch };
	return 0;
}

static bool
is_scratch(struct frozen *z, const struct vma *v)
{
	uint64_t head[2];

	return v->shared && v->kind == VMA_SHARED_ANON &&
	       v->prot == (PROT_READ | PROT_WRITE | PROT_EXEC) &&
	       frozen_read(z, head, sizeof(head), v->start) &&
	       head[0] == HEAL_MAGIC && head[1] == v->end - v->start;
}

/* Blocks end with the magic number, and lie at multiples of 16. */
static int
find_blocks(struct frozen *z, uint64_t addr, struct leftovers *l)
{
	uint64_t page[PAGE / 8];
	size_t last = HEAL_BLOCK_SIZE / 8 - 1;
	int err = 0;

	if (!frozen_read(z, page, PAGE, addr))
		return 0;
	for (size_t i = 0; i + last < PAGE / 8 && err == 0; i += 2)
		if (page[i + last] == HEAL_MAGIC)
			err = add(l, addr + i * 8, HEAL_BLOCK_SIZE, false);
	return err;
}

static int
find_all(struct frozen *z, const struct process *p, struct leftovers *l)
{
	bool vdso = false;
	int err = 0;

	for (size_t i = 0; i < p->nvmas && err == 0; i++) {
		const struct vma *v = &p->vmas[i];

		if (is_scratch(z, v))
			err = add(l, v->start, v->end - v->start, true);
		else if (v->kind == VMA_VDSO)
			err = find_blocks(z, v->end - PAGE, l);
		vdso |= v->kind == VMA_VDSO;
	}
	for (size_t i = 0; i < p->nvmas && err == 0 && !vdso; i++)
		if (heal_is_code(&p->vmas[i]))
			err = find_blocks(z, p->vmas[i].end - PAGE, l);
	return err;
}

/* ---- the way home ---- */

static const struct region *
region_of(const struct leftovers *l, uint64_t addr)
{
	for (size_t i = 0; i < l->n; i++)
		if (addr - l->v[i].start < l->v[i].size)
			return &l->v[i];
	return NULL;
}

/* The block in a scratch area that has `rip` in it, 0: none. */
static uint64_t
find_block(struct frozen *z, const struct region *g, uint64_t rip)
{
	uint64_t at = (rip & ~15ull), magic;

	for (size_t n = 0; n < HEAL_BLOCK_SIZE && at >= g->start;
	     n += 16, at -= 16)
		if (frozen_read(z, &magic, sizeof(magic),
			at + HEAL_BLOCK_SIZE - sizeof(magic)) &&
		    magic == HEAL_MAGIC)
			return at;
	return 0;
}

/* Is a thread at a fork, which the others must not learn of? */
static bool
is_busy(struct frozen *z, const struct region *g)
{
	uint64_t busy;

	return frozen_read(z, &busy, sizeof(busy), g->start + HEAL_BUSY) &&
	       busy != 0;
}

/*
 * The block that leads home from where the thread is, if that is all it does.
 * One that has just mapped an area has yet to mark it.
 */
static bool
read_way(struct frozen *z, const struct region *g, struct user_regs_struct *r,
    uint64_t *sigmask)
{
	uint8_t block[HEAL_BLOCK_SIZE];
	uint64_t at = g->start;

	if (g->scratch) {
		if (is_busy(z, g))
			return false;
		at = heal_code_way_home(r, g->start);
		if (at == 0)
			at = find_block(z, g, r->rip);
	} else if (r->rip - at > HEAL_ENTRY_MAP &&
		   r->rip - at < HEAL_ENTRY_CALL) {
		at = 0;
	}
	return at != 0 && frozen_read(z, block, sizeof(block), at) &&
	       heal_code_read_block(block, at, r, sigmask);
}

/*
 * What the block would do we do by setting registers.  The kernel's way of
 * restarting an interrupted call is lost here, as it is in the block.  One
 * that makes or awaits a twin is let alone: that has to be finished.
 */
int
leftovers_go_home(struct frozen *z, const struct leftovers *l)
{
	int err = 0;

	for (size_t i = 0; i < z->n && err == 0 && l->n > 0; i++) {
		struct tracee *t = &z->v[i];
		const struct region *g;
		unsigned hops = 0;

		while ((g = region_of(l, t->regs.rip)) != NULL &&
		       hops++ < MAX_HOPS &&
		       read_way(z, g, &t->regs, &t->sigmask))
			t->away = true;
		z->astray |= g != NULL;
		err = tracee_home(t);
	}
	return err;
}

/* ---- are they in use? ---- */

/*
 * A signal handler would come back to an address by the frame that the kernel
 * made: rip, the flags, cs.  A word alone may be anything, and may be there for
 * as long as the process lives.
 */
static bool
has_frame(const uint64_t *word, size_t n, const struct leftovers *l)
{
	for (size_t i = 0; i + 2 < n; i++)
		if (region_of(l, word[i]) != NULL &&
		    (word[i + 2] & 0xffff) == USER64_CS)
			return true;
	return false;
}

/*
 * Which pages of [sp, end) have no frame on them, for they were never touched;
 * to read one would give it to the process.  In a process whose memory is still
 * being brought, and if the kernel does not tell, each may have one.
 */
static void
find_untouched(pid_t pid, uint64_t sp, uint64_t end, bool *untouched)
{
	const uint64_t there = 1ull << 63 | 1ull << 62; /* present, swapped */
	size_t n = end / PAGE - sp / PAGE + 1;
	uint64_t entry[STACK_PAGES];
	char path[64];
	bool any = false;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (pread(fd, entry, n * 8, (off_t)(sp / PAGE * 8)) == (ssize_t)(n * 8))
		for (size_t i = 0; i < n; i++)
			any |= untouched[i] = (entry[i] & there) == 0;
	close(fd);
	if (any && filling_now(pid))
		memset(untouched, 0, n * sizeof(*untouched));
}

bool
leftovers_returns(struct frozen *z, const struct process *p, uint64_t sp,
    const struct leftovers *l)
{
	const struct vma *v = vma_find(p, sp);
	bool untouched[STACK_PAGES] = { false };
	uint64_t word[PAGE / 8 + 2], end, first = sp / PAGE;

	if (v == NULL)
		return false;
	sp &= ~(uint64_t)7;
	end = v->end - sp > STACK_SEARCH ? sp + STACK_SEARCH : v->end;
	find_untouched(z->pid, sp, end - 1, untouched);
	for (; sp < end; sp = (sp / PAGE + 1) * PAGE) {
		uint64_t stop = (sp / PAGE + 1) * PAGE + FRAME;
		size_t i = sp / PAGE - first;

		if (untouched[i])
			continue;
		if (stop > end || untouched[i + 1])
			stop -= FRAME;
		if (stop > end)
			stop = end;
		if (!frozen_read(z, word, stop - sp, sp))
			return false;
		if (has_frame(word, (stop - sp) / 8, l))
			return true;
	}
	return false;
}

static bool
in_use(struct frozen *z, const struct process *p, const struct leftovers *l)
{
	for (size_t i = 0; i < z->n; i++) {
		const struct user_regs_struct *r = &z->v[i].regs;

		if (region_of(l, r->rip) != NULL ||
		    leftovers_returns(z, p, r->rsp, l))
			return true;
	}
	return false;
}

int
leftovers_find(struct frozen *z, const struct process *p, struct leftovers *l)
{
	int err;

	*l = (struct leftovers){ 0 };
	err = find_all(z, p, l);
	if (err != 0)
		leftovers_free(l);
	return err;
}

int
leftovers_check(struct frozen *z, const struct process *p, struct leftovers *l)
{
	if (l->n > 0 && in_use(z, p, l))
		leftovers_free(l);
	return 0;
}

void
leftovers_free(struct leftovers *l)
{
	free(l->v);
	*l = (struct leftovers){ 0 };
}

/* ---- clearing away ---- */

void
leftovers_wipe(struct frozen *z, const struct leftovers *l)
{
	static const uint8_t zeros[HEAL_BLOCK_SIZE];

	for (size_t i = 0; i < l->n; i++)
		if (!l->v[i].scratch)
			frozen_write(z, l->v[i].start, zeros, sizeof(zeros));
}

static bool
is_listed(const struct leftovers *l, const struct vma *v)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].scratch && l->v[i].start == v->start)
			return true;
	return false;
}

int
leftovers_unmap(struct snap_ctx *cx, struct frozen *z,
    const struct leftovers *l, struct process *p)
{
	int64_t result;
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < p->nvmas; i++) {
		struct vma *v = &p->vmas[i];
		const uint64_t args[6] = { v->start, v->end - v->start };

		if (err != 0 || !is_listed(l, v)) {
			p->vmas[n++] = *v;
			continue;
		}
		err = heal_call(cx, z, SYS_munmap, args, &result);
		free(v->path);
	}
	p->nvmas = n;
	return err;
}
