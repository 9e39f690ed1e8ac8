/*
 * mem_secret - memfd_secret(2): mapped without a descriptor, in part, twice,
 * never touched; as a descriptor only, with a size and without; and it is as
 * secret as it was.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "subject.h"

#define PAGE 4096
#define PAGES 200

static int
secret(unsigned flags, size_t size)
{
	int fd = (int)syscall(447, flags);

	if (fd < 0)
		subject_skip("no memfd_secret: %s", strerror(errno));
	must(size == 0 || ftruncate(fd, (off_t)size) == 0);
	return fd;
}

static char *
map(int fd, size_t pages, size_t from, int prot)
{
	char *p = mmap(
	    NULL, pages * PAGE, prot, MAP_SHARED, fd, (off_t)(from * PAGE));

	must(p != MAP_FAILED);
	return p;
}

/* The kernel does not read it for others, as which process_vm_readv counts. */
static void
is_secret(const char *what, void *p)
{
	char buf[16];
	struct iovec here = { buf, 16 }, there = { p, 16 };
	ssize_t n = process_vm_readv(getpid(), &here, 1, &there, 1, 0);

	expect(n == -1 && errno == EFAULT, "%s can be read from outside", what);
}

static void
not_there(const char *what, void *p, size_t pages)
{
	unsigned char seen[PAGES];

	must(mincore(p, pages * PAGE, seen) == 0);
	for (size_t i = 0; i < pages; i++)
		expect(!(seen[i] & 1), "%s: page %zu takes memory", what, i);
}

int
main(int argc, char **argv)
{
	char *all, *part, *twice, *closed, *later, *old;
	const int rw = PROT_READ | PROT_WRITE;
	struct stat st;
	int fd, only, empty;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS);
	fd = secret(0, PAGES * PAGE - 100);
	all = map(fd, PAGES, 0, rw);
	subject_fill(all + 3 * PAGE, PAGE, 1);
	subject_fill(all + 150 * PAGE, 2 * PAGE, 2);
	must(close(fd) == 0);
	fd = secret(0, 16 * PAGE);
	old = map(fd, 16, 0, rw);
	for (unsigned i = 0; i < 16; i++)
		subject_fill(old + i * PAGE, PAGE, 10 + i);
	part = map(fd, 2, 8, rw);
	twice = map(fd, 4, 7, PROT_READ);
	closed = map(fd, 1, 1, PROT_NONE);
	must(close(fd) == 0 && munmap(old, 16 * PAGE) == 0);
	only = secret(O_CLOEXEC, 5 * PAGE);
	later = map(only, 1, 4, rw);
	subject_fill(later, PAGE, 4);
	must(munmap(later, PAGE) == 0);
	must(fchmod(only, 0400) == 0);
	must(fcntl(only, F_SETFL, O_APPEND) == 0);
	empty = secret(0, 0);

	subject_wait();

	not_there("a hole", all, 3);
	not_there("a large hole", all + 4 * PAGE, 140);
	subject_filled("mapped", all + 3 * PAGE, PAGE, 1);
	subject_filled("behind a hole", all + 150 * PAGE, 2 * PAGE, 2);
	is_secret("what is mapped", all + 3 * PAGE);
	subject_filled("a part", part, PAGE, 18);
	subject_filled("a part", twice + 3 * PAGE, PAGE, 20);
	expect(memcmp(part, twice + PAGE, 2 * PAGE) == 0, "two are not one");
	part[0] ^= 1;
	expect(part[0] == twice[PAGE], "what is written in one is not there in "
				       "the other");
	part[0] ^= 1;
	must(mprotect(closed, PAGE, PROT_READ) == 0);
	subject_filled("PROT_NONE", closed, PAGE, 11);
	is_secret("what is mapped twice", twice);
	must(mprotect(closed, PAGE, PROT_NONE) == 0);
	must(fstat(only, &st) == 0);
	expect(
	    st.st_size == 5 * PAGE, "its size is %lld", (long long)st.st_size);
	expect(
	    (st.st_mode & 0777) == 0400, "its mode is %o", st.st_mode & 0777);
	expect(fcntl(only, F_GETFD) == FD_CLOEXEC, "close on exec is lost");
	later = map(only, 5, 0, PROT_READ);
	not_there("a hole of a descriptor", later, 4);
	subject_filled("a descriptor's", later + 4 * PAGE, PAGE, 4);
	is_secret("a descriptor's", later + 4 * PAGE);
	must(munmap(later, 5 * PAGE) == 0);
	must(fstat(empty, &st) == 0 && st.st_size == 0);
	/* Its size can be set once. */
	if (subject_restored())
		expect(ftruncate(empty, PAGE) == 0, "no size can be given: %s",
		    strerror(errno));
	return subject_done();
}
