/*
 * mem_shared_anon - shared anonymous memory that only this process has,
 * mapped twice.
 */
#include <sys/mman.h>

#include "subject.h"

#define PAGE 4096

int
main(int argc, char **argv)
{
	char *p, *twice;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS);
	p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	/* An old size of 0 maps the same memory once more. */
	twice = mremap(p, 0, 8 * PAGE, MREMAP_MAYMOVE);
	must(twice != MAP_FAILED);
	for (int i = 0; i < 8; i += 2)
		subject_fill(p + i * PAGE, PAGE, i);

	subject_wait();

	for (int i = 0; i < 8; i++)
		if (i % 2 == 0)
			subject_filled("shared", p + i * PAGE, PAGE, i);
		else
			subject_zero("hole", p + i * PAGE, PAGE);
	p[5 * PAGE] = 'x';
	expect(twice[5 * PAGE] == 'x', "the two mappings are no longer one");
	return subject_done();
}
