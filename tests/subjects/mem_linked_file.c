/*
 * mem_linked_file - a file that was made under one name, linked to another and
 * removed under the first, as sem_open(3) does: it is mapped by the first, and
 * by the other, and is one file.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "subject.h"

#define PAGE 4096

static char *
map(const char *path)
{
	int fd = open(path, O_RDWR);
	char *p;

	must(fd >= 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED);
	must(close(fd) == 0);
	return p;
}

int
main(int argc, char **argv)
{
	const char *first, *second;
	char *a, *b, c = 0, x;
	int fd;

	subject_init(argc, argv);
	/* The mapping has the name that leads to it. */
	subject_allow(SUBJECT_MAPS);
	first = subject_file("first", PAGE, 1);
	second = subject_path("second");
	a = map(first);
	must(link(first, second) == 0 && unlink(first) == 0);
	b = map(second);

	subject_wait();

	/* Another of us may have been here: beside the original, say. */
	subject_filled("contents", a, PAGE - 1, 1);
	x = (char)(a[PAGE - 1] ^ 1);
	a[PAGE - 1] = x;
	expect(b[PAGE - 1] == x, "both mappings are of one file");
	must((fd = open(second, O_RDONLY)) >= 0);
	expect(pread(fd, &c, 1, PAGE - 1) == 1 && c == x,
	    "it is that of its name");
	must(close(fd) == 0);
	return subject_done();
}
