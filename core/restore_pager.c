/*
 * restore_pager.c - the part of a restore that leaves memory to a pager.
 *
 * The new process makes a userfaultfd when its memory is laid out, and waits;
 * we take it, have the pager register the memory and begin, and let the process
 * go on.  Whatever it, the kernel, or the restorer touches from then on is
 * there when it is touched.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "huge.h"
#include "image.h"
#include "pager.h"
#include "pagesums.h"
#include "restore_tree.h"
#include "uffd.h"

static bool
has_work(const struct process *p)
{
	bool any = false;

	for (size_t i = 0, v = 0; i < p->nruns; i++) {
		while (v < p->nvmas && p->vmas[v].end <= p->runs[i].start)
			v++;
		if (v < p->nvmas && p->runs[i].kind == RUN_HELD &&
		    pager_wants(&p->vmas[v]))
			any = true;
	}
	return any;
}

static int
handshake(const struct restore *r, int fd)
{
	int err = uffd_handshake(fd);

	if (err == -EPERM && r->opt->uffd_handshake != NULL)
		err = r->opt->uffd_handshake(r->opt->uffd_arg, fd);
	return err;
}

/* Then it is read at once into huge pages, faster than page by page. */
static bool
mostly_huge(const struct process *p)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < p->nhuge; i++)
		bytes += p->huge[i].end - p->huge[i].start;
	return bytes > p->pages_size / 2;
}

/*
 * Try with memory of our own.  If the kernel does not let us, the new process
 * reads its pages itself before it runs.
 */
void
restore_pager_probe(struct restore *r)
{
	int fd, err;

	r->host.paged = false;
	if (!has_work(r->p) || (!r->opt->lazy && mostly_huge(r->p)))
		return;
	/* A fork shares what its parent has only if that is there. */
	if (r->tree->n > 1) {
		if (r->opt->lazy && r->index == 0)
			snap_logf(r->cx, SNAP_NOTICE,
			    "not lazy: there are %zu processes", r->tree->n);
		return;
	}
	fd = uffd_new(r->opt->uffd_dev);
	err = fd < 0 ? fd : handshake(r, fd);
	if (fd >= 0)
		close(fd);
	r->host.paged = err == 0;
	if (err < 0 && r->opt->lazy)
		snap_logf(r->cx, SNAP_NOTICE, "not lazy: no userfaultfd: %s",
		    strerror(-err));
}

/* ---- starting ---- */

static int
take_uffd(struct restore *r)
{
	int number, pidfd, fd, err;

	number = restore_wait_uffd(r);
	if (number < 0)
		return number;
	pidfd = pidfd_open(r->pid, 0);
	fd = pidfd < 0 ? -1 : pidfd_getfd(pidfd, number - 1, 0);
	err = fd < 0 ? -errno : handshake(r, fd);
	if (pidfd >= 0)
		close(pidfd);
	if (err == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return snap_fail(r->cx, err, "the userfaultfd of the new process: %s",
	    strerror(-err));
}

/*
 * Where its threads will go on: their stacks, and what is near a thread.  And
 * what is shown in /proc, which is read without waiting for a pager: a name that
 * is missing for a moment would be an empty one.
 */
#define OF_PROCESS 4
#define OF_THREAD 4

static size_t
hot_addresses(const struct process *p, uint64_t *v)
{
	size_t n = 0;

	v[n++] = p->mm.arg_start;
	v[n++] = p->mm.arg_end;
	v[n++] = p->mm.env_start;
	v[n++] = p->mm.env_end;

	for (size_t i = 0; i < p->nthreads; i++) {
		const struct thread *t = &p->threads[i];

		v[n++] = t->regs.rsp;
		v[n++] = t->regs.fs_base;
		v[n++] = t->regs.rip;
		v[n++] = t->rseq;
	}
	return n;
}

static struct pager_source
source(const struct process *p, const struct image_sums *sums)
{
	return (struct pager_source){
		.fd = p->pages_fd,
		.size = p->pages_size,
		.sums = image_pagesums(sums),
		.name = p->dir,
	};
}

static int
start(struct restore *r, struct pager_setup *s)
{
	const struct family *f = r->tree->family;
	struct pager_source *v = calloc(f->nabove + 1, sizeof(*v));
	int err;

	if (v == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	v[s->nsources++] = source(r->p, f->sums[r->index]);
	for (size_t i = 0; i < f->nabove; i++)
		v[s->nsources++] = source(f->above[i], f->above_sums[i]);
	s->sources = v;
	err = s->uffd = take_uffd(r);
	if (err >= 0)
		err = pager_start(r->cx, s, &r->pager);
	free(v);
	return err;
}

int
restore_pager_start(struct restore *r)
{
	struct pager_setup s = { .p = r->p, .pid = r->pid, .learn = -1 };
	uint64_t *hot =
	    calloc(OF_PROCESS + r->p->nthreads * OF_THREAD, sizeof(*hot));
	int err;

	if (hot == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	if (r->opt->lazy && r->opt->learn > 0)
		s.learn = r->opt->learn;
	s.huge = r->opt->lazy;
	s.hot = hot;
	s.nhot = hot_addresses(r->p, hot);
	err = start(r, &s);
	free(hot);
	if (err < 0)
		return restore_reason(r, err);
	/* Each of them that is missing costs the restorer a page fault. */
	pager_hot_is_there(r->pager);
	__atomic_store_n(&r->area->taken, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &r->area->taken, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return 0;
}

/* ---- before it runs ---- */

/*
 * Of a tree it would give each its own of what they share; an instance has what
 * its template has; and where a pager is at work it does this itself.
 */
void
restore_huge(struct restore *r)
{
	uint64_t done;
	int pidfd;

	if (r->p->nhuge == 0 || r->tree->n > 1 || r->opt->tmpl != NULL ||
	    (r->opt->lazy && r->host.paged))
		return;
	pidfd = pidfd_open(r->pid, 0);
	done = pidfd < 0 ? 0 : huge_collapse(pidfd, r->p->huge, r->p->nhuge);
	if (pidfd >= 0)
		close(pidfd);
	snap_logf(r->cx, SNAP_STEP, "%llu bytes of huge pages made",
	    (unsigned long long)done);
}

int
restore_pager_settle(struct restore *r)
{
	int err;

	if (r->opt->lazy)
		err = pager_commit(r->cx, r->pager);
	else
		err = pager_finish(r->cx, r->pager);
	if (err == 0 && pager_is_done(r->pager)) {
		err = pager_error(r->cx, r->pager);
		pager_free(r->pager);
		r->pager = NULL;
	}
	return err;
}
