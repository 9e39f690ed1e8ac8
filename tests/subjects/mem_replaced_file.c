/*
 * mem_replaced_file - a mapping of a file in whose place there is another
 * now, as after an upgrade: the old contents must come back, not the new.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "subject.h"

#define PAGE 4096

int
main(int argc, char **argv)
{
	const char *path, *other;
	char *p;
	int fd;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS);
	path = subject_file("library", 8 * PAGE, 1);
	must((fd = open(path, O_RDONLY)) >= 0);
	p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	must(p != MAP_FAILED);
	must(close(fd) == 0);
	other = subject_file("upgrade", 8 * PAGE, 50);
	must(rename(other, path) == 0);

	subject_wait();

	for (int i = 0; i < 8; i++)
		subject_filled("old contents", p + i * PAGE, PAGE, 1 + i);
	return subject_done();
}
