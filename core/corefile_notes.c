#include "corefile_notes.h"

#include <elf.h>
#include <string.h>
#include <sys/procfs.h>

#include "xstate.h"

#define PAGE 4096u
#define FXSAVE 512u	  /* bytes: what comes first in the state of xsave */
#define XCR0_AT 464u	  /* where the kernel puts XCR0 in it for a debugger */
#define WELL_KNOWN 0x3ffu /* components up to that of protection keys */

_Static_assert(sizeof(elf_gregset_t) == sizeof(struct user_regs_struct),
    "the same registers");

static void
put_padded(struct text *t, const void *bytes, size_t n)
{
	text_put(t, bytes, n);
	text_put(t, "\0\0\0", -n % 4);
}

static void
put_note(
    struct text *t, const char *name, uint32_t type, const void *desc, size_t n)
{
	Elf64_Nhdr h = {
		.n_namesz = (uint32_t)strlen(name) + 1,
		.n_descsz = (uint32_t)n,
		.n_type = type,
	};

	text_put(t, &h, sizeof(h));
	put_padded(t, name, h.n_namesz);
	put_padded(t, desc, n);
}

static uint64_t
signals_in(const struct siginfos *s)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].si_signo > 0 && s->v[i].si_signo <= PROCESS_NSIG)
			mask |= UINT64_C(1) << (s->v[i].si_signo - 1);
	return mask;
}

static void
put_prstatus(struct text *t, const struct process *p, const struct thread *th)
{
	struct elf_prstatus s;

	memset(&s, 0, sizeof(s)); /* and what is between its members */
	s.pr_sigpend = signals_in(&th->pending) | signals_in(&p->pending);
	s.pr_sighold = th->sigmask;
	s.pr_pid = th->tid;
	s.pr_ppid = p->ppid;
	s.pr_pgrp = p->pgid;
	s.pr_sid = p->sid;
	s.pr_fpvalid = th->xsave_len >= FXSAVE;
	memcpy(s.pr_reg, &th->regs, sizeof(s.pr_reg));
	put_note(t, "CORE", NT_PRSTATUS, &s, sizeof(s));
}

/*
 * Components that are behind those of protection keys (AMX is 8 KiB) only where
 * a thread uses one: a gdb that does not know them finds the size unexpected.
 */
static void
put_xstate(
    struct text *t, const struct xstate_layout *x, const struct thread *th)
{
	uint8_t area[XSTATE_MAX];
	uint64_t xcr0, in_use = xstate_in_use(th->xsave, th->xsave_len);
	size_t len = th->xsave_len;

	if (len > sizeof(area))
		return;
	memcpy(area, th->xsave, len);
	memcpy(&xcr0, area + XCR0_AT, sizeof(xcr0));
	if ((in_use & ~(uint64_t)WELL_KNOWN) == 0) {
		xcr0 &= WELL_KNOWN;
		memcpy(area + XCR0_AT, &xcr0, sizeof(xcr0));
		if (xstate_length(x, xcr0) < len)
			len = xstate_length(x, xcr0);
	}
	put_note(t, "LINUX", NT_X86_XSTATE, area, len);
}

static void
put_fpu(struct text *t, const struct xstate_layout *x, const struct thread *th)
{
	if (th->xsave_len >= FXSAVE)
		put_note(t, "CORE", NT_FPREGSET, th->xsave, FXSAVE);
	if (th->xsave_len >= XSTATE_MIN)
		put_xstate(t, x, th);
}

static void
put_prpsinfo(struct text *t, const struct process *p)
{
	const struct thread *th = &p->threads[0];
	struct elf_prpsinfo s;
	size_t n = p->cmdline_len;

	memset(&s, 0, sizeof(s));
	s.pr_state = p->group_stopped ? 3 : 0;
	s.pr_sname = p->group_stopped ? 'T' : 'R';
	s.pr_nice = (char)th->nice;
	s.pr_uid = th->creds.ruid;
	s.pr_gid = th->creds.rgid;
	s.pr_pid = p->pid;
	s.pr_ppid = p->ppid;
	s.pr_pgrp = p->pgid;
	s.pr_sid = p->sid;
	memcpy(s.pr_fname, th->comm, sizeof(s.pr_fname) - 1);
	if (n > sizeof(s.pr_psargs))
		n = sizeof(s.pr_psargs);
	/* Its last byte is a NUL; the others are between arguments. */
	for (size_t i = 0; i + 1 < n; i++)
		s.pr_psargs[i] =
		    p->cmdline[i] == '\0' ? ' ' : (char)p->cmdline[i];
	put_note(t, "CORE", NT_PRPSINFO, &s, sizeof(s));
}

static bool
is_named(const struct vma *v)
{
	return v->kind == VMA_FILE && v->file >= 0;
}

/* The mapped files: a table of addresses, then the names. */
static void
put_files(struct text *t, const struct process *p)
{
	struct text d = { 0 };
	uint64_t head[2] = { 0, PAGE };

	for (size_t i = 0; i < p->nvmas; i++)
		head[0] += is_named(&p->vmas[i]);
	text_put(&d, head, sizeof(head));
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		uint64_t row[3] = { v->start, v->end, v->offset / PAGE };

		if (is_named(v))
			text_put(&d, row, sizeof(row));
	}
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		const struct mapfile *f;

		if (!is_named(v))
			continue;
		f = &p->mapfiles[v->file];
		text_puts(&d, f->path);
		text_puts(&d, f->content != 0 ? " (deleted)" : "");
		text_put(&d, "", 1);
	}
	if (head[0] > 0 && !d.failed)
		put_note(t, "CORE", NT_FILE, d.s, d.len);
	if (d.failed)
		t->failed = true;
	text_fini(&d);
}

void
corefile_notes(struct text *t, const struct process *p)
{
	struct xstate_layout x;

	xstate_layout(&x);
	put_prstatus(t, p, &p->threads[0]);
	put_prpsinfo(t, p);
	put_note(t, "CORE", NT_AUXV, p->auxv, p->auxv_len);
	put_files(t, p);
	put_fpu(t, &x, &p->threads[0]);
	for (size_t i = 1; i < p->nthreads; i++) {
		put_prstatus(t, p, &p->threads[i]);
		put_fpu(t, &x, &p->threads[i]);
	}
}
