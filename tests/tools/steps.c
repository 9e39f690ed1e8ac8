/*
 * steps - a program with functions to be stopped at.
 *
 *	steps [THREADS [SECONDS]]
 *
 * Prints `begin`, asks for its process group, prints `middle`, then, of a line
 * that it reads, `end LINE`.  Threads sleep meanwhile; or they compute for that
 * long, print `worked`, and sleep.  Exit status 3.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void steps_begin(void);
void steps_middle(void);
void steps_end(void);

void __attribute__((noinline)) steps_begin(void)
{
	puts("begin");
	fflush(stdout);
}

void __attribute__((noinline)) steps_middle(void)
{
	puts("middle");
	fflush(stdout);
}

void __attribute__((noinline)) steps_end(void)
{
	char line[256] = "";

	if (fgets(line, sizeof(line), stdin) == NULL)
		exit(4);
	printf("end %s", line);
	fflush(stdout);
}

static double seconds;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void *
sleeper(void *arg)
{
	double end = now() + seconds;

	while (now() < end)
		;
	if (seconds > 0 && write(1, "worked\n", 7) != 7)
		exit(5);
	while (seconds > 0)
		pause();
	for (;;)
		usleep(1000);
	return arg;
}

int
main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0;
	pthread_t t;

	seconds = argc > 2 ? atof(argv[2]) : 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	steps_begin();
	while (n-- > 0)
		if (pthread_create(&t, NULL, sleeper, NULL) != 0)
			return 1;
	(void)getpgid(0);
	steps_middle();
	steps_end();
	return 3;
}
