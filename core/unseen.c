#include "unseen.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze.h"
#include "freeze_seccomp.h"
#include "heal.h"
#include "proc.h"
#include "twin.h"

/* ---- Landlock ---- */

/*
 * The kernel tells nobody.  But one that is under Landlock may not look at a
 * process that is not, whatever its ids: so its twin, which is confined as it
 * is, is made to look at one that it could look at otherwise.
 *
 * Who has neither cannot have confined itself. */
static bool
may_be(const struct process *p)
{
	for (size_t i = 0; i < p->nthreads; i++)
		if (p->threads[i].creds.no_new_privs ||
		    (p->threads[i].creds.cap_prm >> CAP_SYS_ADMIN & 1) != 0)
			return true;
	return false;
}

static bool
same_namespace(pid_t pid, const char *name)
{
	char path[48];
	struct stat a, b;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	if (stat(path, &a) != 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	return stat(path, &b) == 0 && a.st_ino == b.st_ino;
}

/*
 * Others could forbid it to look as well: another user namespace, where its
 * capabilities are of no use, or a security module, of which it has a label.
 */
static bool
can_be_told(pid_t twin)
{
	bool plain = true;
	char *label;

	if (!same_namespace(twin, "user") || !same_namespace(twin, "pid"))
		return false;
	if (proc_try(twin, "attr/current", &label, NULL) == 0) {
		plain =
		    label[0] == '\0' || strncmp(label, "unconfined", 10) == 0;
		free(label);
	}
	return plain;
}

/* May the twin look at process `pid`?  1, 0, or -errno. */
static int
may_look(struct twin *t, pid_t pid)
{
	const uint64_t room = twin_room(t);
	const uint64_t args[6] = { (uint64_t)pid, room, room + 8 };
	int err = (int)twin_call(t, SYS_get_robust_list, args);

	return err == -EPERM ? 0 : err < 0 ? err : 1;
}

/*
 * A process with the ids of the first thread, and no rights.  Whoever has these
 * ids may look at it as well, so it has nothing of ours: no descriptors, and
 * after execve(2) no memory.  Until then the kernel lets only root look at it if
 * the ids are others than ours.  Only calls of the kernel: there may be other
 * threads, which are not in it.
 */
static void __attribute__((noreturn))
be_looked_at(const struct creds *c, const int go[2])
{
	static const char exe[] = "/proc/self/exe";
	static const char *const args[] = { "snapfs", "--version", NULL };
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct none[2] = { { 0 } };
	char byte;

	/* If we die before it is traced, nothing comes. */
	syscall(SYS_close, go[1]);
	if (syscall(SYS_read, go[0], &byte, 1) == 1) {
		syscall(SYS_close_range, 0, ~0u, 0);
		syscall(SYS_setgroups, 0, NULL);
		syscall(SYS_setresgid, c->rgid, c->rgid, c->rgid);
		syscall(SYS_setresuid, c->ruid, c->ruid, c->ruid);
		syscall(SYS_capset, &head, none);
		/* Else execve(2) gives root all rights again. */
		syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		/* What one may not read may not be looked at. */
		if (syscall(SYS_access, exe, R_OK) == 0)
			syscall(SYS_execve, exe, args, args + 2);
	}
	for (;;)
		syscall(SYS_exit_group, 1);
}

/* Until it has the memory that it is looked at with; it does nothing there. */
static bool
stops_at_exec(pid_t child, int go)
{
	int status;

	if (ptrace(PTRACE_SEIZE, child, NULL,
		PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC) != 0 ||
	    write(go, "", 1) != 1)
		return false;
	while (waitpid(child, &status, __WALL) < 0)
		if (errno != EINTR)
			return false;
	return WIFSTOPPED(status) &&
	       status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8);
}

static void
end_looked_at(pid_t child)
{
	int status;

	kill(child, SIGKILL);
	for (;;) {
		if (waitpid(child, &status, __WALL) < 0) {
			if (errno != EINTR)
				return;
		} else if (!WIFSTOPPED(status)) {
			return;
		}
	}
}

/* One that it could look at if it were not confined. */
static int
look_at_equal(struct twin *t, const struct creds *c)
{
	int go[2], may = -EAGAIN;
	pid_t child;

	if (pipe2(go, O_CLOEXEC) != 0)
		return -errno;
	child = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
	if (child == 0)
		be_looked_at(c, go);
	if (child > 0) {
		if (stops_at_exec(child, go[1]))
			may = may_look(t, child);
		end_looked_at(child);
	}
	close(go[0]);
	close(go[1]);
	return may;
}

/* ---- segments ---- */

/* modify_ldt(2): the twin has the same. */
static int
note_segments(struct twin *t, struct process *p)
{
	const uint64_t args[6] = { 0, twin_room(t), TWIN_ROOM };
	int n = (int)twin_call(t, SYS_modify_ldt, args);

	if (n <= 0)
		return n == -ESRCH ? n : 0;
	return process_unsupported(p, "ldt",
	    "it has segments of its own (modify_ldt(2)), and comes back "
	    "without");
}

static int
note_landlock(struct twin *t, struct process *p)
{
	int may;

	if (!may_be(p) || !can_be_told(twin_pid(t)))
		return 0;
	may = may_look(t, getpid());
	if (may == 0)
		may = look_at_equal(t, &p->threads[0].creds);
	if (may != 0)
		return may == -ESRCH ? may : 0;
	return process_unsupported(p, "landlock",
	    "it has confined itself by Landlock, of which the kernel does not "
	    "tell how; the restored process is not confined");
}

int
unseen_collect(struct snap_ctx *cx, struct twin *t, struct process *p)
{
	int err = note_landlock(t, p);

	if (err == 0)
		err = note_segments(t, p);
	if (err == -ESRCH)
		return snap_fail(
		    cx, -EIO, "process %d: its twin ended", (int)p->pid);
	return err;
}

/* ---- without a twin ---- */

#define ROOM 256u /* at the end of the scratch area: see gather_stop_told() */

/* The result of a call in the process itself; 1 in *no if it may not make it. */
static int
ask(struct snap_ctx *cx, struct frozen *z, long nr, uint64_t args[6],
    int64_t *result, bool *no)
{
	if (!freeze_seccomp_allows(z, &z->v[heal_caller(z)], nr, args)) {
		*no = true;
		return 0;
	}
	return heal_call(cx, z, nr, args, result);
}

int
unseen_maybe(struct snap_ctx *cx, struct frozen *z, const struct process *p)
{
	uint64_t at, size, args[6] = { 0 };
	int64_t segments = 0, look = 0;
	bool no = false;
	int err;

	/* With one of its own, those of its mappings cannot be told apart. */
	for (size_t i = 0; i < p->nthreads; i++)
		no |= p->threads[i].habits.numa.mode != 0;
	heal_scratch(z, &at, &size);
	at += size - ROOM;
	args[1] = at;
	args[2] = ROOM;
	err = ask(cx, z, SYS_modify_ldt, args, &segments, &no);
	if (err == 0 && may_be(p) && can_be_told(z->pid)) {
		args[0] = (uint64_t)getpid();
		args[2] = at + 8;
		err = ask(cx, z, SYS_get_robust_list, args, &look, &no);
	}
	if (err < 0)
		return err;
	return no || segments > 0 || look < 0;
}
