/*
 * res_unsupported.c - the last row of the table: what has no kind of its own
 * is named, so that nobody loses it in silence.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "ctx.h"
#include "res.h"

static const struct {
	const char *target; /* begins with */
	const char *what;
} known[] = {
	{ "anon_inode:[io_uring]", "an io_uring" },
	{ "anon_inode:bpf", "a BPF object" },
	{ "anon_inode:[perf_event]", "a perf event" },
	{ "anon_inode:[userfaultfd]", "a userfaultfd" },
	{ "anon_inode:[fscontext]", "a file system context (fsopen)" },
	{ "anon_inode:landlock", "a Landlock rule set" },
	{ "anon_inode:[landlock", "a Landlock rule set" },
	{ "anon_inode:seccomp", "a seccomp listener" },
	{ "anon_inode:kvm", "a virtual machine (KVM)" },
	{ "anon_inode:dmabuf", "a DMA buffer" },
	{ "anon_inode:sync_file", "a sync file" },
	{ "/dmabuf:", "a DMA buffer" },
	{ "/dev/vhost-", "a vhost device" },
	{ "mnt:[", "a namespace" },
	{ "net:[", "a namespace" },
	{ "pid:[", "a namespace" },
	{ "user:[", "a namespace" },
	{ "uts:[", "a namespace" },
	{ "ipc:[", "a namespace" },
	{ "time:[", "a namespace" },
	{ "cgroup:[", "a namespace" },
	{ "mqueue:", "a message queue" },
};

static bool
unsupported_match(const struct fd_probe *q)
{
	(void)q;
	return true;
}

static int
unsupported_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	const char *t = q->target;

	(void)p;
	(void)f;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strncmp(t, known[i].target, strlen(known[i].target)) == 0)
			return snap_fail(cx, -ENOTSUP,
			    "%s (%s), a kind that is not restored",
			    known[i].what, t);
	if (S_ISCHR(q->st.st_mode) || S_ISBLK(q->st.st_mode))
		return snap_fail(cx, -ENOTSUP,
		    "the %s device %u:%u (%s), a kind that is not restored",
		    S_ISCHR(q->st.st_mode) ? "character" : "block",
		    major(q->st.st_rdev), minor(q->st.st_rdev), t);
	return snap_fail(cx, -ENOTSUP, "%s, a kind that is not restored", t);
}

static int
unsupported_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const char *why = openfile_get(f, "why");

	(void)r;
	return snap_fail(cx, -ENOTSUP,
	    "fd %u: %s; to restore without it: ignore=fd %u", f->id,
	    why == NULL ? f->target : why, f->id);
}

const struct resource res_unsupported = {
	.name = "unsupported",
	.match = unsupported_match,
	.collect = unsupported_collect,
	.try = unsupported_restore,
	.restore = unsupported_restore,
};
