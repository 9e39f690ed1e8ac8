/*
 * churn - a process that does not stay as it is.
 *
 *	churn threads	has threads come and go, as fast as it can
 *	churn exec	replaces itself, again and again
 *	churn thread-exec	the same, by a thread that is not the first
 *	churn fork	has children come and go
 *	churn vfork	is in vfork(2) for 100 s, where nothing can stop it
 *	churn exit N	ends after N ms, with threads
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *
brief(void *arg)
{
	if (arg != NULL)
		pause();
	return NULL;
}

static void
threads(void)
{
	pthread_t t[8];
	int i, n;

	for (;;) {
		for (n = 0; n < 8; n++)
			if (pthread_create(&t[n], NULL, brief, NULL) != 0)
				break;
		for (i = 0; i < n; i++)
			pthread_join(t[i], NULL);
	}
}

static void
forks(void)
{
	pid_t pid;

	for (;;) {
		if ((pid = fork()) == 0)
			_exit(0);
		if (pid > 0 && waitpid(pid, NULL, 0) != pid)
			_exit(9); /* somebody has taken our child */
	}
}

static void
vforks(void)
{
	pid_t pid;

	for (;;) {
		if ((pid = vfork()) == 0) {
			sleep(100);
			_exit(0);
		}
		if (pid > 0 && waitpid(pid, NULL, 0) != pid)
			_exit(9);
		usleep(1000);
	}
}

static void *
replace(void *argv)
{
	usleep(500);
	execv("/proc/self/exe", argv);
	_exit(9);
}

int
main(int argc, char **argv)
{
	pthread_t t;
	int i;

	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "threads") == 0)
		threads();
	if (strcmp(argv[1], "fork") == 0)
		forks();
	if (strcmp(argv[1], "vfork") == 0)
		vforks();
	if (strcmp(argv[1], "exec") == 0) {
		usleep(500);
		execv("/proc/self/exe", argv);
	}
	if (strcmp(argv[1], "thread-exec") == 0) {
		pthread_create(&t, NULL, replace, argv);
		pause();
	}
	if (strcmp(argv[1], "exit") == 0 && argc == 3) {
		for (i = 0; i < 4; i++)
			pthread_create(&t, NULL, brief, argv);
		usleep((unsigned)atoi(argv[2]) * 1000);
		return 0;
	}
	fprintf(stderr,
	    "usage: churn threads|exec|thread-exec|fork|vfork|exit MS\n");
	return 2;
}
