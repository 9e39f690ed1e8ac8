/*
 * img_regs.c - `regs`: a block for each thread, the leader's first, then by
 * tid.
 *
 *	thread: TID
 *	r15: 0xHEX ...		every register of struct user_regs_struct
 *	xsave-length: BYTES	extended state as ptrace(2) gives it
 *	xsave: OFFSET HEX	64 bytes of it in hex, OFFSET in hex; lines of
 *				zeros are left out
 *
 * and where a call with a time-out is to be issued again:
 *
 *	restart-nr: NUMBER	of the system call
 *	restart-args: 0xHEX (six)
 *	restart-left-ns: NS	what was left of its time-out, or none
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "img.h"
#include "vma.h"
#include "xstate.h"

#define LINE 64u
#define USER_CS 0x33
#define USER_SS 0x2b
#define MAX_NR 1023

/* CF PF AF ZF SF TF IF DF OF NT RF AC ID, and bit 1, which is always set. */
#define EFLAGS_USER 0x00254fd7ull

#define REG(name) \
	{ \
#name, FIELD_X64, offsetof(struct user_regs_struct, name), 0, \
		    0, false \
	}

static const struct field reg_table[] = { REG(r15), REG(r14), REG(r13),
	REG(r12), REG(rbp), REG(rbx), REG(r11), REG(r10), REG(r9), REG(r8),
	REG(rax), REG(rcx), REG(rdx), REG(rsi), REG(rdi), REG(orig_rax),
	REG(rip), REG(cs), REG(eflags), REG(rsp), REG(ss), REG(fs_base),
	REG(gs_base), REG(ds), REG(es), REG(fs), REG(gs) };
static const struct fields reg_fields = { reg_table,
	sizeof(reg_table) / sizeof(reg_table[0]) };

static void
write_xsave(struct text *t, const struct thread *th)
{
	static const uint8_t zeros[LINE];

	text_putf(t, "xsave-length: %zu\n", th->xsave_len);
	for (size_t at = 0; at < th->xsave_len; at += LINE) {
		size_t n =
		    th->xsave_len - at < LINE ? th->xsave_len - at : LINE;

		if (memcmp(th->xsave + at, zeros, n) == 0)
			continue;
		text_putf(t, "xsave: %04zx ", at);
		text_hex(t, th->xsave + at, n);
		text_puts(t, "\n");
	}
}

static void
write_restart(struct text *t, const struct restart *r)
{
	if (r->nr < 0)
		return;
	text_putf(t, "restart-nr: %d\nrestart-args:", r->nr);
	for (int i = 0; i < 6; i++)
		text_putf(t, " 0x%lx", (unsigned long)r->args[i]);
	if (r->has_timeout)
		text_putf(
		    t, "\nrestart-left-ns: %lu\n", (unsigned long)r->left_ns);
	else
		text_puts(t, "\nrestart-left-ns: none\n");
}

void
img_regs_write(struct text *t, const struct process *p)
{
	for (size_t i = 0; i < p->nthreads; i++) {
		const struct thread *th = &p->threads[i];

		text_putf(t, "%sthread: %d\n", i > 0 ? "\n" : "", (int)th->tid);
		fields_write(t, &reg_fields, &th->regs);
		write_xsave(t, th);
		write_restart(t, &th->restart);
	}
}

/* ---- reading ---- */

struct block {
	struct thread *th;
	uint64_t seen;	/* registers */
	uint64_t xsave; /* where the next line of xsave may begin */
	bool restart_args, restart_left;
};

static int
read_xsave_length(struct lines *l, struct block *b, const char *s)
{
	uint64_t v;

	if (b->th->xsave != NULL || !text_dec(s, XSTATE_MAX, &v) ||
	    v < XSTATE_MIN)
		return lines_fail(l, "not a length of an xsave area, once");
	b->th->xsave = calloc(1, v);
	b->th->xsave_len = v;
	return b->th->xsave == NULL ? -ENOMEM : 0;
}

static int
read_xsave(struct lines *l, struct block *b, char *s)
{
	char *word = text_word(&s);
	uint64_t at, n;

	if (word == NULL || s == NULL || !text_addr(word, &at) ||
	    at % LINE != 0)
		return lines_fail(l, "not OFFSET HEX");
	if (b->th->xsave == NULL || at < b->xsave || at >= b->th->xsave_len)
		return lines_fail(l, "an offset out of order, or too large");
	b->xsave = at + LINE;
	n = b->th->xsave_len - at < LINE ? b->th->xsave_len - at : LINE;
	if (!text_unhex(s, b->th->xsave + at, n))
		return lines_fail(l, "not %lu bytes in hex", (unsigned long)n);
	return 0;
}

static int
read_restart_args(struct lines *l, struct block *b, char *s)
{
	char *word;

	for (int i = 0; i < 6; i++) {
		word = text_word(&s);
		if (word == NULL ||
		    !text_xnum(word, UINT64_MAX, &b->th->restart.args[i]))
			return lines_fail(l, "not six numbers in hex");
	}
	if (s != NULL || b->restart_args)
		return lines_fail(l, "not six numbers in hex, once");
	b->restart_args = true;
	return 0;
}

static int
read_restart(struct lines *l, struct block *b, const char *key, char *s)
{
	struct restart *r = &b->th->restart;
	uint64_t v;

	if (strcmp(key, "restart-args") == 0)
		return read_restart_args(l, b, s);
	if (strcmp(key, "restart-nr") == 0) {
		if (r->nr >= 0 || !text_dec(s, MAX_NR, &v))
			return lines_fail(l, "not a system call, once");
		r->nr = (int)v;
		return 0;
	}
	if (strcmp(key, "restart-left-ns") != 0)
		return lines_fail(l, "unknown key `%.32s'", key);
	r->has_timeout = strcmp(s, "none") != 0;
	if (b->restart_left ||
	    (r->has_timeout && !text_dec(s, INT64_MAX, &r->left_ns)))
		return lines_fail(l, "neither nanoseconds nor none, once");
	b->restart_left = true;
	return 0;
}

static bool
user_selector(uint64_t s)
{
	return s == 0 || ((s & 3) == 3 && s <= 0xffff);
}

static const char *
bad_regs(const struct user_regs_struct *r)
{
	uint64_t top = vma_task_size();

	if (r->cs != USER_CS || r->ss != USER_SS)
		return "not a 64-bit process: cs or ss";
	if (!user_selector(r->ds) || !user_selector(r->es) ||
	    !user_selector(r->fs) || !user_selector(r->gs))
		return "a selector that is not the user's";
	if (r->rip >= top)
		return "rip is no address of a process";
	if (r->fs_base >= top || r->gs_base >= top)
		return "fs_base or gs_base is no address of a process";
	if ((r->eflags & ~EFLAGS_USER) != 0)
		return "eflags has bits that are not the user's";
	if (r->orig_rax != UINT64_MAX)
		return "orig_rax is not -1";
	return NULL;
}

static int
end_block(struct lines *l, const struct block *b, const struct xstate_layout *x)
{
	struct thread *th = b->th;
	const char *bad;
	uint64_t foreign;
	int err;

	err = fields_complete(l, &reg_fields, b->seen, "this thread");
	if (err < 0)
		return err;
	bad = bad_regs(&th->regs);
	if (bad == NULL && th->xsave == NULL)
		bad = "no `xsave-length'";
	if (bad == NULL)
		bad = xstate_check(x, th->xsave, th->xsave_len);
	if (bad == NULL && ((th->restart.nr >= 0) != b->restart_args ||
			       b->restart_args != b->restart_left))
		bad = "one of restart-nr, -args, -left-ns is missing";
	if (bad != NULL)
		return lines_fail(l, "thread %d: %s", (int)th->tid, bad);
	foreign = xstate_in_use(th->xsave, th->xsave_len) & ~x->supported;
	if (foreign != 0)
		return snap_fail(l->cx, -EPROTO,
		    "%s:%u: thread %d needs features of the CPU that this one "
		    "has not: 0x%lx",
		    l->file, l->line, (int)th->tid, (unsigned long)foreign);
	return 0;
}

static int
begin_block(
    struct lines *l, struct process *p, size_t n, struct block *b, char *s)
{
	uint64_t tid;

	if (n >= p->nthreads)
		return lines_fail(l, "more threads than `status' has");
	if (!text_dec(s, INT32_MAX, &tid) || (pid_t)tid != p->threads[n].tid)
		return lines_fail(
		    l, "`status' has thread %d here", (int)p->threads[n].tid);
	*b = (struct block){ .th = &p->threads[n] };
	b->th->restart.nr = -1;
	return 0;
}

static int
read_pair(struct lines *l, struct block *b, char *key, char *value)
{
	int r;

	if (strcmp(key, "xsave") == 0)
		return read_xsave(l, b, value);
	if (strcmp(key, "xsave-length") == 0)
		return read_xsave_length(l, b, value);
	r = fields_parse(l, &reg_fields, &b->th->regs, key, value, &b->seen);
	return r == 0 ? read_restart(l, b, key, value) : r;
}

int
img_regs_read(struct lines *l, struct process *p)
{
	struct block b = { 0 };
	struct xstate_layout x;
	char *key, *value;
	size_t n = 0;
	int r, err;

	xstate_layout(&x);
	while ((r = lines_pair(l, &key, &value)) > 0) {
		if (strcmp(key, "thread") == 0) {
			err = b.th != NULL ? end_block(l, &b, &x) : 0;
			if (err == 0)
				err = begin_block(l, p, n++, &b, value);
		} else if (b.th == NULL) {
			err = lines_fail(l, "no `thread' before it");
		} else {
			err = read_pair(l, &b, key, value);
		}
		if (err < 0)
			return err;
	}
	if (r < 0)
		return r;
	if (n != p->nthreads)
		return lines_fail(l, "`status' has more threads");
	return end_block(l, &b, &x);
}
