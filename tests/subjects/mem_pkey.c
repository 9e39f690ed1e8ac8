/*
 * mem_pkey - memory under a protection key.
 */
#include <sys/mman.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	int key;
	char *p;

	subject_init(argc, argv);
	if ((key = pkey_alloc(0, PKEY_DISABLE_WRITE)) < 0)
		subject_skip("no protection keys: %s", strerror(errno));
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	subject_fill(p, 8192, 1);
	must(pkey_mprotect(p, 8192, PROT_READ | PROT_WRITE, key) == 0);

	subject_wait();

	expect(pkey_get(key) == PKEY_DISABLE_WRITE, "PKRU says %d for key %d",
	    pkey_get(key), key);
	subject_filled("under a key", p, 8192, 1);
	expect(pkey_free(key) == 0, "key %d is not allocated", key);
	return subject_done();
}
