/*
 * mem_exec - code written at run time into anonymous memory.
 */
#include <sys/mman.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	/* mov $42, %eax; ret */
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	int (*fn)(void);
	char *p;

	subject_init(argc, argv);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	memcpy(p, code, sizeof(code));
	memcpy(p + 4096, code, sizeof(code));
	must(mprotect(p, 4096, PROT_EXEC) == 0);

	subject_wait();

	memcpy(&fn, &p, sizeof(fn));
	expect(fn() == 42, "execute-only code");
	p += 4096;
	p[1] = 43;
	memcpy(&fn, &p, sizeof(fn));
	expect(fn() == 43, "writable code");
	p[1] = 42;
	return subject_done();
}
