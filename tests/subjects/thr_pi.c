/*
 * thr_pi - a mutex with priority inheritance, in shared memory: one thread has
 * it and another sleeps until it is given up; a child that ends with it is told
 * to the next owner.
 *
 * phases: survive eager twice
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "subject.h"

static pthread_mutex_t *locks; /* of this process's threads; of the child */
static int got = -1;

static void *
waiter(void *cookie)
{
	subject_thread_begin(cookie);
	__atomic_store_n(&got, pthread_mutex_lock(&locks[0]), __ATOMIC_SEQ_CST);
	must(pthread_mutex_unlock(&locks[0]) == 0);
	return NULL;
}

static void
make(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	must(pthread_mutexattr_init(&attr) == 0);
	must(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
	must(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
	must(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT) == 0);
	must(pthread_mutex_init(lock, &attr) == 0);
}

static pid_t
child_with_lock(void)
{
	volatile int *has = (volatile int *)(locks + 2);
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		must(pthread_mutex_lock(&locks[1]) == 0);
		*has = 1;
		for (;;)
			pause();
	}
	while (!*has)
		subject_rest();
	return pid;
}

int
main(int argc, char **argv)
{
	struct timespec ts;
	pthread_t t;
	pid_t child, tid;
	int err;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	locks = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(locks != MAP_FAILED);
	make(&locks[0]);
	make(&locks[1]);
	child = child_with_lock();
	must(pthread_mutex_lock(&locks[0]) == 0);
	t = subject_thread(waiter, NULL, &tid);
	subject_blocked(tid, SYS_futex);

	subject_wait();

	expect(__atomic_load_n(&got, __ATOMIC_SEQ_CST) == -1,
	    "the other has it already: %s", strerror(got));
	must(pthread_mutex_unlock(&locks[0]) == 0);
	must(pthread_join(t, NULL) == 0);
	expect(got == 0, "the lock gave: %s", strerror(got));
	must(kill(child, SIGKILL) == 0);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 5;
	err = pthread_mutex_timedlock(&locks[1], &ts);
	expect(err == EOWNERDEAD, "the child's lock gave: %s", strerror(err));
	must(waitpid(child, NULL, 0) == child);
	subject_forget();
	return subject_done();
}
