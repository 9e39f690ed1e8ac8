#include "freeze_seccomp.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "hold.h"
#include "proc_task.h"
#include "seccomp.h"
#include "uapi.h"

#define K_ERESTART_RESTARTBLOCK 516
#define RESTART_SYSCALL_SIZE 2 /* of the instruction */

/* ---- may we? ---- */

/* What PTRACE_SECCOMP_GET_FILTER wants of us. */
static bool
may_look(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2];

	return prctl(PR_GET_SECCOMP) == 0 &&
	       syscall(SYS_capget, &head, data) == 0 &&
	       (data[CAP_SYS_ADMIN / 32].effective &
		   1u << CAP_SYS_ADMIN % 32) != 0;
}

static int
may_not_look(struct snap_ctx *cx, const struct frozen *z)
{
	return snap_fail(cx, -ENOTSUP,
	    "process %d: its system calls are filtered (seccomp), and only "
	    "root may see how",
	    (int)z->pid);
}

static int
read_mode(pid_t pid, pid_t tid, unsigned *mode)
{
	struct proc_status st;
	int err = proc_task_status(pid, tid, &st);

	if (err != 0)
		return err;
	*mode = st.seccomp;
	return 0;
}

int
freeze_seccomp_may(struct snap_ctx *cx, const struct frozen *z)
{
	unsigned mode = 0;
	struct dirent *e;
	char path[32];
	DIR *d;

	if (z->held_filter || may_look())
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)z->pid);
	d = opendir(path);
	if (d == NULL)
		return snap_fail(cx, -ESRCH, "process %d is gone", (int)z->pid);
	while (mode != SECCOMP_MODE_FILTER && (e = readdir(d)) != NULL)
		read_mode(z->pid, (pid_t)strtol(e->d_name, NULL, 10), &mode);
	closedir(d);
	return mode == SECCOMP_MODE_FILTER ? may_not_look(cx, z) : 0;
}

/* ---- reading them ---- */

static long
request(int nr, pid_t tid, uint64_t addr, void *data)
{
	return ptrace((enum __ptrace_request)nr, tid, (void *)addr, data);
}

/* Number `k` of the chain, from the oldest: its length, 0 at the end. */
static long
read_filter(pid_t tid, uint64_t k, struct sock_filter *v, uint32_t *flags)
{
	struct uapi_seccomp_metadata meta = { .filter_off = k };
	long n = request(UAPI_PTRACE_SECCOMP_GET_FILTER, tid, k, v);

	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Older kernels do not have it. */
	*flags = 0;
	if (request(UAPI_PTRACE_SECCOMP_GET_METADATA, tid, sizeof(meta),
		&meta) >= 0)
		*flags = (uint32_t)meta.flags;
	return n;
}

/* That of snapfs-run's keeper is no affair of the program's. */
static int
read_chain(struct frozen *z, struct tracee *t, struct sock_filter *v)
{
	uint32_t flags = 0;
	long n;

	t->filter = 0;
	for (uint64_t k = 0;; k++) {
		n = read_filter(t->tid, k, v, &flags);
		if (n <= 0)
			break;
		if (z->held && k == 0 && hold_filter_ours(v, (size_t)n))
			continue;
		t->filter =
		    filters_add(&z->filters, t->filter, flags, v, (size_t)n);
		if (t->filter == 0)
			return -ENOMEM;
	}
	t->seccomp = t->filter != 0 ? SECCOMP_MODE_FILTER : 0;
	return (int)n;
}

/*
 * Most have none, which the kernel says at once: EINVAL.  The mode of a thread
 * that was born late, or whose filters are hidden, is read.
 */
static int
look_at(
    struct snap_ctx *cx, struct frozen *z, struct tracee *t, void *instructions)
{
	const struct early *e = early_find(&z->early, t->tid);
	int err = 0;

	if (request(UAPI_PTRACE_SECCOMP_GET_FILTER, t->tid, 0, NULL) >= 0)
		return read_chain(z, t, instructions);
	if (errno == ESRCH)
		return -ESRCH;
	if (errno == EINVAL && e != NULL)
		t->seccomp = e->seccomp;
	else
		err = read_mode(z->pid, t->tid, &t->seccomp);
	if (err == 0 && t->seccomp == SECCOMP_MODE_FILTER) {
		if (!z->held_filter)
			return may_not_look(cx, z);
		t->seccomp = 0;
	}
	return err;
}

bool
freeze_seccomp_allows(const struct frozen *z, const struct tracee *t, long nr,
    const uint64_t args[6])
{
	return t->seccomp == 0 ||
	       (t->seccomp == SECCOMP_MODE_FILTER &&
		   filters_allow(&z->filters, t->filter, nr, args));
}

static int
restart_otherwise(struct snap_ctx *cx, const struct frozen *z, struct tracee *t)
{
	const uint64_t args[6] = { t->regs.rdi, t->regs.rsi, t->regs.rdx,
		t->regs.r10, t->regs.r8, t->regs.r9 };

	if ((long)t->regs.orig_rax < 0 ||
	    (long)t->regs.rax != -K_ERESTART_RESTARTBLOCK ||
	    freeze_seccomp_allows(z, t, SYS_restart_syscall, args))
		return 0;
	snap_logf(cx, SNAP_NOTICE,
	    "process %d: thread %d may not restart call %lu (seccomp): its "
	    "time-out begins anew",
	    (int)z->pid, (int)t->tid, (unsigned long)t->regs.orig_rax);
	t->regs.rip -= RESTART_SYSCALL_SIZE;
	t->regs.rax = t->regs.orig_rax;
	t->regs.orig_rax = (unsigned long)-1;
	return tracee_setregs(t, &t->regs);
}

int
freeze_seccomp(struct snap_ctx *cx, struct frozen *z)
{
	void *v = calloc(BPF_MAXINSNS, sizeof(struct sock_filter));
	int err = v == NULL ? -ENOMEM : 0;

	for (size_t i = 0; err == 0 && i < z->n; i++)
		err = look_at(cx, z, &z->v[i], v);
	for (size_t i = 0; err == 0 && i < z->n; i++)
		err = restart_otherwise(cx, z, &z->v[i]);
	free(v);
	if (err != 0)
		return snap_fail(cx, err, "process %d: its seccomp filters: %s",
		    (int)z->pid, strerror(-err));
	return 0;
}
