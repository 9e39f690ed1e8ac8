/*
 * heal_allowed.c - the calls that a process's seccomp filters let pass, and the
 *	thread that makes those of the whole process.
 */
#include "heal_area.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ctx.h"
#include "freeze_seccomp.h"
#include "syscalls.h"

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

/* What the code itself calls in every thread, and in the caller. */
static const struct heal_record codes_calls[] = {
	{ SYS_rt_sigprocmask, { SIG_SETMASK, 0, 0, sizeof(uint64_t) } },
	{ SYS_ppoll, { 0, 0, 0, 0, sizeof(uint64_t) } },
	{ SYS_mmap, { 0, HEAL_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_SHARED | MAP_ANONYMOUS, (uint64_t)-1, 0 } },
	{ SYS_munmap, { 0, HEAL_PAGE } },
	{ SYS_clone, { CLONE_VM | CLONE_FS | CLONE_FILES } },
	{ SYS_clone, { CLONE_FILES } },
	{ SYS_wait4, { 1, 0, __WALL } },
	{ SYS_exit_group, { 0 } },
	{ SYS_prctl, { PR_SET_NAME } },
};
#define OF_EVERY_THREAD 2

/* The first call of some that it may not make, or NULL. */
static const struct heal_record *
forbidden(const struct frozen *z, size_t thread, const struct heal_record *v,
    size_t n)
{
	const struct tracee *t = &z->v[thread];

	for (size_t i = 0; i < n; i++)
		if (!freeze_seccomp_allows(z, t, (long)v[i].nr, v[i].args))
			return &v[i];
	return NULL;
}

static int
not_allowed(struct snap_ctx *cx, const struct frozen *z, size_t i, uint64_t nr)
{
	if (z->v[i].seccomp == SECCOMP_MODE_STRICT)
		return snap_fail(cx, -ENOTSUP,
		    "process %d: it is in seccomp's strict mode, in which no "
		    "call can be made in it",
		    (int)z->pid);
	return snap_fail(cx, -ENOTSUP,
	    "process %d: its seccomp filter does not let %s pass, a call that "
	    "must be made in it",
	    (int)z->pid, syscall_name((long)nr));
}

/* Is there anything in the lists that a thread may not do?  Then it does none. */
int
heal_check_lists(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;

	for (size_t i = 0; i < z->n; i++) {
		const struct heal_list *l = &h->lists[i];
		const struct heal_record *r;

		if (z->v[i].no_calls || z->v[i].seccomp == 0)
			continue;
		r = forbidden(
		    z, i, (const void *)(h->shadow + l->records), l->nrecords);
		if (r != NULL && i == h->caller)
			return not_allowed(cx, z, i, r->nr);
		z->v[i].no_calls = r != NULL;
	}
	return 0;
}

/* System calls must be ours to make in some thread. */
int
heal_choose_caller(struct snap_ctx *cx, struct frozen *z)
{
	const size_t n = sizeof(codes_calls) / sizeof(codes_calls[0]);
	struct heal *h = z->heal;
	const struct heal_record *r, *first = NULL;
	size_t i, filtered = z->n;

	for (i = z->n; i-- > 0;) {
		struct tracee *t = &z->v[i];

		if (t->no_calls || t->seccomp == 0)
			continue;
		t->no_calls =
		    forbidden(z, i, codes_calls, OF_EVERY_THREAD) != NULL;
		h->children = PTRACE_O_SUSPEND_SECCOMP;
	}
	for (i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];

		r = forbidden(z, i, codes_calls, n);
		if (!t->no_calls && r == NULL)
			break;
		if (r != NULL && first == NULL) {
			first = r;
			filtered = i;
		}
	}
	h->caller = i;
	if (i < z->n)
		return 0;
	if (first != NULL)
		return not_allowed(cx, z, filtered, first->nr);
	return snap_fail(cx, -ENOTSUP,
	    "process %d: all of its system calls are redirected "
	    "(syscall user dispatch)",
	    (int)z->pid);
}
