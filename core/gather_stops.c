/*
 * gather_stops.c - a child that was stopped: does its parent know?
 *
 * A parent learns by wait(2) that a child has stopped, once.  Whether it has
 * shows only to itself; so the parent is made to ask, without taking note.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "freeze_seccomp.h"
#include "gather.h"
#include "heal.h"
#include "twin.h"

int
gather_stop_told(struct snap_ctx *cx, struct frozen *z, pid_t child, bool *told)
{
	siginfo_t si = { 0 };
	uint64_t at, size,
	    args[6] = { P_PID, (uint64_t)child, 0,
		    WSTOPPED | WNOHANG | WNOWAIT };
	pid_t inner = twin_inner_number(child);
	int64_t result;
	int err;

	/* At the end, where nobody's answers are any more. */
	heal_scratch(z, &at, &size);
	args[1] = (uint64_t)inner;
	args[2] = at + size - sizeof(si);
	*told = true;
	if (inner < 0 ||
	    !freeze_seccomp_allows(z, &z->v[heal_caller(z)], SYS_waitid, args))
		return 0;
	if (!frozen_write(z, args[2], &si, sizeof(si)))
		return -errno;
	err = heal_call(cx, z, SYS_waitid, args, &result);
	if (err == 0 && result == 0 &&
	    !frozen_read(z, &si, sizeof(si), args[2]))
		err = -errno;
	*told = err != 0 || result != 0 || si.si_pid == 0;
	return err;
}
