/*
 * call_timeouts_sem - the same as call_timeouts of what is not brought back:
 * semtimedop, io_getevents, io_pgetevents.
 *
 * phases: survive
 */
#include <linux/aio_abi.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include "call.h"

#define MS 1000

static const struct timespec brief = { MS / 1000, MS % 1000 * 1000000 };
static struct sembuf down = { 0, -1, 0 };
static struct io_event events[2];

static long
exactly(void *arg)
{
	const uint64_t *a = arg;

	return call_exactly((long)a[0], a + 1);
}

#define P(x) ((uint64_t)(uintptr_t)(x))

int
main(int argc, char **argv)
{
	uint64_t sem_args[] = { SYS_semtimedop, 0, P(&down), 1, P(&brief), 5,
		6 };
	uint64_t aio_args[] = { SYS_io_getevents, 0, 1, 1, P(&events[0]),
		P(&brief), 6 };
	uint64_t paio_args[] = { SYS_io_pgetevents, 0, 1, 1, P(&events[1]),
		P(&brief), 0 };
	struct call sem = { .make = exactly, .arg = sem_args };
	struct call aio = { .make = exactly, .arg = aio_args };
	struct call paio = { .make = exactly, .arg = paio_args };
	aio_context_t io = 0;
	int id;

	subject_init(argc, argv);
	must((id = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	must(syscall(SYS_io_setup, 8, &io) == 0);
	sem_args[1] = (uint64_t)id;
	aio_args[1] = paio_args[1] = io;
	sem.nr = SYS_semtimedop;
	aio.nr = SYS_io_getevents;
	paio.nr = SYS_io_pgetevents;
	call_begin(&sem);
	call_begin(&aio);
	call_begin(&paio);

	subject_wait();

	call_timed("semtimedop", &sem, -EAGAIN, MS);
	call_timed("io_getevents", &aio, 0, MS);
	call_timed("io_pgetevents", &paio, 0, MS);
	must(semctl(id, 0, IPC_RMID) == 0);
	return subject_done();
}
