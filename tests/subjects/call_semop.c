/*
 * call_semop - asleep on a System V semaphore.  Interrupted, the kernel lets
 * it fail with EINTR.
 *
 * phases: survive
 */
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include "call.h"

static int id;

static long
waits(void *arg)
{
	struct sembuf op = { 0, -1, 0 };
	struct timespec ts = { 1000, 0 };

	if (arg == NULL)
		return call_errno(semop(id, &op, 1));
	op.sem_num = 1;
	return call_errno(semtimedop(id, &op, 1, &ts));
}

int
main(int argc, char **argv)
{
	struct call a = { .make = waits, .nr = SYS_semtimedop };
	struct call b = { .make = waits, .nr = SYS_semtimedop, .arg = &a };
	struct sembuf up[2] = { { 0, 1, 0 }, { 1, 1, 0 } };

	subject_init(argc, argv);
	must((id = semget(IPC_PRIVATE, 2, 0600)) >= 0);
	call_begin(&a);
	call_begin(&b);

	subject_wait();

	expect(!call_finished(&a), "semop returned %ld too early", a.result);
	expect(
	    !call_finished(&b), "semtimedop returned %ld too early", b.result);
	must(semop(id, up, 2) == 0);
	call_end("semop", &a, 0);
	call_end("semtimedop", &b, 0);
	must(semctl(id, 0, IPC_RMID) == 0);
	return subject_done();
}
