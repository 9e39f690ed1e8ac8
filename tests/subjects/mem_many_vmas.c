/*
 * mem_many_vmas - five thousand mappings, no two of which can be one.
 */
#include <sys/mman.h>

#include "subject.h"

#define N 5000
#define PAGE 4096

int
main(int argc, char **argv)
{
	char *p;

	subject_init(argc, argv);
	p = mmap(NULL, (size_t)N * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	for (int i = 0; i < N; i++) {
		memcpy(p + (size_t)i * PAGE, &i, sizeof(i));
		if (i % 2 == 1)
			must(mprotect(p + (size_t)i * PAGE, PAGE, PROT_READ) ==
			     0);
	}
	/* The text of so many would not fit. */
	subject_allow(SUBJECT_VMAS);

	subject_wait();

	for (int i = 0; i < N; i++)
		expect(memcmp(p + (size_t)i * PAGE, &i, sizeof(i)) == 0,
		    "page %d", i);
	must(mprotect(p, (size_t)N * PAGE, PROT_READ | PROT_WRITE) == 0);
	for (int i = 1; i < N; i += 2)
		must(mprotect(p + (size_t)i * PAGE, PAGE, PROT_READ) == 0);
	return subject_done();
}
