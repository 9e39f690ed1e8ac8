/*
 * pause - a process that measures how long it is not allowed to run.
 *
 *	pause DIR MIB THREADS
 *
 * Fills MIB of memory in pages of 4 KiB, starts THREADS threads of which all
 * but the main one sleep in a call, and looks at the clock without a break.
 * First how long a fork() of it takes (the median of nine, while the child
 * ends at once).  Then, each time that DIR/NAME.begin appears, it records the
 * longest gap until DIR/NAME.end appears, into DIR/NAME.gap (in us).
 *
 * DIR/ready: pid, the time of fork() in us, the longest gap that it sees when
 * nobody does anything (of a second).
 */
#include <errno.h>
#include <pthread.h>
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

static const char *dir;
static volatile int measuring, ended;
static volatile int64_t longest;

static void *
sleep_in_call(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

/* The clock, without a system call in between. */
static void *
watch(void *arg)
{
	int64_t last, t;

	(void)arg;
	for (;;) {
		while (!measuring)
			usleep(500);
		longest = 0;
		last = monotonic_ns();
		while (measuring) {
			t = monotonic_ns();
			if (t - last > longest)
				longest = t - last;
			last = t;
		}
		ended = 1;
	}
	return NULL;
}

static void
put(const char *name, const char *text)
{
	char tmp[512], path[512];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s/%s.new", dir, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(tmp, "w");
	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0 ||
	    rename(tmp, path) != 0)
		exit(1);
}

static int
exists(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static int64_t
measure(const char *until)
{
	int64_t end = monotonic_ns() + 1000000000;

	ended = 0;
	measuring = 1;
	while (until != NULL ? !exists(until) : monotonic_ns() < end)
		usleep(1000);
	measuring = 0;
	while (!ended)
		usleep(100);
	return longest;
}

int
main(int argc, char **argv)
{
	char begin[64], end[64], gap[64], text[128];
	size_t len, i;
	char *p;
	pthread_t t;
	int n, round;

	if (argc != 4) {
		fprintf(stderr, "usage: pause DIR MIB THREADS\n");
		return 2;
	}
	dir = argv[1];
	len = (size_t)atoi(argv[2]) << 20;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	    -1, 0);
	if (p == MAP_FAILED)
		return 1;
	madvise(p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < len; i += 8)
		*(uint64_t *)(void *)(p + i) = i * 0x9e3779b97f4a7c15u;
	pthread_create(&t, NULL, watch, NULL);
	for (n = 2; n < atoi(argv[3]); n++)
		if (pthread_create(&t, NULL, sleep_in_call, NULL) != 0)
			return 1;
	snprintf(text, sizeof(text), "%d %lld %lld\n", (int)getpid(),
	    (long long)time_of_fork() / 1000, (long long)measure(NULL) / 1000);
	put("ready", text);
	for (round = 0;; round++) {
		snprintf(begin, sizeof(begin), "%d.begin", round);
		snprintf(end, sizeof(end), "%d.end", round);
		snprintf(gap, sizeof(gap), "%d.gap", round);
		while (!exists(begin))
			usleep(2000);
		snprintf(text, sizeof(text), "%lld\n",
		    (long long)measure(end) / 1000);
		put(gap, text);
	}
}
