/*
 * invariant - four threads that keep an invariant over a lot of memory.
 *
 *	invariant DIR MIB
 *
 * Each page begins and ends with a counter.  Each thread has a quarter of the
 * pages, goes through them in order and makes each counter one higher; nobody
 * begins a round before all have ended the last.  So at every instant
 *
 *	- all counters are within one of each other,
 *	- in each quarter they only step down, once, from n + 1 to n, and
 *	- the two counters of a page differ in one page of a quarter at most.
 *
 * DIR/ready: pid, address, length.  The threads check what they find as they
 * go; DIR/check makes them stop, DIR/result says ok or what was wrong.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define PAGE 4096
#define WORDS (PAGE / 8)

static volatile uint64_t *memory;
static size_t pages;
static pthread_barrier_t barrier;
static atomic_int stop, wrong;
static char complaint[256];
static uint64_t rounds;

static void
complain(int thread, size_t page, uint64_t is, uint64_t want)
{
	if (atomic_exchange(&wrong, 1) == 0)
		snprintf(complaint, sizeof(complaint),
		    "thread %d: page %zu is %llu, not %llu\n", thread, page,
		    (unsigned long long)is, (unsigned long long)want);
}

static void *
keep(void *arg)
{
	int self = (int)(intptr_t)arg;
	size_t from = pages / THREADS * (size_t)self;
	size_t to = from + pages / THREADS, i;
	uint64_t n;

	for (n = 0;; n++) {
		pthread_barrier_wait(&barrier);
		if (self == 0)
			rounds = n;
		pthread_barrier_wait(&barrier);
		if (atomic_load(&stop) != 0 &&
		    n >= (uint64_t)atomic_load(&stop))
			return NULL;
		for (i = from; i < to; i++) {
			volatile uint64_t *p = memory + i * WORDS;

			if (p[0] != n || p[WORDS - 1] != n)
				complain(self, i, p[0], n);
			p[0] = n + 1;
			p[WORDS - 1] = n + 1;
		}
	}
}

static void
put(const char *dir, const char *name, const char *text)
{
	char tmp[4096], path[4096];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s/%s.new", dir, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(tmp, "w");
	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0 ||
	    rename(tmp, path) != 0)
		exit(3);
}

int
main(int argc, char **argv)
{
	struct timespec nap = { 0, 5000000 };
	pthread_t t[THREADS];
	char text[4096], path[4096];
	intptr_t i;

	if (argc != 3 || atoi(argv[2]) < 1) {
		fprintf(stderr, "usage: invariant DIR MIB\n");
		return 2;
	}
	pages = (size_t)atoi(argv[2]) * 256;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	/* Pages of 4 KiB: the worst case for whoever copies them. */
	madvise((void *)(uintptr_t)memory, pages * PAGE, MADV_NOHUGEPAGE);
	memset((void *)(uintptr_t)memory, 0, pages * PAGE);
	for (size_t p = 0; p < pages; p++)
		memory[p * WORDS] = 0;
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, keep, (void *)i) != 0)
			return 1;
	snprintf(text, sizeof(text), "%d %lx %zx\n", (int)getpid(),
	    (unsigned long)(uintptr_t)memory, pages * PAGE);
	put(argv[1], "ready", text);
	snprintf(path, sizeof(path), "%s/check", argv[1]);
	while (access(path, F_OK) != 0)
		if (nanosleep(&nap, NULL) != 0)
			complain(-1, 0, (uint64_t)errno, 0);
	/* A round that all agree on. */
	atomic_store(&stop, (int)(rounds + 3));
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	put(argv[1], "result", wrong ? complaint : "ok\n");
	return wrong != 0;
}
