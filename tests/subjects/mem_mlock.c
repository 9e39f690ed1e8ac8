/*
 * mem_mlock - locked memory, at once and on fault.
 */
#include <sys/mman.h>

#include "subject.h"

#define PAGE 4096

int
main(int argc, char **argv)
{
	unsigned char seen[16];
	char *p;

	subject_init(argc, argv);
	p = mmap(NULL, 48 * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	subject_fill(p, 4 * PAGE, 1);
	must(mlock(p, 16 * PAGE) == 0);
	must(mlock2(p + 32 * PAGE, 16 * PAGE, MLOCK_ONFAULT) == 0);
	subject_fill(p + 32 * PAGE, PAGE, 2);

	subject_wait();

	subject_filled("locked", p, 4 * PAGE, 1);
	subject_zero("locked", p + 4 * PAGE, 12 * PAGE);
	subject_filled("locked on fault", p + 32 * PAGE, PAGE, 2);
	must(mincore(p, 16 * PAGE, seen) == 0);
	for (int i = 0; i < 16; i++)
		expect(seen[i] & 1, "locked page %d is not there", i);
	return subject_done();
}
