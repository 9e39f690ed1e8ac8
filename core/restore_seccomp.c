/*
 * restore_seccomp.c - seccomp filters of new processes: can they be put there,
 * and how.
 *
 * Whoever may suspend filters lets the plan install them, see plan_seccomp.c.
 * Others, who restore with the rights of an ordinary user, install them when
 * all else is done, by calls that the filters themselves must let pass; and
 * since only root may filter a process that can gain rights by executing a
 * program, it cannot do that any more (no_new_privs).
 */
#include "restore_seccomp.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_tree.h"
#include "seccomp.h"
#include "syscalls.h"

static bool
has_filters(const struct restore_tree *t)
{
	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < t->family->v[i]->nthreads; k++)
			if (t->family->v[i]->threads[k].seccomp != 0)
				return true;
	return false;
}

/*
 * The kernel is asked with a child that does nothing: 0, -EPERM.  -errno: nobody
 * knows, and nobody is to lose what root can have.
 */
static int
may_suspend(void)
{
	pid_t pid = fork();
	int err = 0;

	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return -errno;
	if (ptrace(PTRACE_SEIZE, pid, 0,
		PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP) < 0)
		err = -errno;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	/* A kernel without it says so. */
	return err == -EINVAL ? -EPERM : err;
}

/* ---- without suspending ---- */

/* How filter `number` is installed by a thread under those before it. */
static int
way_of(const struct filters *f, uint32_t number)
{
	const struct filter *x = filters_get(f, number);
	const uint64_t by_call[6] = { SECCOMP_SET_MODE_FILTER, x->flags };
	const uint64_t by_prctl[6] = { PR_SET_SECCOMP, SECCOMP_MODE_FILTER };

	if (filters_allow(f, x->before, SYS_seccomp, by_call))
		return SYS_seccomp;
	if (x->flags == 0 && filters_allow(f, x->before, SYS_prctl, by_prctl))
		return SYS_prctl;
	return -1;
}

static int
cannot(struct restore *r, const char *why)
{
	return snap_fail(r->cx, -EPERM,
	    "seccomp: %s: only root can put the process under its filters",
	    why);
}

/* The leader unmaps the restorer in the end. */
static int
check_thread(struct restore *r, size_t i)
{
	const uint64_t args[6] = { (uint64_t)r->map, r->map_len };
	const struct filters *f = &r->p->filters;
	const struct thread *t = &r->p->threads[i];

	for (uint32_t n = t->filter; n != 0; n = filters_get(f, n)->before)
		if (way_of(f, n) < 0)
			return cannot(
			    r, "one filter does not let the next be installed");
	if (i == 0 && (t->seccomp == SECCOMP_MODE_STRICT ||
			  !filters_allow(f, t->filter, SYS_munmap, args)))
		return cannot(r, "munmap is not allowed");
	return 0;
}

int
restore_seccomp_check(struct restore *r)
{
	bool privs = false;
	int err = 0;

	for (size_t i = 0; !r->host.suspended && err == 0 && i < r->p->nthreads;
	     i++) {
		const struct thread *t = &r->p->threads[i];

		if (t->seccomp == 0)
			continue;
		err = check_thread(r, i);
		privs |= t->filter != 0 && !t->creds.no_new_privs;
	}
	if (err == 0 && privs)
		restore_note(r,
		    "%sits seccomp filters come with no_new_privs, since you "
		    "are not root",
		    r->where == NULL ? "" : r->where);
	return err;
}

int
restore_seccomp_probe(struct restore_tree *t)
{
	bool wanted = has_filters(t);
	int err = wanted ? may_suspend() : 0;

	if (err != 0 && err != -EPERM)
		return snap_fail(t->cx, err,
		    "may seccomp filters be suspended: %s", strerror(-err));
	for (size_t i = 0; i < t->n; i++)
		t->v[i].host.suspended = wanted && err == 0;
	return 0;
}

unsigned
restore_seccomp_options(const struct restore_tree *t)
{
	return t->v[0].host.suspended ? PTRACE_O_SUSPEND_SECCOMP : 0;
}

/* ---- at the end ---- */

static int
install(struct restore *r, size_t i, uint32_t number, restore_call_fn *call,
    void *arg)
{
	const struct filter *f = filters_get(&r->p->filters, number);
	uint64_t prog = (uint64_t)r->map + r->plan->filters[number - 1];
	uint64_t by_call[6] = { SECCOMP_SET_MODE_FILTER, f->flags, prog };
	uint64_t by_prctl[6] = { PR_SET_SECCOMP, SECCOMP_MODE_FILTER, prog };
	int way = way_of(&r->p->filters, number), err = 0;
	int64_t ret;

	if (f->before != 0)
		err = install(r, i, f->before, call, arg);
	if (err == 0)
		err = call(
		    arg, i, way, way == SYS_seccomp ? by_call : by_prctl, &ret);
	if (err == 0 && ret != 0)
		err = snap_fail(r->cx, (int)ret, "seccomp: filter %u: %s",
		    number, strerror((int)-ret));
	return err;
}

static int
confine(struct restore *r, size_t i, restore_call_fn *call, void *arg)
{
	const struct thread *t = &r->p->threads[i];
	const uint64_t privs[6] = { PR_SET_NO_NEW_PRIVS, 1 };
	const uint64_t strict[6] = { PR_SET_SECCOMP, SECCOMP_MODE_STRICT };
	int64_t ret = 0;
	int err;

	if (t->seccomp == SECCOMP_MODE_STRICT) {
		err = call(arg, i, SYS_prctl, strict, &ret);
	} else {
		err = call(arg, i, SYS_prctl, privs, &ret);
		if (err == 0 && ret == 0)
			err = install(r, i, t->filter, call, arg);
	}
	if (err == 0 && ret != 0)
		err = snap_fail(r->cx, (int)ret, "seccomp: thread %d: %s",
		    (int)t->tid, strerror((int)-ret));
	return err;
}

/* The leader last, which has more to do. */
int
restore_seccomp_confine(struct restore *r, restore_call_fn *call, void *arg)
{
	int err = 0;

	for (size_t i = r->p->nthreads; err == 0 && i-- > 0;)
		if (!r->host.suspended && r->p->threads[i].seccomp != 0)
			err = confine(r, i, call, arg);
	return err;
}
