/*
 * Stubs: they are found again and understood, whatever their bytes are; where
 * they may lie; how a thread gets into one and out; and one that is run.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "heal_code.h"
#include "stub_code.h"
#include "timed.h"
#include "unit.h"

#define AT 0x7ffff7fc1a40ull
#define NOW 5000000000000ull
#define MS 1000000ull

static const int calls[] = { SYS_epoll_wait, SYS_epoll_pwait, 441,
	SYS_semtimedop, SYS_rt_sigtimedwait, SYS_io_getevents,
	SYS_io_pgetevents };

static struct stub
some_stub(int nr)
{
	struct stub s = { .at = AT,
		.nr = nr,
		.tid = 4711,
		.original = timed_find(nr)->ms ? 30000 : 0x7ffc12345678,
		.home = 0x401234,
		.rsp = 0x7ffc00001000,
		.until = NOW + 2500 * MS + 1 };

	stub_settle(&s, NOW);
	return s;
}

START_TEST(stub_is_read_back)
{
	struct stub s = some_stub(calls[_i]), back;
	uint8_t bytes[STUB_SIZE];

	stub_write(&s, bytes);
	ck_assert(stub_read(&back, bytes, AT));
	ck_assert_mem_eq(&back, &s, sizeof(s));
	ck_assert(!stub_read(&back, bytes, AT + 16));
	if (!timed_find(s.nr)->ms) {
		ck_assert_int_eq(s.left[0], 2);
		ck_assert_int_eq(s.left[1], 500000001);
	}
}
END_TEST

/* No instruction is another, and no value is one that leads astray. */
START_TEST(hostile_stub)
{
	struct stub s = some_stub(calls[_i]), back;
	uint8_t bytes[STUB_SIZE], same[STUB_SIZE];
	static const uint8_t code[] = { 0, 1, 2, 3, 12, 13, 22, 23, 30, 31 };

	for (unsigned bit = 0; bit < 8 * STUB_SIZE; bit++) {
		stub_write(&s, bytes);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		for (size_t i = 0; i < sizeof(code); i++)
			if (bit / 8 == code[i])
				ck_assert(!stub_read(&back, bytes, AT));
		if (!stub_read(&back, bytes, AT))
			continue;
		ck_assert_uint_lt(back.home, 1ull << 47);
		ck_assert_ptr_nonnull(timed_find(back.nr));
		stub_write(&back, same);
		ck_assert_mem_eq(same, bytes, sizeof(same));
	}
	srandom(7);
	for (int n = 0; n < 100000; n++) {
		stub_write(&s, bytes);
		for (int k = random() % 8; k >= 0; k--)
			bytes[random() % STUB_SIZE] = (uint8_t)random();
		if (stub_read(&back, bytes, AT)) {
			stub_write(&back, same);
			ck_assert_mem_eq(same, bytes, sizeof(same));
		}
	}
}
END_TEST

/* Never too early; when it is over there is nothing left, not for ever. */
START_TEST(into_it_and_out)
{
	struct stub s = some_stub(calls[_i]);
	const struct timed *timed = timed_find(s.nr);
	struct user_regs_struct home = { .rip = s.home, .rcx = s.home }, r, h;

	*timed_reg(timed, &home) = s.original;
	stub_wait(&home, s.nr);
	r = home;
	stub_enter(&s, NOW, &r);
	ck_assert_uint_eq(r.rip, AT + 2);
	ck_assert_uint_eq(
	    *timed_reg(timed, &r), timed->ms ? 2501 : AT + STUB_LEFT);
	ck_assert(stub_leave(&s, &r, &h));
	ck_assert_mem_eq(&h, &home, sizeof(h));
	ck_assert(stub_waits(&h, s.nr));

	/* About to be made there once more. */
	r.rip = AT;
	r.rax = (unsigned long)s.nr;
	r.orig_rax = (unsigned long)-1;
	ck_assert(stub_leave(&s, &r, &h));
	ck_assert_mem_eq(&h, &home, sizeof(h));
	r.rax = SYS_write;
	ck_assert(!stub_leave(&s, &r, &h));

	/* It has ended. */
	for (unsigned off = 1; off < STUB_SIZE; off++) {
		r.rip = AT + off;
		r.rax = 1;
		ck_assert_int_eq(
		    stub_leave(&s, &r, &h), off == 2 || off == 12 || off == 22);
	}
	r.rip = AT + 12;
	ck_assert(stub_leave(&s, &r, &h));
	ck_assert_uint_eq(h.rip, s.home);
	ck_assert_uint_eq(*timed_reg(timed, &h), s.original);
	ck_assert(!stub_waits(&h, s.nr));

	r = home;
	stub_enter(&s, s.until + 1, &r);
	stub_settle(&s, s.until + 1);
	ck_assert_uint_eq(
	    *timed_reg(timed, &r), timed->ms ? 0 : AT + STUB_LEFT);
	ck_assert(s.left[0] == 0 && s.left[1] == 0);
}
END_TEST

START_TEST(places)
{
	static uint8_t page[STUB_PAGE];
	struct stub s = some_stub(SYS_epoll_wait), back;
	int off, n = 0;

	/* The vDSO's own end with zeros: these are let alone. */
	page[1000] = 1;
	page[2000] = 1;
	while ((off = stub_place(page)) >= 0) {
		ck_assert_int_eq(off % STUB_SIZE, 0);
		ck_assert_int_ge(off, 2001 + 24);
		ck_assert_int_le(
		    off + STUB_SIZE + HEAL_BLOCK_SIZE, STUB_PAGE - 32);
		s.at = (AT & ~4095ull) + (unsigned)off;
		stub_write(&s, page + off);
		ck_assert(stub_read(&back, page + off, s.at));
		n++;
	}
	ck_assert_int_ge(n, 16);
	/* One that is free again. */
	memset(page + 2048 + 3 * STUB_SIZE, 0, STUB_SIZE);
	ck_assert_int_eq(stub_place(page), 2048 + 3 * STUB_SIZE);
	/* Something else at the very end. */
	page[STUB_PAGE - 1] = 1;
	ck_assert_int_eq(stub_place(page), -1);
	memset(page, 0, sizeof(page));
	ck_assert_int_ge(stub_place(page), 0);
}
END_TEST

/* Jump to it as a thread is sent there, and see what comes back. */
START_TEST(runs)
{
	struct epoll_event ev;
	struct timespec from, to;
	struct stub s = some_stub(SYS_epoll_wait);
	uint64_t rax = SYS_epoll_wait, rcx, home, after;
	register uint64_t r10 __asm__("r10");
	uint8_t *code, carry;
	int ep = epoll_create1(0);

	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(code, MAP_FAILED);
	stub_write(&s, code);
	clock_gettime(CLOCK_MONOTONIC, &from);
	r10 = 30;
	__asm__ volatile(
	    "lea	1f(%%rip), %[home]\n\t"
	    "mov	%[home], 14(%[code])\n\t"
	    "stc\n\t"
	    "jmp	*%[code]\n"
	    "1:\n\t"
	    "setc	%[carry]"
	    : "+a"(rax), "+r"(r10),
	    "=&c"(rcx), [home] "=&r"(home), [carry] "=&r"(carry)
	    : [code] "r"(code), "D"((uint64_t)ep), "S"(&ev), "d"(1ul)
	    : "r11", "memory", "cc");
	after = r10;
	ck_assert_uint_eq(rax, 0);
	ck_assert_uint_eq(after, 30000);
	ck_assert_uint_eq(rcx, home);
	ck_assert_uint_eq(carry, 1);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ck_assert_int_ge(
	    (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec,
	    30000000);
	munmap(code, 4096);
	close(ep);
}
END_TEST

int
main(void)
{
	const int n = sizeof(calls) / sizeof(*calls);
	Suite *s = suite_create("stubs");
	TCase *tc = tcase_create("stubs");

	tcase_add_loop_test(tc, stub_is_read_back, 0, n);
	tcase_add_loop_test(tc, hostile_stub, 0, n);
	tcase_add_loop_test(tc, into_it_and_out, 0, n);
	tcase_add_test(tc, places);
	tcase_add_test(tc, runs);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
