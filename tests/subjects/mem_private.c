/*
 * mem_private - private anonymous memory of every protection, with holes.
 *
 * variants: musl static
 */
#include <sys/mman.h>

#include "subject.h"

#define MIB (1024 * 1024)
#define PAGE 4096

int
main(int argc, char **argv)
{
	char *all, *sparse, *ro, *none, *zero, *dropped, *rows;

	subject_init(argc, argv);
	all = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(all != MAP_FAILED);
	sparse = all + 1 * MIB; /* every third page */
	ro = all + 2 * MIB;
	none = all + 3 * MIB;
	zero = all + 4 * MIB; /* written, with zeros */
	dropped = all + 5 * MIB;
	rows = all + 6 * MIB; /* 1, 2, 4, ... pages of zeros between others */

	subject_fill(all, MIB, 1);
	for (size_t i = 0; i < MIB; i += 3 * PAGE)
		subject_fill(sparse + i, PAGE, (unsigned)i);
	subject_fill(ro, MIB, 3);
	subject_fill(none, MIB, 4);
	memset(zero, 0, MIB);
	subject_fill(dropped, MIB, 5);
	memset(rows, 0, MIB);
	for (size_t i = 0, n = 1; i < MIB; i += (n + 1) * PAGE, n *= 2)
		subject_fill(rows + i, PAGE, (unsigned)n);
	must(mprotect(ro, MIB, PROT_READ) == 0);
	must(mprotect(none, MIB, PROT_NONE) == 0);
	must(madvise(dropped, MIB, MADV_DONTNEED) == 0);

	subject_wait();

	subject_filled("written", all, MIB, 1);
	for (size_t i = 0; i < MIB; i += 3 * PAGE) {
		size_t left = MIB - i - PAGE;

		subject_filled("sparse", sparse + i, PAGE, (unsigned)i);
		subject_zero("hole", sparse + i + PAGE,
		    left < 2 * PAGE ? left : 2 * PAGE);
	}
	subject_filled("read-only", ro, MIB, 3);
	expect(!subject_readable(none), "PROT_NONE memory can be read");
	must(mprotect(none, MIB, PROT_READ) == 0);
	subject_filled("PROT_NONE", none, MIB, 4);
	must(mprotect(none, MIB, PROT_NONE) == 0);
	subject_zero("zeros", zero, MIB);
	subject_zero("dropped", dropped, MIB);
	for (size_t i = 0, n = 1; i < MIB; i += (n + 1) * PAGE, n *= 2) {
		size_t left = MIB - i - PAGE;

		subject_filled("between zeros", rows + i, PAGE, (unsigned)n);
		subject_zero("a row of zeros", rows + i + PAGE,
		    left < n * PAGE ? left : n * PAGE);
	}
	subject_zero("never touched", all + 7 * MIB, MIB);

	/* Anonymous memory that is let go must come back as zeros. */
	must(madvise(all, MIB, MADV_DONTNEED) == 0);
	subject_zero("let go after the check", all, MIB);
	return subject_done();
}
