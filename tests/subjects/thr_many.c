/*
 * thr_many - 64 threads with names and thread-local data, asleep on a mutex
 * or a condition variable; all wake and have their own.
 *
 * variants: musl
 * clones: none
 */
#include <sys/prctl.h>

#include "subject.h"

#define N 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER;
static int going, passed, asleep;
static _Thread_local int own = -1;
static _Thread_local char text[100];

static void *
sleeper(void *cookie)
{
	int i = (int)(intptr_t)subject_thread_begin(cookie);
	pid_t tid = subject_tid();
	char name[16], now[16];

	own = i;
	subject_fill(text, sizeof(text), (unsigned)i);
	snprintf(name, sizeof(name), "sleeper %d", i);
	prctl(PR_SET_NAME, name);
	if (i % 2 == 0) {
		pthread_mutex_lock(&lock);
		asleep++;
		while (!going)
			pthread_cond_wait(&go, &lock);
		pthread_mutex_unlock(&lock);
	} else {
		__atomic_add_fetch(&asleep, 1, __ATOMIC_SEQ_CST);
		pthread_mutex_lock(&held);
		pthread_mutex_unlock(&held);
	}
	prctl(PR_GET_NAME, now);
	expect(strcmp(name, now) == 0, "%s is now %s", name, now);
	expect(own == i, "thread %d has the local data of %d", i, own);
	subject_filled("local data", text, sizeof(text), (unsigned)i);
	expect(tid == subject_tid(), "thread %d was %d", subject_tid(), tid);
	__atomic_add_fetch(&passed, 1, __ATOMIC_SEQ_CST);
	/* Stay, for the comparison. */
	for (;;)
		pause();
	return NULL;
}

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	pthread_mutex_lock(&held);
	for (intptr_t i = 0; i < N; i++)
		subject_thread(sleeper, (void *)i, NULL);
	while (__atomic_load_n(&asleep, __ATOMIC_SEQ_CST) < N)
		subject_rest();

	subject_wait();

	pthread_mutex_lock(&lock);
	going = 1;
	pthread_cond_broadcast(&go);
	pthread_mutex_unlock(&lock);
	pthread_mutex_unlock(&held);
	for (int i = 0; i < 2000; i++) {
		if (__atomic_load_n(&passed, __ATOMIC_SEQ_CST) == N)
			break;
		subject_rest();
	}
	expect(passed == N, "%d of %d threads woke", passed, N);
	return subject_done();
}
