/*
 * The code that heals itself: it is found again and understood, and, run in a
 * child under our eyes, it changes nothing but what it should.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heal_code.h"
#include "unit.h"

#define AT 0x7ffff7fc1000ull

static struct user_regs_struct
some_registers(void)
{
	struct user_regs_struct r = { .rax = 1, .rcx = 2, .rdx = 3, .rbx = 4 };

	r.rbp = 6;
	r.rsi = 7;
	r.rdi = 8;
	r.r8 = 9;
	r.r9 = 10;
	r.r10 = 11;
	r.r11 = 12;
	r.r12 = 13;
	r.r13 = 14;
	r.r14 = 15;
	r.r15 = 0xfedcba9876543210;
	r.rip = 0x401234;
	r.orig_rax = (unsigned long)-1;
	return r;
}

static const uint64_t areas[] = { 0, 12288 };

START_TEST(block_is_read_back)
{
	struct user_regs_struct r = some_registers(), back = { 0 };
	uint8_t block[HEAL_BLOCK_SIZE];
	uint64_t mask = 0;

	heal_code_block(block, AT, areas[_i], &r, 0x0102030405060708);
	ck_assert(heal_code_read_block(block, AT, &back, &mask));
	ck_assert_mem_eq(&back, &r, sizeof(r));
	ck_assert_uint_eq(mask, 0x0102030405060708);
	/* Anywhere else, or with any other instruction, it is none. */
	ck_assert(!heal_code_read_block(block, AT + 16, &back, &mask));
	block[0] ^= 1;
	ck_assert(!heal_code_read_block(block, AT, &back, &mask));
}
END_TEST

/* Where a child is when nobody holds it. */
static void
spin(void)
{
	for (;;)
		pause();
}

/*
 * A child is moved to a block that has two entries, makes getppid() by it, and
 * is then let go for good: it must be where it was, flags and mask included.
 */
START_TEST(block_takes_home)
{
	struct user_regs_struct before, enter, after;
	const uint64_t args[6] = { 0 };
	uint8_t *code;
	uint64_t mask = 1u << (SIGUSR1 - 1), now;
	int status;
	pid_t pid;

	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(code, MAP_FAILED);
	pid = fork();
	if (pid == 0)
		spin();
	ck_assert_int_eq(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(ptrace(PTRACE_GETREGS, pid, 0, &before), 0);
	before.eflags |= 0xc95; /* direction, overflow, sign, zero, carry ... */
	before.orig_rax = (unsigned long)-1;
	before.rip = (uintptr_t)spin;
	before.r11 = 0x1111;

	/* Home is a loop in our own page, so that it can be looked at there. */
	memcpy(code + 2048, "\xeb\xfe", 2);
	before.rip = (uintptr_t)code + 2048;
	heal_code_block(code, (uintptr_t)code, 4096, &before, mask);
	heal_code_enter_call(&enter, &before, (uintptr_t)code + HEAL_ENTRY_CALL,
	    SYS_getppid, args);
	ck_assert_int_eq(ptrace(PTRACE_SETREGS, pid, 0, &enter), 0);
	ck_assert_int_eq(ptrace(PTRACE_CONT, pid, 0, 0), 0);
	usleep(20000);
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(ptrace(PTRACE_GETREGS, pid, 0, &after), 0);
	after.eflags &= ~0x10000ull; /* RF is the CPU's own */
	before.eflags &= ~0x10000ull;
	ck_assert_mem_eq(&after, &before, sizeof(before));
	ck_assert_int_eq(
	    ptrace(PTRACE_GETSIGMASK, pid, (void *)sizeof(now), &now), 0);
	ck_assert_uint_eq(now, mask);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(code, 4096);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("heal_code");
	TCase *tc = tcase_create("heal_code");

	tcase_add_loop_test(tc, block_is_read_back, 0, 2);
	tcase_add_test(tc, block_takes_home);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
