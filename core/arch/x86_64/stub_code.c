#include "stub_code.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "heal_code.h"
#include "timed.h"

#define NS 1000000000ull
#define K_ERESTARTNOHAND 514
#define ADDRESS_END (1ull << 47)
#define MARK 0x5bad

/* Zeros that may end what is the vDSO's own. */
#define OWN_ZEROS 24u

/* Offsets of the instructions. */
#define AT_CALL 0
#define AT_ORIGINAL 2
#define AT_HOME 12
#define AT_JUMP 22

static const uint8_t code[] = { 0x0f, 0x05, /* syscall */
	0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, /* movabs $, %... */
	0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, /* movabs $, %rcx */
	0xff, 0xe1 };			    /* jmp *%rcx */

/* movabs $, %rdx, %r10, %r8: the third argument and the next */
static const uint8_t loads[3][2] = { { 0x48, 0xba }, { 0x49, 0xba },
	{ 0x49, 0xb8 } };

/* What is behind the code. */
struct data {
	uint32_t tid;
	uint16_t nr, mark;
	uint64_t rsp, until;
	int64_t left[2];
};

_Static_assert(sizeof(code) + sizeof(struct data) == STUB_SIZE, "stub");
_Static_assert(sizeof(code) + offsetof(struct data, left) == STUB_LEFT, "stub");

void
stub_settle(struct stub *s, uint64_t now)
{
	uint64_t left = s->until > now ? s->until - now : 0;

	if (timed_find(s->nr)->ms)
		return;
	s->left[0] = (int64_t)(left / NS);
	s->left[1] = (int64_t)(left % NS);
}

void
stub_write(const struct stub *s, uint8_t out[STUB_SIZE])
{
	const struct data d = { .tid = (uint32_t)s->tid,
		.nr = (uint16_t)s->nr,
		.mark = MARK,
		.rsp = s->rsp,
		.until = s->until,
		.left = { s->left[0], s->left[1] } };

	memcpy(out, code, sizeof(code));
	memcpy(out + AT_ORIGINAL, loads[timed_find(s->nr)->arg - 2], 2);
	memcpy(out + AT_ORIGINAL + 2, &s->original, sizeof(s->original));
	memcpy(out + AT_HOME + 2, &s->home, sizeof(s->home));
	memcpy(out + sizeof(code), &d, sizeof(d));
}

static bool
is_sane(const struct stub *s)
{
	const struct timed *timed = timed_find(s->nr);

	if (timed == NULL || s->tid <= 0 || s->until == 0 ||
	    s->home >= ADDRESS_END || s->home < 2 ||
	    !timed_ends(timed, s->original))
		return false;
	if (timed->ms)
		return s->left[0] == 0 && s->left[1] == 0;
	return s->left[0] >= 0 && s->left[1] >= 0 && s->left[1] < (int64_t)NS;
}

/* Read the values where they would be; then the same stub comes of them. */
bool
stub_read(struct stub *s, const uint8_t bytes[STUB_SIZE], uint64_t at)
{
	uint8_t same[STUB_SIZE];
	struct data d;

	memcpy(&d, bytes + sizeof(code), sizeof(d));
	*s = (struct stub){ .at = at,
		.nr = d.nr,
		.tid = (pid_t)d.tid,
		.rsp = d.rsp,
		.until = d.until,
		.left = { d.left[0], d.left[1] } };
	memcpy(&s->original, bytes + AT_ORIGINAL + 2, sizeof(s->original));
	memcpy(&s->home, bytes + AT_HOME + 2, sizeof(s->home));
	if (at % STUB_SIZE != 0 || !is_sane(s))
		return false;
	stub_write(s, same);
	return memcmp(same, bytes, sizeof(same)) == 0;
}

static bool
is_zero(const uint8_t *p, size_t n)
{
	while (n > 0 && p[n - 1] == 0)
		n--;
	return n == 0;
}

/* The end of what is neither a stub nor nothing. */
static size_t
end_of_others(const uint8_t page[STUB_PAGE])
{
	struct stub s;
	size_t n = STUB_PAGE;

	while (n > 0 && (is_zero(page + n - STUB_SIZE, STUB_SIZE) ||
			    stub_read(&s, page + n - STUB_SIZE, 0)))
		n -= STUB_SIZE;
	while (n > 0 && page[n - 1] == 0)
		n--;
	return n;
}

int
stub_place(const uint8_t page[STUB_PAGE])
{
	size_t at = end_of_others(page) + OWN_ZEROS;

	at = (at + STUB_SIZE - 1) / STUB_SIZE * STUB_SIZE;
	for (; at + STUB_SIZE + 2 * 16 + HEAL_BLOCK_SIZE <= STUB_PAGE;
	     at += STUB_SIZE)
		if (is_zero(page + at, STUB_SIZE))
			return (int)at;
	return -1;
}

bool
stub_waits(const struct user_regs_struct *home, int nr)
{
	return (long)home->rax == -K_ERESTARTNOHAND &&
	       home->orig_rax == (unsigned long)nr;
}

void
stub_wait(struct user_regs_struct *home, int nr)
{
	home->rax = (unsigned long)-K_ERESTARTNOHAND;
	home->orig_rax = (unsigned long)nr;
}

bool
stub_leave(const struct stub *s, const struct user_regs_struct *r,
    struct user_regs_struct *home)
{
	uint64_t off = r->rip - s->at;

	if (off != AT_CALL && off != AT_ORIGINAL && off != AT_HOME &&
	    off != AT_JUMP)
		return false;
	if (off == AT_CALL && r->rax != (unsigned long)s->nr)
		return false;
	*home = *r;
	*timed_reg(timed_find(s->nr), home) = s->original;
	home->rip = s->home;
	home->rcx = s->home;
	if (off != AT_CALL)
		return true;
	stub_wait(home, s->nr);
	return true;
}

void
stub_enter(const struct stub *s, uint64_t now, struct user_regs_struct *r)
{
	const struct timed *timed = timed_find(s->nr);
	uint64_t left = s->until > now ? s->until - now : 0;

	assert(stub_waits(r, s->nr));
	*timed_reg(timed, r) = timed->ms ? timed_ms(left) : s->at + STUB_LEFT;
	r->rip = s->at + AT_ORIGINAL;
}
