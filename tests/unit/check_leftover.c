/*
 * check_leftover.c - what leads into code of ours from a stack is found wherever
 * it lies, and no page is given to the process by looking.
 */
#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "leftover.h"
#include "unit.h"

#define PAGE 4096ul
#define PAGES 80ul /* more than is searched */
#define SEARCHED 64ul
#define CODE 0x7000123450ul
#define USER64_CS 0x33

static char *stack;
static struct vma area;
static struct process process;
static struct frozen frozen;
static struct region code = { CODE, 64, false };
static const struct leftovers left = { &code, 1 };

static void
open_stack(void)
{
	stack = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(stack, MAP_FAILED);
	madvise(stack, PAGES * PAGE, MADV_NOHUGEPAGE);
	area = (struct vma){ .start = (uintptr_t)stack,
		.end = (uintptr_t)stack + PAGES * PAGE,
		.kind = VMA_ANON };
	process = (struct process){ .vmas = &area, .nvmas = 1 };
	frozen = (struct frozen){ .pid = getpid() };
}

static bool
is_there(size_t page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(
	    pread(fd, &entry, 8, (off_t)(((uintptr_t)stack / PAGE + page) * 8)),
	    8);
	close(fd);
	return entry >> 63 != 0;
}

static bool
returns(size_t from)
{
	return leftovers_returns(
	    &frozen, &process, (uintptr_t)stack + from, &left);
}

/* rip, flags and cs of a signal's frame. */
static void
put_frame(size_t at, uint64_t rip)
{
	uint64_t *word = (uint64_t *)(stack + at);

	word[0] = rip;
	word[2] = rip == 0 ? 0 : USER64_CS;
}

START_TEST(nothing_is_given)
{
	open_stack();
	stack[5 * PAGE] = 1;
	stack[9 * PAGE] = 1;
	ck_assert(!returns(16));
	ck_assert(!returns(70 * PAGE));
	for (size_t i = 0; i < PAGES; i++)
		ck_assert_int_eq(is_there(i), i == 5 || i == 9);
	munmap(stack, PAGES * PAGE);
}
END_TEST

START_TEST(a_frame_is_found)
{
	static const size_t at[] = { 0, 8, 40, PAGE - 24, PAGE - 16, PAGE - 8,
		PAGE, 3 * PAGE - 16, 9 * PAGE + 800, SEARCHED * PAGE - 24 };

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		open_stack();
		put_frame(at[i], CODE + 3);
		ck_assert(returns(0));
		ck_assert(returns(at[i]));
		ck_assert(!returns(at[i] + 8));
		put_frame(at[i], CODE + 64);
		ck_assert(!returns(0));
		munmap(stack, PAGES * PAGE);
	}
	/* What is above is not searched; the end of the memory is one. */
	open_stack();
	put_frame(SEARCHED * PAGE + 8, CODE);
	ck_assert(!returns(0));
	ck_assert(returns(32));
	put_frame(PAGES * PAGE - 24, CODE);
	ck_assert(returns((PAGES - 3) * PAGE + 8));
	ck_assert(!returns(PAGES * PAGE - 16));
	munmap(stack, PAGES * PAGE);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("leftover");
	TCase *tc = tcase_create("leftover");

	tcase_add_test(tc, nothing_is_given);
	tcase_add_test(tc, a_frame_is_found);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
