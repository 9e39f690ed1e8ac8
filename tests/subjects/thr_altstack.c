/*
 * thr_altstack - every thread's alternate signal stack, set and used.
 */
#include <sys/mman.h>

#include "subject.h"

#define SIZE 65536
#define N 3

static char *stacks[N];
static char *volatile handler_at[N];
static _Thread_local int self;
static int go, done;

static void
handler(int signo)
{
	char here;

	(void)signo;
	handler_at[self] = (char *)(uintptr_t)&here;
}

static void
set(int i)
{
	stack_t ss = { .ss_size = SIZE };

	self = i;
	ss.ss_sp = stacks[i] = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(ss.ss_sp != MAP_FAILED);
	must(sigaltstack(&ss, NULL) == 0);
}

static void
check(int i)
{
	stack_t ss;

	must(sigaltstack(NULL, &ss) == 0);
	expect(ss.ss_sp == stacks[i] && ss.ss_size == SIZE && ss.ss_flags == 0,
	    "thread %d: %p, %zu bytes, flags %x, not %p", i, ss.ss_sp,
	    ss.ss_size, ss.ss_flags, (void *)stacks[i]);
	pthread_kill(pthread_self(), SIGUSR1);
	expect(handler_at[i] >= stacks[i] && handler_at[i] < stacks[i] + SIZE,
	    "thread %d: the handler ran at %p", i, (void *)handler_at[i]);
}

static void *
other(void *cookie)
{
	int i = (int)(intptr_t)subject_thread_begin(cookie);
	set(i);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		usleep(2000);
	check(i);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_ONSTACK };

	subject_init(argc, argv);
	must(sigaction(SIGUSR1, &sa, NULL) == 0);
	set(0);
	for (intptr_t i = 1; i < N; i++)
		subject_thread(other, (void *)i, NULL);
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < N - 1)
		subject_rest();

	subject_wait();

	check(0);
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < 2 * (N - 1))
		subject_rest();
	return subject_done();
}
