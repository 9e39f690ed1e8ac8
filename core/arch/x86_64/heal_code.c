#include "heal_code.h"

#include <assert.h>
#include <string.h>
#include <sys/syscall.h>

_Static_assert(offsetof(struct heal_slot, ret) == HEAL_SLOT_RET, "slot");
_Static_assert(offsetof(struct heal_slot, ret2) == HEAL_SLOT_RET2, "slot");
_Static_assert(offsetof(struct heal_slot, nap) == HEAL_SLOT_NAP, "slot");
_Static_assert(sizeof(struct heal_record) == HEAL_RECORD_SIZE, "record");

enum reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 };

struct code {
	uint8_t *out;
	size_t n;
};

static void
bytes(struct code *c, const void *p, size_t n)
{
	assert(c->n + n <= HEAL_HOME_SIZE);
	memcpy(c->out + c->n, p, n);
	c->n += n;
}

/* movabs $v, %reg: 10 bytes */
static void
load(struct code *c, int reg, uint64_t v)
{
	uint8_t op[2] = { reg >= R8 ? 0x49 : 0x48, 0xb8 | (reg & 7) };

	bytes(c, op, sizeof(op));
	bytes(c, &v, sizeof(v));
}

/*
 *	   syscall			(if a call is wanted)
 *	   rt_sigprocmask(SIG_SETMASK, mask, NULL, 8)
 *	   load all registers but rsp
 *	   jmp	*rip
 *	rip:	.quad
 *	...
 *	mask:	.quad
 *		.quad HEAL_MAGIC	(its last 16 bytes are these)
 */
void
heal_code_home(uint8_t out[HEAL_HOME_SIZE], uint64_t at, bool call,
    const struct user_regs_struct *home, uint64_t sigmask)
{
	static const uint8_t syscall_insn[] = { 0x0f, 0x05 };
	static const uint8_t jmp_next_quad[] = { 0xff, 0x25, 0, 0, 0, 0 };
	const uint64_t last[2] = { sigmask, HEAL_MAGIC };
	struct code c = { out, 0 };
	const uint64_t regs[16] = { home->rax, home->rcx, home->rdx, home->rbx,
		0, home->rbp, home->rsi, home->rdi, home->r8, home->r9,
		home->r10, home->r11, home->r12, home->r13, home->r14,
		home->r15 };

	memset(out, 0, HEAL_HOME_SIZE);
	if (call)
		bytes(&c, syscall_insn, sizeof(syscall_insn));
	load(&c, RAX, SYS_rt_sigprocmask);
	load(&c, RDI, 2 /* SIG_SETMASK */);
	load(&c, RSI, at + HEAL_HOME_SIZE - sizeof(last));
	load(&c, RDX, 0);
	load(&c, 10, sizeof(sigmask));
	bytes(&c, syscall_insn, sizeof(syscall_insn));
	for (int i = 0; i < 16; i++)
		if (i != RSP)
			load(&c, i, regs[i]);
	bytes(&c, jmp_next_quad, sizeof(jmp_next_quad));
	bytes(&c, &home->rip, sizeof(home->rip));
	assert(c.n <= HEAL_HOME_SIZE - sizeof(last));
	memcpy(out + HEAL_HOME_SIZE - sizeof(last), last, sizeof(last));
}

void
heal_code_enter(struct user_regs_struct *r, const struct user_regs_struct *home,
    uint64_t ip, uint64_t records, uint64_t nrecords, uint64_t slot,
    uint64_t done, uint64_t way_home)
{
	*r = *home;
	r->rip = ip;
	r->orig_rax = (unsigned long)-1;
	r->rbx = records;
	r->r12 = nrecords;
	r->r13 = slot;
	r->r14 = done;
	r->r15 = way_home;
}

void
heal_code_enter_call(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, long nr,
    const uint64_t args[6])
{
	*r = *home;
	r->rip = ip;
	r->orig_rax = (unsigned long)-1;
	r->rax = (unsigned long)nr;
	r->rdi = args[0];
	r->rsi = args[1];
	r->rdx = args[2];
	r->r10 = args[3];
	r->r8 = args[4];
	r->r9 = args[5];
}
