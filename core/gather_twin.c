/*
 * gather_twin.c - what a fork inherits and /proc shows of it: read from the
 * twin, when the original has long gone on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ctx.h"
#include "fileid.h"
#include "gather.h"
#include "proc.h"
#include "proc_parse.h"
#include "proc_task.h"

#define VDSO_MAX (64u << 10)

static int
read_limits(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	struct proc_limit limits[PROCESS_NRLIMITS];
	char *text;
	int err;

	err = proc_read(cx, pid, "limits", &text, NULL);
	if (err != 0)
		return err;
	err = proc_parse_limits(text, limits);
	free(text);
	if (err != 0)
		return snap_fail(
		    cx, err, "/proc/%d/limits: not understood", (int)pid);
	for (size_t i = 0; i < PROCESS_NRLIMITS; i++) {
		p->rlimits[i].cur = limits[i].cur;
		p->rlimits[i].max = limits[i].max;
	}
	return 0;
}

static int
read_hex(struct snap_ctx *cx, pid_t pid, const char *name, uint32_t *v)
{
	char *text;
	int err;

	err = proc_read(cx, pid, name, &text, NULL);
	if (err != 0)
		return err;
	*v = (uint32_t)strtoul(text, NULL, 16);
	free(text);
	return 0;
}

static int
read_bytes(
    struct snap_ctx *cx, pid_t pid, const char *name, uint8_t **v, size_t *len)
{
	char *text;
	int err;

	err = proc_read(cx, pid, name, &text, len);
	if (err == 0)
		*v = (uint8_t *)text;
	return err;
}

/* A kernel without cgroups has it not. */
static void
read_cgroup(pid_t pid, struct process *p)
{
	if (proc_try(pid, "cgroup", &p->cgroup, NULL) != 0)
		p->cgroup = NULL;
}

static int
read_umask(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	struct proc_status st;
	int err = proc_task_status(pid, 0, &st);

	if (err != 0)
		return proc_task_fail(cx, pid, "status", err);
	p->umask = st.umask;
	return 0;
}

/* All but brk, which the process was asked for. */
static int
read_layout(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	uint64_t brk = p->mm.brk;
	struct proc_stat st;
	int err = proc_task_stat(pid, 0, &st);

	if (err != 0)
		return proc_task_fail(cx, pid, "stat", err);
	p->mm = st.mm;
	p->mm.brk = brk;
	return 0;
}

static int
read_vdso(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	const struct vma *v = NULL;
	struct iovec here, there;
	uint8_t *image;
	ssize_t n;
	int err = 0;

	for (size_t i = 0; i < p->nvmas; i++)
		if (p->vmas[i].kind == VMA_VDSO)
			v = &p->vmas[i];
	if (v == NULL || v->end - v->start > VDSO_MAX)
		return 0;
	image = malloc(v->end - v->start);
	if (image == NULL)
		return snap_fail(cx, -ENOMEM, "no memory for the vDSO");
	here.iov_base = image;
	there.iov_base = (void *)(uintptr_t)v->start;
	here.iov_len = there.iov_len = v->end - v->start;
	n = process_vm_readv(pid, &here, 1, &there, 1, 0);
	if (n < 0)
		err = -errno;
	else
		err = fileid_build_id_mem(image, (size_t)n, p->vdso);
	free(image);
	return err == 0
		   ? 0
		   : snap_fail(cx, err, "reading the vDSO of process %d: %s",
			 (int)pid, strerror(-err));
}

/*
 * A process comes back in the namespaces of whoever restores it; ours are
 * taken for those here.
 */
static int
note_namespaces(pid_t pid, struct process *p)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net",
		"pid", "time", "user", "uts" };
	char theirs[48], ours[48], a[64], b[64], what[32];
	int err = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		ssize_t n, m;

		snprintf(theirs, sizeof(theirs), "/proc/%d/ns/%s", (int)pid,
		    names[i]);
		snprintf(ours, sizeof(ours), "/proc/self/ns/%s", names[i]);
		n = readlink(theirs, a, sizeof(a));
		m = readlink(ours, b, sizeof(b));
		if (n <= 0 || (n == m && memcmp(a, b, (size_t)n) == 0))
			continue;
		snprintf(what, sizeof(what), "namespace %s", names[i]);
		if (process_unsupported(p, what,
			"it is in a namespace other than the daemon's; it "
			"comes back in that of the restoring process") != 0)
			err = -ENOMEM;
	}
	return err;
}

int
gather_twin(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	int err;

	err = read_limits(cx, pid, p);
	if (err == 0)
		err = read_umask(cx, pid, p);
	if (err == 0)
		err = read_layout(cx, pid, p);
	if (err == 0)
		err = read_hex(cx, pid, "personality", &p->personality);
	if (err == 0)
		err = read_hex(cx, pid, "coredump_filter", &p->coredump_filter);
	if (err == 0)
		err = read_bytes(
		    cx, pid, "cmdline", &p->cmdline, &p->cmdline_len);
	if (err == 0)
		err = read_bytes(
		    cx, pid, "environ", &p->environ, &p->environ_len);
	if (err == 0)
		err = read_bytes(cx, pid, "auxv", &p->auxv, &p->auxv_len);
	if (err == 0)
		read_cgroup(pid, p);
	if (err == 0)
		err = proc_readlink(cx, pid, "root", &p->root);
	if (err == 0)
		err = proc_readlink(cx, pid, "exe", &p->exe);
	if (err == 0 && note_namespaces(pid, p) != 0)
		err = snap_fail(cx, -ENOMEM, "no memory");
	if (err == 0)
		err = read_vdso(cx, pid, p);
	return err;
}
