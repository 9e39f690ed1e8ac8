/*
 * thr_cleartid - pthread_join works: the kernel still clears and wakes the
 * word of a thread that ends.  So does starting new threads.
 *
 * variants: musl
 */
#include "subject.h"

static int go;

static void *
ends(void *cookie)
{
	intptr_t i = (intptr_t)subject_thread_begin(cookie);

	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		usleep(2000);
	return (void *)(i * 10);
}

static void *
joins(void *cookie)
{
	pthread_t *t = subject_thread_begin(cookie);
	void *value = NULL;

	/* Blocked in a join while the checkpoint is taken. */
	pthread_join(*t, &value);
	return value;
}

int
main(int argc, char **argv)
{
	pthread_t a, b, j, c;
	void *value = NULL;

	subject_init(argc, argv);
	a = subject_thread(ends, (void *)1, NULL);
	b = subject_thread(ends, (void *)2, NULL);
	j = subject_thread(joins, &a, NULL);

	subject_wait();

	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	pthread_join(b, &value);
	expect(value == (void *)20, "second thread returned %p", value);
	pthread_join(j, &value);
	expect(value == (void *)10, "first thread returned %p", value);
	c = subject_thread(ends, (void *)3, NULL);
	pthread_join(c, &value);
	expect(value == (void *)30, "new thread returned %p", value);
	subject_forget();
	return subject_done();
}
