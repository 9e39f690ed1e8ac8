/*
 * thr_sched - policy, priority, nice, I/O priority and timer slack of each
 * thread.
 */
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "subject.h"

#define IOPRIO(class, data) ((class) << 13 | (data))

static const struct want {
	int policy, priority, nice, ioprio;
	unsigned long slack;
} wants[] = {
	{ SCHED_OTHER, 0, 5, IOPRIO(2, 6), 123456 },
	{ SCHED_BATCH, 0, 10, IOPRIO(3, 0), 1 },
	{ SCHED_IDLE, 0, 0, 0, 50000 },
	{ SCHED_FIFO, 7, 0, IOPRIO(1, 2), 50000 },
	{ SCHED_RR | SCHED_RESET_ON_FORK, 3, -4, 0, 50000 },
};

#define N (int)(sizeof(wants) / sizeof(wants[0]))

static int up, go, done;

static bool
set(const struct want *w)
{
	struct sched_param sp = { .sched_priority = w->priority };

	return setpriority(PRIO_PROCESS, (id_t)subject_tid(), w->nice) == 0 &&
	       sched_setscheduler(0, w->policy, &sp) == 0 &&
	       prctl(PR_SET_TIMERSLACK, w->slack) == 0 &&
	       (w->ioprio == 0 ||
		   syscall(SYS_ioprio_set, 1, 0, w->ioprio) == 0);
}

static void
check(int i)
{
	const struct want *w = &wants[i];
	struct sched_param sp;
	int slack, ioprio;

	must(sched_getparam(0, &sp) == 0);
	expect(sched_getscheduler(0) == w->policy, "thread %d: policy is %x", i,
	    (unsigned)sched_getscheduler(0));
	expect(sp.sched_priority == w->priority, "thread %d: priority is %d", i,
	    sp.sched_priority);
	errno = 0;
	expect(getpriority(PRIO_PROCESS, (id_t)subject_tid()) == w->nice,
	    "thread %d: nice is %d", i,
	    getpriority(PRIO_PROCESS, (id_t)subject_tid()));
	slack = prctl(PR_GET_TIMERSLACK);
	/* A real-time thread has none. */
	expect(w->priority > 0 || (unsigned long)slack == w->slack,
	    "thread %d: timer slack is %d", i, slack);
	ioprio = (int)syscall(SYS_ioprio_get, 1, 0);
	expect(w->ioprio == 0 || ioprio == w->ioprio,
	    "thread %d: I/O priority is %x", i, (unsigned)ioprio);
}

static void *
other(void *cookie)
{
	int i = (int)(intptr_t)subject_thread_begin(cookie);

	if (!set(&wants[i]))
		subject_skip("thread %d: %s", i, strerror(errno));
	__atomic_add_fetch(&up, 1, __ATOMIC_SEQ_CST);
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
	subject_init(argc, argv);
	for (intptr_t i = 0; i < N; i++)
		subject_thread(other, (void *)i, NULL);
	while (__atomic_load_n(&up, __ATOMIC_SEQ_CST) < N)
		subject_rest();

	subject_wait();

	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < N)
		subject_rest();
	return subject_done();
}
