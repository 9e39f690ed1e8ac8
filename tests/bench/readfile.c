/*
 * readfile - read a file into fresh memory; prints the time in us.
 *
 *	readfile FILE [huge]		into pages of 4 KiB, or huge ones
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	struct timespec a, b;
	struct stat st;
	off_t done = 0;
	ssize_t n;
	char *p;
	int fd;

	if (argc < 2 || (fd = open(argv[1], O_RDONLY)) < 0 ||
	    fstat(fd, &st) != 0)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &a);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return 1;
	madvise(
	    p, (size_t)st.st_size, argc == 3 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	while (done < st.st_size &&
	       (n = read(fd, p + done, (size_t)(st.st_size - done))) > 0)
		done += n;
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%ld\n",
	    (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
	return done != st.st_size;
}
