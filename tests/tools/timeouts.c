/*
 * timeouts - threads asleep in epoll_wait(2) for a time.
 *
 *	timeouts THREADS MS
 *
 * Each says what the call gave and how long it took in ms, or that it has found
 * a register changed.  SIGUSR1 goes to the first thread, whose handler takes a
 * second and a half.
 */
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>

#define THREADS_MAX 100

static int ep, ms;

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
handler(int sig)
{
	uint64_t end = now_ms() + 1500;
	const struct timespec t = { 0, 10000000 };

	(void)sig;
	while (now_ms() < end)
		nanosleep(&t, NULL);
}

static void *
sleeper(void *arg)
{
	uint64_t from = now_ms(), rax = SYS_epoll_wait, rcx, behind, r10_after;
	register uint64_t r10 __asm__("r10");
	struct epoll_event ev;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (arg == NULL)
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	r10 = (uint64_t)ms;
	__asm__ volatile(
	    "lea	1f(%%rip), %[behind]\n\t"
	    "syscall\n"
	    "1:"
	    : "+a"(rax), "+r"(r10), "=&c"(rcx), [behind] "=&b"(behind)
	    : "D"((uint64_t)ep), "S"(&ev), "d"(1ul)
	    : "r11", "memory", "cc");
	r10_after = r10;
	if (r10_after != (uint64_t)ms || rcx != behind)
		printf("thread %zu: r10 %#lx, rcx %#lx\n", (size_t)arg,
		    (unsigned long)r10_after, (unsigned long)rcx);
	else
		printf("%zu %ld %llu\n", (size_t)arg, (long)rax,
		    (unsigned long long)(now_ms() - from));
	return NULL;
}

int
main(int argc, char **argv)
{
	const struct sigaction sa = { .sa_handler = handler,
		.sa_flags = SA_RESTART };
	pthread_t threads[THREADS_MAX];
	size_t n = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	sigset_t set;

	if (n < 1 || n > THREADS_MAX)
		errx(2, "usage: timeouts THREADS MS");
	ms = atoi(argv[2]);
	ep = epoll_create1(0);
	setlinebuf(stdout);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (ep < 0 || sigaction(SIGUSR1, &sa, NULL) != 0 ||
	    pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		err(2, "setting up");
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, sleeper, (void *)i) != 0)
			errx(2, "no thread");
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
