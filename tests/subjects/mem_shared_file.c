/*
 * mem_shared_file - a file mapped shared: what is written to the mapping
 * appears in the file and the other way round, also in the next life.
 *
 * clones: alone
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "subject.h"

#define PAGE 4096

int
main(int argc, char **argv)
{
	char *p, *ro, byte[4];
	const char *path;
	int fd;

	subject_init(argc, argv);
	path = subject_file("shared", 4 * PAGE, 3);
	must((fd = open(path, O_RDWR)) >= 0);
	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED);
	must(close(fd) == 0);
	must((fd = open(path, O_RDONLY)) >= 0);
	ro = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 2 * PAGE);
	must(ro != MAP_FAILED);
	must(close(fd) == 0);
	subject_fill(p + PAGE, PAGE, 55);

	subject_wait();

	subject_filled("page 0", p, PAGE, 3);
	subject_filled("page 1", p + PAGE, PAGE, 55);
	subject_filled("read-only", ro, PAGE, 3 + 2);
	p[3 * PAGE] = 'm';
	must((fd = open(path, O_RDWR)) >= 0);
	must(pread(fd, byte, 1, 3 * PAGE) == 1);
	expect(byte[0] == 'm', "a write to the mapping is not in the file");
	must(pwrite(fd, "f", 1, 2 * PAGE) == 1);
	expect(p[2 * PAGE] == 'f' && ro[0] == 'f',
	    "a write to the file is not in the mapping");
	must(close(fd) == 0);
	return subject_done();
}
