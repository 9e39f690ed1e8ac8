/*
 * forktime.h - what a fork() of the calling process takes, for the benches.
 */
#ifndef FORKTIME_H
#define FORKTIME_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FORKS 9

/* In ns, of the clock that does not jump. */
static inline int64_t
monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static inline int
compare_times(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* The median of some, in ns. */
static inline int64_t
time_of_fork(void)
{
	int64_t t[FORKS], began;
	pid_t pid;

	for (int i = 0; i < FORKS; i++) {
		began = monotonic_ns();
		pid = fork();
		if (pid == 0)
			_exit(0);
		t[i] = monotonic_ns() - began;
		waitpid(pid, NULL, 0);
	}
	qsort(t, FORKS, sizeof(t[0]), compare_times);
	return t[FORKS / 2];
}

#endif
