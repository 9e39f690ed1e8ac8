/*
 * sig_pending - blocked signals that wait, process- and thread-directed, with
 * all of their siginfo and in their order.
 *
 * variants: musl
 * clones: none
 */
#include <sys/syscall.h>

#include "subject.h"

static pthread_t thread;
static pid_t thread_tid;
static int go, done;
static int tkill_code; /* what this kernel says for tgkill(2) */

/* rt_tgsigqueueinfo: what glibc's pthread_sigqueue does. */
static void
queue_thread(pid_t tid, int signo, int value)
{
	siginfo_t si;

	memset(&si, 0, sizeof(si));
	si.si_signo = signo;
	si.si_code = SI_QUEUE;
	si.si_pid = 4242; /* anything goes with SI_QUEUE to oneself */
	si.si_uid = 4343;
	si.si_value.sival_int = value;
	must(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signo, &si) == 0);
}

static void
take(const char *who, int signo, int code, int value, pid_t pid)
{
	struct timespec no_time = { 0, 0 };
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	memset(&si, 0, sizeof(si));
	if (sigtimedwait(&set, &si, &no_time) != signo) {
		subject_fail("%s: signal %d is not pending", who, signo);
		return;
	}
	expect(si.si_code == code, "%s: signal %d: code %d, not %d", who, signo,
	    si.si_code, code);
	expect(si.si_pid == pid, "%s: signal %d: from %d, not %d", who, signo,
	    si.si_pid, pid);
	if (code == SI_QUEUE)
		expect(si.si_value.sival_int == value,
		    "%s: signal %d: value %d, not %d", who, signo,
		    si.si_value.sival_int, value);
}

static void
none_left(const char *who)
{
	sigset_t set;
	int i;

	must(sigpending(&set) == 0);
	for (i = 1; i <= 64; i++)
		expect(
		    sigismember(&set, i) != 1, "%s: signal %d is left", who, i);
}

static void *
other(void *cookie)
{
	subject_thread_begin(cookie);
	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		usleep(2000);
	take("thread", SIGUSR1, tkill_code, 0, getpid());
	take("thread", SIGRTMIN + 3, SI_QUEUE, 31, 4242);
	take("thread", SIGRTMIN + 3, SI_QUEUE, 32, 4242);
	__atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

int
main(int argc, char **argv)
{
	struct timespec no_time = { 0, 0 };
	siginfo_t si;
	sigset_t all;
	int i;

	subject_init(argc, argv);
	subject_allow(SUBJECT_STATUS);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	must(syscall(SYS_tgkill, getpid(), subject_tid(), SIGUSR1) == 0);
	must(sigtimedwait(&all, &si, &no_time) == SIGUSR1);
	tkill_code = si.si_code;
	thread = subject_thread(other, NULL, &thread_tid);
	for (i = 0; i < 3; i++)
		must(sigqueue(getpid(), SIGRTMIN + 1,
			 (union sigval){ .sival_int = 10 + i }) == 0);
	must(kill(getpid(), SIGUSR2) == 0);
	must(kill(getpid(), SIGTERM) == 0);
	queue_thread(subject_tid(), SIGRTMIN + 2, 21);
	queue_thread(thread_tid, SIGRTMIN + 3, 31);
	queue_thread(thread_tid, SIGRTMIN + 3, 32);
	must(syscall(SYS_tgkill, getpid(), thread_tid, SIGUSR1) == 0);

	subject_wait();

	for (i = 0; i < 3; i++)
		take("process", SIGRTMIN + 1, SI_QUEUE, 10 + i, getpid());
	take("process", SIGUSR2, SI_USER, 0, getpid());
	take("process", SIGTERM, SI_USER, 0, getpid());
	take("main thread", SIGRTMIN + 2, SI_QUEUE, 21, 4242);
	none_left("main thread");
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST))
		subject_rest();
	return subject_done();
}
