/*
 * mem_filemap - private mappings of a file: clean and written pages, an
 * offset, a partial last page, and a page past the end.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "subject.h"

#define PAGE 4096
#define SIZE (16 * PAGE + 100)

int
main(int argc, char **argv)
{
	char *rw, *ro, *exec;
	int fd;

	subject_init(argc, argv);
	must((fd = open(subject_file("file", SIZE, 7), O_RDONLY)) >= 0);
	rw = mmap(NULL, 20 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ro = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE, fd, 4 * PAGE);
	exec = mmap(NULL, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	must(rw != MAP_FAILED && ro != MAP_FAILED && exec != MAP_FAILED);
	must(close(fd) == 0);
	for (int i = 0; i < 16; i += 2)
		subject_fill(rw + i * PAGE, PAGE, 100 + i);
	rw[SIZE] = 'x'; /* past the file's end, in its last page */

	subject_wait();

	for (int i = 0; i < 16; i++)
		subject_filled(i % 2 == 0 ? "written page" : "clean page",
		    rw + i * PAGE, PAGE, i % 2 == 0 ? 100 + i : 7 + i);
	subject_filled("last page", rw + 16 * PAGE, 100, 7 + 16);
	expect(rw[SIZE] == 'x', "the byte past the end is lost");
	expect(!subject_readable(rw + 18 * PAGE), "no SIGBUS past the end");
	for (int i = 0; i < 8; i++)
		subject_filled("offset", ro + i * PAGE, PAGE, 7 + 4 + i);
	subject_filled("executable", exec, PAGE, 7);
	return subject_done();
}
