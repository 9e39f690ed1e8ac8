/*
 * drip - writes to a page here and there, for ever.
 *
 *	drip READY MIB		READY: pid, address, length
 *
 * Its memory is a page with a counter at both ends and then MIB in pages.  Step
 * i takes some page, which only depends on i, and writes i to both ends of it,
 * or gives it back, or maps the sixteen around it anew.  The first counter is i
 * from before the step on, the second one from after it on.  So whoever sees
 * the counters can tell what is in each page: tests/e2e/drip.py.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define WORDS (PAGE / sizeof(uint64_t))
#define SLOT 16ul

/* As in drip.py. */
static uint64_t
mix(uint64_t i)
{
	i *= 0x9e3779b97f4a7c15u;
	i = (i ^ i >> 30) * 0xbf58476d1ce4e5b9u;
	return i ^ i >> 27;
}

static void *
map(void *at, size_t size)
{
	void *m = mmap(at, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | (at == NULL ? 0 : MAP_FIXED), -1, 0);

	if (m == MAP_FAILED || madvise(m, size, MADV_NOHUGEPAGE) < 0)
		err(1, "mmap");
	return m;
}

static void
step(char *pages, uint64_t n, uint64_t i)
{
	uint64_t x = mix(i), at = x % n;
	volatile uint64_t *page = (uint64_t *)(pages + at * PAGE);

	switch (x >> 32 & 63) {
	case 0:
		map(pages + at / SLOT * SLOT * PAGE, SLOT * PAGE);
		break;
	case 1:
	case 2:
		madvise(pages + at * PAGE, PAGE, MADV_DONTNEED);
		break;
	default:
		page[0] = i;
		page[WORDS - 1] = i;
	}
}

int
main(int argc, char **argv)
{
	const struct timespec nap = { 0, 20000 };
	volatile uint64_t *counters;
	uint64_t n;
	char *m;
	FILE *f;

	if (argc != 3)
		errx(2, "usage: drip READY MIB");
	n = strtoul(argv[2], NULL, 10) << 8;
	m = map(NULL, (n + 1) * PAGE);
	counters = (uint64_t *)m;
	for (size_t i = 1; i <= n; i++)
		m[i * PAGE + 8] = 1;
	f = fopen(argv[1], "w");
	if (f == NULL ||
	    fprintf(f, "%d %lx %lx\n", (int)getpid(), (unsigned long)m,
		(n + 1) * PAGE) < 0 ||
	    fclose(f) != 0)
		err(1, "%s", argv[1]);
	for (uint64_t i = 1;; i++) {
		counters[0] = i;
		step(m + PAGE, n, i);
		counters[WORDS - 1] = i;
		nanosleep(&nap, NULL);
	}
}
