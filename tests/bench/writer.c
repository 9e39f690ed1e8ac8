/*
 * writer - a process that writes to as many pages as it is told.
 *
 *	writer DIR MIB
 *
 * Fills MIB of memory in pages of 4 KiB.  DIR/ready: pid, and the time of a
 * fork() of it in us (the median of nine).  Then each line of the fifo
 * DIR/orders, "PAGES even" or "PAGES clumps", makes it write a byte to so many
 * of its pages, as far from each other as can be, or in 64 clumps; DIR/took has
 * how many ns that took.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "forktime.h"

#define PAGE 4096ul
#define CLUMPS 64ul

static char *memory;
static size_t pages;

static void
put(const char *dir, const char *name, long long a, long long b)
{
	char tmp[512], path[512];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s/%s.new", dir, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(tmp, "w");
	if (f == NULL || fprintf(f, "%lld %lld\n", a, b) < 0 ||
	    fclose(f) != 0 || rename(tmp, path) != 0)
		err(1, "%s", path);
}

static void
scribble(size_t n, int clumps)
{
	size_t each = (n + CLUMPS - 1) / CLUMPS;

	for (size_t i = 0; i < n; i++) {
		size_t page = clumps ? i / each * (pages / CLUMPS) + i % each
				     : i * pages / n;

		memory[page * PAGE]++;
	}
}

int
main(int argc, char **argv)
{
	char path[512], how[16];
	unsigned long n;
	int64_t began;
	FILE *f;

	if (argc != 3)
		errx(2, "usage: writer DIR MIB");
	pages = strtoul(argv[2], NULL, 10) << 8;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i++)
		memset(memory + i * PAGE, (int)(i % 255) + 1, PAGE);
	put(argv[1], "ready", getpid(), time_of_fork() / 1000);
	snprintf(path, sizeof(path), "%s/orders", argv[1]);
	for (;;) {
		f = fopen(path, "r");
		if (f == NULL)
			err(1, "%s", path);
		while (fscanf(f, "%lu %15s", &n, how) == 2) {
			began = monotonic_ns();
			scribble(n, strcmp(how, "clumps") == 0);
			put(argv[1], "took", monotonic_ns() - began, 0);
		}
		fclose(f);
	}
}
