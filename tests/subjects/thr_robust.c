/*
 * thr_robust - a robust mutex whose owner ends is told to the next owner:
 * the kernel knows the thread's robust list.
 *
 * clones: none
 */
#include "subject.h"

static pthread_mutex_t lock;
static int go, locked;

static void *
owner(void *cookie)
{
	subject_thread_begin(cookie);
	must(pthread_mutex_lock(&lock) == 0);
	__atomic_store_n(&locked, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		usleep(2000);
	return NULL; /* without unlocking */
}

int
main(int argc, char **argv)
{
	pthread_mutexattr_t attr;
	struct timespec ts;
	pthread_t t;
	int err;

	subject_init(argc, argv);
	must(pthread_mutexattr_init(&attr) == 0);
	must(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
	must(pthread_mutex_init(&lock, &attr) == 0);
	t = subject_thread(owner, NULL, NULL);
	while (!__atomic_load_n(&locked, __ATOMIC_SEQ_CST))
		subject_rest();

	subject_wait();

	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 3;
	err = pthread_mutex_timedlock(&lock, &ts);
	expect(err == EOWNERDEAD, "the lock gave: %s", strerror(err));
	pthread_join(t, NULL);
	subject_forget();
	return subject_done();
}
