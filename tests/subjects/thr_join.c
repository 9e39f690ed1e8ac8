/*
 * thr_join - a thread is joined when it has ended, and not before: its id stands
 * in its own memory, where the C library and the kernel look for it.
 *
 * variants: musl
 */
#include "subject.h"

#define N 48

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_t threads[N];
static int asleep, ended[N];

static void *
worker(void *cookie)
{
	int i = (int)(intptr_t)subject_thread_begin(cookie);

	__atomic_add_fetch(&asleep, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&held);
	pthread_mutex_unlock(&held);
	subject_rest();
	__atomic_store_n(&ended[i], 1, __ATOMIC_SEQ_CST);
	return (void *)(intptr_t)(i + 1);
}

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	pthread_mutex_lock(&held);
	for (intptr_t i = 0; i < N; i++)
		threads[i] = subject_thread(worker, (void *)i, NULL);
	while (__atomic_load_n(&asleep, __ATOMIC_SEQ_CST) < N)
		subject_rest();

	subject_wait();

	subject_forget();
	pthread_mutex_unlock(&held);
	for (int i = 0; i < N; i++) {
		void *result = NULL;
		int err = pthread_join(threads[i], &result);

		expect(err == 0 && __atomic_load_n(&ended[i], __ATOMIC_SEQ_CST),
		    "thread %d is joined before its end (%d)", i, err);
		expect(
		    (intptr_t)result == i + 1, "thread %d gave %p", i, result);
	}
	return subject_done();
}
