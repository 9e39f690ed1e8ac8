/*
 * beat - a process that touches its memory, and notices when it was away.
 *
 *	beat DIR MIB [huge]
 *
 * Fills MIB of memory in pages of 4 KiB, or huge ones, and touches one page after the other,
 * at random, looking at the clock each time: a beat.  A gap of more than 100 ms
 * means that it was away, dead.  From there on it keeps the longest gap, until
 * DIR/end appears; then it says in DIR/beat when the first beat was (us since
 * 1970) and what the longest gap after it was (us).
 *
 * DIR/ready: pid, and how long a fork() of it takes, in us.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "forktime.h"

#define PAGE 4096
#define AWAY_US 100000
#define LOOK 256 /* beats */

static const char *dir;

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000ll + ts.tv_nsec / 1000;
}

static void
put(const char *name, int64_t a, int64_t b)
{
	char tmp[512], path[512];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s/%s.new", dir, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(tmp, "w");
	if (f == NULL ||
	    fprintf(f, "%lld %lld\n", (long long)a, (long long)b) < 0 ||
	    fclose(f) != 0 || rename(tmp, path) != 0)
		exit(1);
}

static void
beat(volatile uint64_t *mem, size_t pages)
{
	int64_t t, last = now_us(), first = 0, longest = 0;
	uint64_t r = 1;
	char end[512];

	snprintf(end, sizeof(end), "%s/end", dir);
	for (unsigned n = 0;; n++) {
		r = r * 6364136223846793005ull + 1442695040888963407ull;
		mem[(r >> 33) % pages * (PAGE / 8)]++;
		t = now_us();
		if (t - last > AWAY_US) {
			first = t;
			longest = 0;
		} else if (t - last > longest) {
			longest = t - last;
		}
		last = t;
		if (n % LOOK == 0 && first != 0 && access(end, F_OK) == 0) {
			put("beat", first, longest);
			first = 0;
			last = now_us();
		}
	}
}

int
main(int argc, char **argv)
{
	uint64_t *mem;
	size_t pages;

	if (argc != 3 && argc != 4)
		return 2;
	dir = argv[1];
	pages = (size_t)atoi(argv[2]) * 256;
	mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return 1;
	madvise(mem, pages * PAGE, argc == 4 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages * (PAGE / 8); i++)
		mem[i] = i * 0x9e3779b97f4a7c15ull + 1;
	put("ready", getpid(), time_of_fork() / 1000);
	beat(mem, pages);
}
