/*
 * mem_deleted_file - mappings, private and shared, of files that were deleted.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "subject.h"

#define PAGE 4096

static char *
map_and_delete(const char *name, unsigned seed, int flags)
{
	const char *path = subject_file(name, 4 * PAGE, seed);
	char *p;
	int fd;

	must((fd = open(path, O_RDWR)) >= 0);
	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
	must(p != MAP_FAILED);
	must(close(fd) == 0);
	must(unlink(path) == 0);
	subject_fill(p + PAGE, PAGE, 99);
	return p;
}

int
main(int argc, char **argv)
{
	char *priv, *shared;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS);
	priv = map_and_delete("private", 10, MAP_PRIVATE);
	shared = map_and_delete("shared", 20, MAP_SHARED);

	subject_wait();

	subject_filled("private, clean", priv, PAGE, 10);
	subject_filled("private, written", priv + PAGE, PAGE, 99);
	subject_filled("private, clean", priv + 3 * PAGE, PAGE, 13);
	subject_filled("shared, as it was", shared, PAGE, 20);
	subject_filled("shared, written", shared + PAGE, PAGE, 99);
	subject_filled("shared, as it was", shared + 3 * PAGE, PAGE, 23);
	return subject_done();
}
