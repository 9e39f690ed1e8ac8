/*
 * tree_stopped - stopped children: one whose stop was waited for, one whose
 * stop was heard of and not waited for, one of several threads, and one whose
 * parent is stopped as well.  None stops a second time.
 *
 * phases: survive twice
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "subject.h"

static volatile sig_atomic_t heard;
static pid_t waited, unwaited, threaded, middle, inner;
static int told[2];

static void
hear(int signo)
{
	(void)signo;
	heard++;
}

static void
stop(void)
{
	raise(SIGSTOP);
	_exit(9);
}

static void *
count(void *arg)
{
	subject_thread_begin(arg);
	for (;;)
		usleep(1000);
	return NULL;
}

static void
stop_all(void)
{
	subject_thread(count, NULL, NULL);
	subject_thread(count, NULL, NULL);
	stop();
}

/* Its child is stopped, and it has waited for that; then it stops itself. */
static void
stop_both(void)
{
	pid_t pid = fork();
	int st = 0, said[2];

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		stop();
	}
	if (waitpid(pid, &st, WUNTRACED) != pid || !WIFSTOPPED(st) ||
	    write(told[1], &pid, sizeof(pid)) != sizeof(pid))
		_exit(1);
	raise(SIGSTOP);
	/* It is told once. */
	said[0] = (int)waitpid(pid, &st, WUNTRACED | WNOHANG);
	kill(pid, SIGCONT);
	while ((said[1] = (int)waitpid(pid, &st, 0)) < 0 && errno == EINTR)
		;
	if (write(told[1], said, sizeof(said)) != sizeof(said))
		_exit(1);
	_exit(WEXITSTATUS(st) + 1);
}

static pid_t
child(void (*be)(void))
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be();
	}
	return pid;
}

static bool
is_told(pid_t pid, int flags)
{
	siginfo_t si = { 0 };

	return waitid(P_PID, (id_t)pid, &si, WSTOPPED | flags) == 0 &&
	       si.si_pid == pid;
}

static void
await(pid_t pid, int status)
{
	int st = 0;
	pid_t got;

	kill(pid, SIGCONT);
	do
		got = waitpid(pid, &st, 0);
	while (got < 0 && errno == EINTR);
	expect(got == pid && WIFEXITED(st) && WEXITSTATUS(st) == status,
	    "%d: %d, status %#x", (int)pid, (int)got, st);
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = hear, .sa_flags = SA_RESTART };
	int said[2] = { -1, -1 };

	subject_init(argc, argv);
	must(sigaction(SIGCHLD, &sa, NULL) == 0 && pipe(told) == 0);
	waited = child(stop);
	unwaited = child(stop);
	threaded = child(stop_all);
	middle = child(stop_both);
	must(read(told[0], &inner, sizeof(inner)) == sizeof(inner));
	must(is_told(waited, 0) && is_told(unwaited, WNOWAIT));
	must(is_told(threaded, 0) && is_told(middle, 0));
	heard = 0;

	subject_wait();

	subject_forget();
	expect(heard == 0, "SIGCHLD came, %d times", (int)heard);
	expect(!is_told(waited, WNOHANG), "told again of the first");
	expect(is_told(unwaited, WNOHANG), "not told of the second");
	expect(!is_told(unwaited, WNOHANG), "told of the second again");
	expect(!is_told(threaded, WNOHANG), "told again of the third");
	expect(!is_told(middle, WNOHANG), "told again of the fourth");
	kill(middle, SIGCONT);
	while (read(told[0], said, sizeof(said)) < 0 && errno == EINTR)
		;
	expect(said[0] == 0 && said[1] == (int)inner,
	    "the fourth was told of its own: %d, %d", said[0], said[1]);
	await(waited, 9);
	await(unwaited, 9);
	await(threaded, 9);
	await(middle, 10);
	return subject_done();
}
