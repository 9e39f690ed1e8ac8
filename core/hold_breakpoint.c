/*
 * hold_breakpoint.c - does a thread stop at a breakpoint of the CPU here?  Some
 * virtual machines let one be set, and it is never hit: then a program would
 * run past the function to which it was to be brought.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "hold.h"

static __attribute__((noinline)) void
point(void)
{
	__asm__ volatile("");
}

static _Noreturn void
go_past(void)
{
	void (*volatile call)(void) = point;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 && raise(SIGSTOP) == 0)
		call();
	_exit(0);
}

static bool
await(pid_t pid, int *st)
{
	while (waitpid(pid, st, __WALL) < 0)
		if (errno != EINTR)
			return false;
	return true;
}

static bool
set(pid_t pid, unsigned reg, uint64_t value)
{
	return ptrace(PTRACE_POKEUSER, pid,
		   offsetof(struct user, u_debugreg[0]) + 8 * reg, value) == 0;
}

/* It has stopped itself.  True unless it goes past the breakpoint. */
static bool
stops(pid_t pid, int *st)
{
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL) < 0 ||
	    !set(pid, 0, (uintptr_t)point) || !set(pid, 7, 1) ||
	    ptrace(PTRACE_CONT, pid, 0, 0) < 0)
		return true; /* the program's own will tell */
	return await(pid, st) && WIFSTOPPED(*st) && WSTOPSIG(*st) == SIGTRAP;
}

int
hold_breakpoints(struct snap_ctx *cx)
{
	pid_t pid = fork();
	bool hit = true;
	int st = 0;

	if (pid == 0)
		go_past();
	if (pid < 0)
		return snap_fail(cx, -errno, "fork: %s", strerror(errno));
	if (await(pid, &st) && WIFSTOPPED(st))
		hit = stops(pid, &st);
	if (!WIFEXITED(st) && !WIFSIGNALED(st)) {
		kill(pid, SIGKILL);
		await(pid, &st);
	}
	return hit ? 0
		   : snap_fail(cx, -ENOTSUP,
			 "a breakpoint of the CPU is never hit here, as in "
			 "some "
			 "virtual machines, and --until-symbol needs one; "
			 "other points do not");
}
