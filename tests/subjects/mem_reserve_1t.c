/*
 * mem_reserve_1t - a reservation of 1 TiB of PROT_NONE, a few pages in use.
 *
 * variants: musl
 */
#include <sys/mman.h>

#include "subject.h"

#define TIB (1ull << 40)
#define PAGE 4096

int
main(int argc, char **argv)
{
	char *p, *in[3];

	subject_init(argc, argv);
	p = mmap(NULL, TIB, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(p != MAP_FAILED);
	in[0] = p;
	in[1] = p + TIB / 2;
	in[2] = p + TIB - 4 * PAGE;
	for (int i = 0; i < 3; i++) {
		must(mprotect(in[i], 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
		subject_fill(in[i], 4 * PAGE, (unsigned)i);
	}

	subject_wait();

	for (int i = 0; i < 3; i++)
		subject_filled("in use", in[i], 4 * PAGE, (unsigned)i);
	expect(!subject_readable(p + TIB / 4), "the reservation can be read");
	must(mprotect(p + TIB / 4, PAGE, PROT_READ | PROT_WRITE) == 0);
	subject_zero("taken into use", p + TIB / 4, PAGE);
	must(mprotect(p + TIB / 4, PAGE, PROT_NONE) == 0);
	return subject_done();
}
