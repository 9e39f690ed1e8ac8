/*
 * steps - a program with functions to be stopped at.
 *
 *	steps [THREADS]
 *
 * Prints `begin`, then `middle`, then, of a line that it reads, `end LINE`.
 * Threads sleep meanwhile.  Exit status 3.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
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

static void *
sleeper(void *arg)
{
	(void)arg;
	for (;;)
		usleep(1000);
	return NULL;
}

int
main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0;
	pthread_t t;

	setvbuf(stdout, NULL, _IOLBF, 0);
	steps_begin();
	while (n-- > 0)
		if (pthread_create(&t, NULL, sleeper, NULL) != 0)
			return 1;
	steps_middle();
	steps_end();
	return 3;
}
