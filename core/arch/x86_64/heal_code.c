#include "heal_code.h"

#include <assert.h>
#include <string.h>
#include <sys/syscall.h>

_Static_assert(offsetof(struct heal_slot, ret) == HEAL_SLOT_RET, "slot");
_Static_assert(offsetof(struct heal_slot, ret2) == HEAL_SLOT_RET2, "slot");
_Static_assert(offsetof(struct heal_head, busy) == HEAL_BUSY, "head");
_Static_assert(offsetof(struct heal_head, nap) == HEAL_NAP, "head");
_Static_assert(sizeof(struct heal_head) == HEAL_HEAD_SIZE, "head");
_Static_assert(offsetof(struct heal_slot, name) == HEAL_SLOT_NAME, "slot");
_Static_assert(
    offsetof(struct heal_slot, old_name) == HEAL_SLOT_OLD_NAME, "slot");
_Static_assert(sizeof(struct heal_record) == HEAL_RECORD_SIZE, "record");

enum reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 };

#define HOME_REGS 15

struct code {
	uint8_t *out;
	size_t n;
};

static const uint8_t syscall_insn[] = { 0x0f, 0x05 };

static void
bytes(struct code *c, const void *p, size_t n)
{
	assert(c->n + n <= HEAL_BLOCK_SIZE);
	memcpy(c->out + c->n, p, n);
	c->n += n;
}

/* movabs $v, %reg */
#define LOAD_SIZE 10
static void
load(struct code *c, int reg, uint64_t v)
{
	uint8_t op[2] = { reg >= R8 ? 0x49 : 0x48, 0xb8 | (reg & 7) };

	bytes(c, op, sizeof(op));
	bytes(c, &v, sizeof(v));
}

/*
 * The two entries.  A scratch area that was mapped is marked at once: if we
 * are dead by then, the next tracer finds it.
 *
 *	0:	syscall
 *		mov	%rax, %rcx
 *		bswap	%rcx		the sign is in the lowest byte now
 *		movzbl	%cl, %ecx
 *		jrcxz	1f
 *		jmp	2f
 *	1:	movabs	$HEAL_MAGIC, %rcx
 *		mov	%rcx, 0(%rax)
 *		movabs	$area, %rcx
 *		mov	%rcx, 8(%rax)
 *		jmp	2f
 *		...
 *	64:	syscall
 *	2:
 */
static void
entries(struct code *c, uint64_t area)
{
	static const uint8_t check[] = { 0x48, 0x89, 0xc1, 0x48, 0x0f, 0xc9,
		0x0f, 0xb6, 0xc9, 0xe3, 0x02, 0xeb, 0x00 };
	static const uint8_t store0[] = { 0x48, 0x89, 0x08 };
	static const uint8_t store8[] = { 0x48, 0x89, 0x48, 0x08 };
	const size_t end = HEAL_ENTRY_CALL + sizeof(syscall_insn);
	uint8_t jump[2] = { 0xeb, 0 };

	bytes(c, syscall_insn, sizeof(syscall_insn));
	bytes(c, check, sizeof(check));
	c->out[c->n - 1] = (uint8_t)(end - c->n);
	load(c, RCX, HEAL_MAGIC);
	bytes(c, store0, sizeof(store0));
	load(c, RCX, area);
	bytes(c, store8, sizeof(store8));
	jump[1] = (uint8_t)(end - c->n - sizeof(jump));
	bytes(c, jump, sizeof(jump));
	assert(c->n <= HEAL_ENTRY_CALL);
	c->n = HEAL_ENTRY_CALL;
	bytes(c, syscall_insn, sizeof(syscall_insn));
}

/* In which order the registers are loaded; rsp never changes. */
static unsigned long long *
home_reg(struct user_regs_struct *r, int i)
{
	unsigned long long *const v[HOME_REGS] = { &r->rax, &r->rcx, &r->rdx,
		&r->rbx, &r->rbp, &r->rsi, &r->rdi, &r->r8, &r->r9, &r->r10,
		&r->r11, &r->r12, &r->r13, &r->r14, &r->r15 };

	return v[i];
}

static const int home_number[HOME_REGS] = { RAX, RCX, RDX, RBX, RBP, RSI, RDI,
	8, 9, 10, 11, 12, 13, 14, 15 };

/* rt_sigprocmask(SIG_SETMASK, mask, NULL, 8) */
static void
set_mask(struct code *c, uint64_t mask)
{
	load(c, RAX, SYS_rt_sigprocmask);
	load(c, RDI, 2 /* SIG_SETMASK */);
	load(c, RSI, mask);
	load(c, RDX, 0);
	load(c, 10, sizeof(uint64_t));
	bytes(c, syscall_insn, sizeof(syscall_insn));
}

#define SET_MASK_SIZE (5 * LOAD_SIZE + sizeof(syscall_insn))

/*
 *	   the entries			(if there are any)
 *	   set the mask
 *	   load the registers
 *	   jmp	*rip
 *	rip:	.quad
 *	   ...
 *	   .quad area
 *	mask:	.quad
 *	   .quad HEAL_MAGIC		(the last 24 bytes are these)
 */
void
heal_code_block(uint8_t out[HEAL_BLOCK_SIZE], uint64_t at, uint64_t area,
    const struct user_regs_struct *home, uint64_t sigmask)
{
	static const uint8_t jmp_next_quad[] = { 0xff, 0x25, 0, 0, 0, 0 };
	const uint64_t last[3] = { area, sigmask, HEAL_MAGIC };
	struct user_regs_struct r = *home;
	struct code c = { out, 0 };

	memset(out, 0, HEAL_BLOCK_SIZE);
	if (area != 0)
		entries(&c, area);
	set_mask(&c, at + HEAL_BLOCK_SIZE - 2 * sizeof(uint64_t));
	for (int i = 0; i < HOME_REGS; i++)
		load(&c, home_number[i], *home_reg(&r, i));
	bytes(&c, jmp_next_quad, sizeof(jmp_next_quad));
	bytes(&c, &home->rip, sizeof(home->rip));
	assert(c.n <= HEAL_BLOCK_SIZE - sizeof(last));
	memcpy(out + HEAL_BLOCK_SIZE - sizeof(last), last, sizeof(last));
}

/* Read the values where they would be; then the same block comes of them. */
bool
heal_code_read_block(const uint8_t block[HEAL_BLOCK_SIZE], uint64_t at,
    struct user_regs_struct *home, uint64_t *sigmask)
{
	struct user_regs_struct r = *home;
	uint8_t same[HEAL_BLOCK_SIZE];
	uint64_t last[3], v;
	size_t n;

	memcpy(last, block + HEAL_BLOCK_SIZE - sizeof(last), sizeof(last));
	if (last[2] != HEAL_MAGIC)
		return false;
	n = SET_MASK_SIZE +
	    (last[0] != 0 ? HEAL_ENTRY_CALL + sizeof(syscall_insn) : 0);
	for (int i = 0; i < HOME_REGS; i++, n += LOAD_SIZE) {
		memcpy(&v, block + n + 2, sizeof(v));
		*home_reg(&r, i) = v;
	}
	memcpy(&v, block + n + 6, sizeof(v));
	r.rip = v;
	r.orig_rax = (unsigned long)-1;
	heal_code_block(same, at, last[0], &r, last[1]);
	if (memcmp(same, block, sizeof(same)) != 0)
		return false;
	*home = r;
	*sigmask = last[1];
	return true;
}

/* The calls of a list only ask, and whoever waits has done all of them. */
uint64_t
heal_code_way_home(const struct user_regs_struct *r, uint64_t base)
{
	uint64_t off = r->rip - base - HEAL_HEAD_SIZE;

	return off < (uint64_t)(heal_code_twin - heal_code) ? r->r15 : 0;
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
