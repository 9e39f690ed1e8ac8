/*
 * mem_brk - the heap, and that it goes on where it ended.
 *
 * variants: musl static
 */
#include <sys/syscall.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	char *start, *end;

	subject_init(argc, argv);
	/* The call itself: libc's may have an opinion on it. */
	start = (char *)syscall(SYS_brk, 0);
	start += 4096 - (uintptr_t)start % 4096;
	end = start + 200000;
	must((char *)syscall(SYS_brk, end) == end);
	subject_fill(start, 200000, 4);

	subject_wait();

	expect((char *)syscall(SYS_brk, 0) == end, "brk is %p, not %p",
	    (void *)syscall(SYS_brk, 0), (void *)end);
	subject_filled("heap", start, 200000, 4);
	expect((char *)syscall(SYS_brk, end + 100000) == end + 100000,
	    "brk cannot grow");
	subject_zero("grown heap", end + 4096, 90000);
	must((char *)syscall(SYS_brk, end) == end);
	return subject_done();
}
