/*
 * mem_guard - guard pages: PROT_NONE ones and MADV_GUARD_INSTALL's, which no
 * mapping's protection shows.
 */
#include <sys/mman.h>

#include "subject.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#define PAGE 4096

int
main(int argc, char **argv)
{
	char *p;

	subject_init(argc, argv);
	p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	subject_fill(p, 16 * PAGE, 1);
	if (madvise(p + 2 * PAGE, PAGE, MADV_GUARD_INSTALL) != 0)
		subject_skip("no MADV_GUARD_INSTALL: %s", strerror(errno));
	must(madvise(p + 8 * PAGE, 4 * PAGE, MADV_GUARD_INSTALL) == 0);
	must(mprotect(p + 14 * PAGE, PAGE, PROT_NONE) == 0);

	subject_wait();

	for (int i = 0; i < 16; i++) {
		bool guard = i == 2 || (i >= 8 && i < 12) || i == 14;

		expect(subject_readable(p + i * PAGE) == !guard,
		    "page %d is %s", i,
		    guard ? "no guard any more" : "a guard");
		if (!guard && subject_readable(p + i * PAGE))
			for (int j = 0; j < PAGE; j += 512)
				expect(p[i * PAGE + j] != 0 ||
					   p[i * PAGE + j + 1] != 0,
				    "page %d is empty", i);
	}
	must(madvise(p + 2 * PAGE, PAGE, MADV_GUARD_REMOVE) == 0);
	subject_zero("guard removed", p + 2 * PAGE, PAGE);
	return subject_done();
}
