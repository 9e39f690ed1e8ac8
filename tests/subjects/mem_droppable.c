/*
 * mem_droppable - MAP_DROPPABLE memory, where vDSO getrandom keeps its state:
 * the mapping comes back, what was in it must not live twice.
 */
#include <sys/mman.h>

#include "subject.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

int
main(int argc, char **argv)
{
	char *p;

	subject_init(argc, argv);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
	    MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		subject_skip("no MAP_DROPPABLE: %s", strerror(errno));
	subject_fill(p, 8192, 1);

	subject_wait();

	if (subject_restored())
		subject_zero("droppable", p, 8192);
	p[0] = 1;
	return subject_done();
}
