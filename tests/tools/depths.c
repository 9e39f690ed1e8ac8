/*
 * depths.c - something to look at with a debugger: frames, threads, values in
 * all kinds of memory, and a child that has changed one of them.  Another child
 * ends with it: what it has written since, these two have in common.
 *
 * usage: depths FILE	(written when all is there: "PID CHILD")
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

struct link {
	int value;
	struct link *next;
};

static pthread_barrier_t all_there;
static const char *file;

int answer = 42, deepest = 7;
double pi = 3.25;
const char constant[] = "in the file";
char *heap, *shared, *excluded, *written;
struct link *list;

static void
tell(pid_t child)
{
	char name[4096];
	FILE *f;

	snprintf(name, sizeof(name), "%s.new", file);
	f = fopen(name, "w");
	if (f == NULL)
		exit(1);
	fprintf(f, "%d %d\n", (int)getpid(), (int)child);
	if (fclose(f) != 0 || rename(name, file) != 0)
		exit(1);
}

static void __attribute__((noinline)) bottom(int depth)
{
	volatile int square = depth * depth;
	pid_t child = fork(), other = child == 0 ? -1 : fork();

	if (child == 0) {
		answer = 43;
		shared[4096] = 1;
	} else if (other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		shared[4097] = 1;
	} else {
		while (((volatile char *)shared)[4096] == 0 ||
		       ((volatile char *)shared)[4097] == 0)
			usleep(1000);
		strcpy(written, "after the forks");
		tell(child);
	}
	while (deepest > 0)
		pause();
	(void)square;
}

static int __attribute__((noinline)) go_down(int depth)
{
	int below = 0;

	if (depth < deepest)
		below = go_down(depth + 1);
	else
		bottom(depth);
	__asm__ volatile("" : "+r"(below)); /* or it were a loop */
	return below + 1;
}

static void *
in_register(void *arg)
{
	register long mine __asm__("rbx") = (long)arg * 1111;

	__asm__ volatile("movq %0, %%xmm9" ::"r"(mine) : "xmm9");
	pthread_barrier_wait(&all_there);
	for (;;)
		__asm__ volatile("movq %0, %%xmm9\n\tpause" ::"r"(mine)
				 : "xmm9");
	return NULL;
}

static char *
map(int flags)
{
	char *p = mmap(
	    NULL, 8192, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

int
main(int argc, char *argv[])
{
	pthread_t t;

	if (argc != 2)
		return 2;
	file = argv[1];
	heap = strdup("on the heap");
	shared = map(MAP_SHARED);
	strcpy(shared, "shared memory");
	written = map(MAP_PRIVATE);
	strcpy(written, "before the forks");
	excluded = map(MAP_PRIVATE);
	strcpy(excluded, "not to be dumped");
	madvise(excluded, 8192, MADV_DONTDUMP);
	for (int i = 0; i < 3; i++) {
		struct link *l = malloc(sizeof(*l));

		if (l == NULL)
			return 1;
		l->value = i;
		l->next = list;
		list = l;
	}
	pthread_barrier_init(&all_there, NULL, 3);
	for (long i = 1; i <= 2; i++)
		if (pthread_create(&t, NULL, in_register, (void *)i) != 0)
			return 1;
	pthread_barrier_wait(&all_there);
	return go_down(0);
}
