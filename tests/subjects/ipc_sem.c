/*
 * ipc_sem - a set of semaphores: values, a thread that waits for one, and what
 * is to be undone when a child ends.
 *
 * clones: refused
 */
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "call.h"

enum { PLAIN, WAITED, UNDONE, READY, SEMS };

static int id;

static void
change(int n, int by, int flags)
{
	struct sembuf op = { (unsigned short)n, (short)by, (short)flags };

	must(semop(id, &op, 1) == 0);
}

static long
waits(void *arg)
{
	struct sembuf op = { WAITED, -2, 0 };

	(void)arg;
	return call_errno(semop(id, &op, 1));
}

static void
child(void)
{
	struct sembuf op = { READY, -1, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	change(UNDONE, 300, SEM_UNDO);
	change(READY, 1, 0);
	change(READY, 0, 0);
	while (semop(id, &op, 1) < 0 && errno == EINTR)
		;
	_exit(42);
}

int
main(int argc, char **argv)
{
	struct call a = { .make = waits, .nr = SYS_semtimedop };
	struct semid_ds was, is;
	pid_t pid;
	int st;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	must((id = semget(IPC_PRIVATE, SEMS, 0640)) >= 0);
	change(PLAIN, 32767, 0);
	change(WAITED, 1, 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		child();
	change(READY, -1, 0);
	change(UNDONE, -100, 0);
	call_begin(&a);
	must(semctl(id, 0, IPC_STAT, &was) == 0);

	subject_wait();

	expect(!call_finished(&a), "semop returned %ld too early", a.result);
	expect(semctl(id, 0, IPC_STAT, &is) == 0, "the set is gone");
	expect(is.sem_perm.mode == was.sem_perm.mode &&
		   is.sem_perm.uid == was.sem_perm.uid &&
		   is.sem_perm.cuid == was.sem_perm.cuid &&
		   is.sem_nsems == was.sem_nsems,
	    "it is another set");
	expect(semctl(id, PLAIN, GETVAL) == 32767, "value: %d",
	    semctl(id, PLAIN, GETVAL));
	expect(semctl(id, WAITED, GETVAL) == 1, "what is waited for: %d",
	    semctl(id, WAITED, GETVAL));
	expect(semctl(id, UNDONE, GETVAL) == 200, "what is to be undone: %d",
	    semctl(id, UNDONE, GETVAL));
	expect(semctl(id, PLAIN, GETPID) == getpid(), "changed by %d",
	    semctl(id, PLAIN, GETPID));
	change(WAITED, 1, 0);
	call_end("semop", &a, 0);
	subject_forget();
	change(UNDONE, 1000, 0);
	change(READY, 1, 0);
	expect(waitpid(pid, &st, 0) == pid && WIFEXITED(st) &&
		   WEXITSTATUS(st) == 42,
	    "the child");
	expect(semctl(id, UNDONE, GETVAL) == 900, "undone: %d",
	    semctl(id, UNDONE, GETVAL));
	must(semctl(id, 0, IPC_RMID) == 0);
	return subject_done();
}
