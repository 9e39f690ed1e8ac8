/*
 * restore_check.c - can this image come to life here: its memory, its CPU's
 * state, its vDSO.
 */
#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "ctx.h"
#include "fileid.h"
#include "huge.h"
#include "proc_task.h"
#include "restore.h"

#define USER_CS 0x33
#define USER_SS 0x2b

/* ---- us ---- */

static int
own_creds(struct restore *r)
{
	struct proc_status st;
	int err = proc_task_creds(getpid(), 0, &st);

	if (err != 0)
		return proc_task_fail(r->cx, getpid(), "status", err);
	r->host.creds = st.creds;
	r->host.creds.securebits = (uint32_t)prctl(PR_GET_SECUREBITS);
	return 0;
}

static int
own_limits(struct restore *r)
{
	struct rlimit64 l;

	for (int i = 0; i < PROCESS_NRLIMITS; i++) {
		if (prlimit64(0, i, NULL, &l) < 0)
			return snap_fail(
			    r->cx, -errno, "getrlimit: %s", strerror(errno));
		r->host.rlimits[i].cur = l.rlim_cur;
		r->host.rlimits[i].max = l.rlim_max;
	}
	/* Descriptors are kept above those of the image meanwhile. */
	l.rlim_cur = l.rlim_max = r->host.rlimits[RLIMIT_NOFILE].max;
	(void)prlimit64(0, RLIMIT_NOFILE, &l, NULL);
	return 0;
}

/* ---- memory ---- */

/*
 * What this machine cannot hold is not begun: long before it had failed, other
 * processes would have had to give way to it.
 */
static int
check_memory(struct restore *r)
{
	uint64_t want = r->p->pages_size + huge_beyond_pages(r->p), have;
	struct sysinfo si;

	if (sysinfo(&si) < 0)
		return snap_fail(r->cx, -errno, "sysinfo: %s", strerror(errno));
	have = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
	if (want <= have)
		return 0;
	return snap_fail(r->cx, -ENOMEM,
	    "the process needs %" PRIu64 " MiB of memory, and this machine "
	    "has %" PRIu64,
	    want >> 20, have >> 20);
}

/* ---- the CPU ---- */

static uint64_t
own_xfeatures(void)
{
	unsigned a, b, c, d;
	uint32_t lo, hi;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return 3; /* x87, SSE */
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static int
check_cpu(struct restore *r)
{
	uint64_t missing = r->p->xfeatures & ~own_xfeatures();

	if (missing != 0)
		return snap_fail(r->cx, -ENOTSUP,
		    "this CPU, or kernel, lacks register state that the "
		    "process uses (xsave features %#" PRIx64 ")",
		    missing);
	for (size_t i = 0; i < r->p->nthreads; i++) {
		const struct thread *t = &r->p->threads[i];

		if (t->regs.cs != USER_CS || t->regs.ss != USER_SS)
			return snap_fail(r->cx, -ENOTSUP,
			    "thread %d runs 32-bit code, which is not "
			    "supported",
			    (int)t->tid);
	}
	return 0;
}

static int
check_vdso(struct restore *r)
{
	const struct range *d = &r->self.vdso;
	char id[2 * FILEID_BUILD_ID_MAX + 1] = "";
	int err = 0;

	if (r->p->vdso[0] == '\0')
		return 0;
	if (d->end > d->start)
		err = fileid_build_id_mem(
		    (const void *)d->start, d->end - d->start, id);
	if (err != 0)
		return snap_fail(
		    r->cx, err, "no memory to read the build-id of the vDSO");
	if (strcmp(id, r->p->vdso) != 0)
		return snap_fail(r->cx, -ENOTSUP,
		    "the vDSO of the image (kernel %s) is not this kernel's: "
		    "restore on the kernel that it was taken on",
		    r->p->kernel == NULL ? "unknown" : r->p->kernel);
	return 0;
}

/* ---- what is left out ---- */

static void
note_rights(struct restore *r)
{
	uint64_t may = r->host.creds.cap_prm & ~r->opt->lent_caps;
	uint64_t lost = 0;

	for (size_t i = 0; i < r->p->nthreads; i++)
		lost |= r->p->threads[i].creds.cap_prm & ~may;
	if (lost != 0)
		restore_note(r, "capabilities that you lack: %#" PRIx64, lost);
}

static void
note_session(struct restore *r)
{
	if (r->index == 0 && r->p->sid != r->p->pid && !r->opt->new_pid &&
	    !r->opt->child)
		restore_note(r,
		    "it leads a session of its own (it was in session %d)",
		    (int)r->p->sid);
}

int
restore_check(struct restore *r)
{
	int err;

	if (r->p->nthreads == 0 || r->p->threads[0].tid != r->p->pid)
		return snap_fail(r->cx, -EBADMSG,
		    "regs: the first thread is not %d", (int)r->p->pid);
	err = layout_self(r->cx, &r->self);
	if (err == 0)
		err = own_creds(r);
	if (err == 0)
		err = own_limits(r);
	if (err == 0)
		err = check_memory(r);
	if (err == 0)
		err = check_cpu(r);
	if (err == 0)
		err = check_vdso(r);
	if (err == 0)
		err = restore_environ(r);
	if (err < 0)
		return err;
	r->host.vdso = r->self.vdso;
	r->host.vvar = r->self.vvar;
	r->host.vvar_vclock = r->self.vvar_vclock;
	r->host.lent_caps = r->opt->lent_caps;
	r->host.new_pid = r->opt->new_pid;
	note_rights(r);
	note_session(r);
	return 0;
}
