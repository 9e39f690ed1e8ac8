/*
 * thr_affinity - the CPUs that each thread may run on.
 */
#include <sched.h>

#include "subject.h"

static cpu_set_t all;
static int up, go, done;

static void
nth(int n, cpu_set_t *set)
{
	int cpu;

	CPU_ZERO(set);
	n %= CPU_COUNT(&all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && n-- == 0)
			CPU_SET(cpu, set);
}

static void *
other(void *cookie)
{
	int i = (int)(intptr_t)subject_thread_begin(cookie);
	cpu_set_t want, is;

	nth(i, &want);
	must(sched_setaffinity(0, sizeof(want), &want) == 0);
	__atomic_add_fetch(&up, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		usleep(2000);
	must(sched_getaffinity(0, sizeof(is), &is) == 0);
	expect(CPU_EQUAL(&want, &is), "thread %d has another affinity", i);
	expect(CPU_ISSET(sched_getcpu(), &want), "thread %d runs on CPU %d", i,
	    sched_getcpu());
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

int
main(int argc, char **argv)
{
	cpu_set_t is;

	subject_init(argc, argv);
	must(sched_getaffinity(0, sizeof(all), &all) == 0);
	if (CPU_COUNT(&all) < 2)
		subject_skip("one CPU only");
	for (intptr_t i = 0; i < 4; i++)
		subject_thread(other, (void *)i, NULL);
	while (__atomic_load_n(&up, __ATOMIC_SEQ_CST) < 4)
		subject_rest();

	subject_wait();

	must(sched_getaffinity(0, sizeof(is), &is) == 0);
	expect(CPU_EQUAL(&all, &is), "the main thread has another affinity");
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < 4)
		subject_rest();
	return subject_done();
}
