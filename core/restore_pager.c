/*
 * restore_pager.c - the part of a restore that leaves memory to a pager.
 *
 * Each new process makes a userfaultfd when its memory is laid out, and waits;
 * we take them, have the pager register the memory and begin, and let the
 * processes go on.  Whatever they, the kernel, or the restorer touches from
 * then on is there when it is touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "huge.h"
#include "image.h"
#include "late.h"
#include "pager.h"
#include "pagesums.h"
#include "restore_tree.h"
#include "uffd.h"

#define CLIENTS 64 /* of a pager, at most */

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
 * Try with memory of our own.  If the kernel does not let us, the new processes
 * read their pages themselves before they run.
 */
static int
try_uffd(struct restore *r)
{
	int fd = uffd_new(r->opt->uffd_dev);
	int err = fd < 0 ? fd : handshake(r, fd);

	if (fd >= 0)
		close(fd);
	return err;
}

/*
 * A template is not worth less for being read at once.  And of a tree that is
 * not to run before all is there, each reads its own at the same time anyway.
 */
static bool
is_worth(const struct restore_tree *t)
{
	if (t->v[0].host.part != PLAN_WHOLE)
		return false;
	return t->opt->lazy || (t->n == 1 && !mostly_huge(t->v[0].p));
}

void
restore_pager_probe(struct restore_tree *t)
{
	bool any = false;
	int err;

	for (size_t i = 0; i < t->n; i++) {
		t->v[i].host.paged = is_worth(t) && has_work(t->v[i].p);
		any = any || t->v[i].host.paged;
	}
	if (!any)
		return;
	err = try_uffd(&t->v[0]);
	for (size_t i = 0; err < 0 && i < t->n; i++)
		t->v[i].host.paged = false;
	t->npaged = err == 0;
	if (err < 0 && t->opt->lazy)
		snap_logf(t->cx, SNAP_NOTICE, "not lazy: no userfaultfd: %s",
		    strerror(-err));
}

/* ---- what is late ---- */

struct amount {
	size_t process;
	uint64_t bytes;
};

static int
by_bytes(const void *a, const void *b)
{
	const struct amount *x = a, *y = b;

	return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

/* Each takes so many of the pager's descriptors, which has some of its own. */
#define OF_CLIENT 8
#define OF_PAGER 48

/* Whatever is opened for the new processes is open by now, at low numbers. */
static size_t
most_clients(const struct restore_tree *t)
{
	struct rlimit lim = { .rlim_max = 1024 };
	int next = fcntl(t->v[0].p->pages_fd, F_DUPFD_CLOEXEC, 0);
	uint64_t used = next < 0 ? UINT64_MAX : (uint64_t)next + OF_PAGER;

	if (next >= 0)
		close(next);
	getrlimit(RLIMIT_NOFILE, &lim);
	if (used >= lim.rlim_max)
		return 1;
	if ((lim.rlim_max - used) / OF_CLIENT >= CLIENTS)
		return CLIENTS;
	return 1 + (size_t)(lim.rlim_max - used) / OF_CLIENT;
}

/* Those that have the most; the others read theirs themselves. */
static void
choose(struct restore_tree *t, struct amount *v, size_t n)
{
	size_t most = most_clients(t);
	uint64_t left = 0;

	qsort(v, n, sizeof(*v), by_bytes);
	for (size_t i = 0; i < n; i++) {
		struct restore *r = &t->v[v[i].process];

		r->host.paged = i < most && v[i].bytes > 0;
		t->npaged += r->host.paged;
		if (i < most)
			continue;
		left += v[i].bytes;
		late_none(r->p);
	}
	if (left > 0)
		snap_logf(t->cx, SNAP_NOTICE,
		    "not lazy: %llu bytes of other processes than the %zu "
		    "that have the most",
		    (unsigned long long)left, most);
}

int
restore_pager_divide(struct restore_tree *t)
{
	struct amount *v;
	uint64_t soon;

	if (t->npaged == 0)
		return 0;
	v = calloc(t->n, sizeof(*v));
	if (v == NULL || late_find(t->family, &t->inheritance, &soon) < 0) {
		free(v);
		return snap_fail(t->cx, -ENOMEM, "no memory");
	}
	for (size_t i = 0; i < t->n; i++)
		v[i] = (struct amount){ i, late_bytes(t->v[i].p) };
	t->npaged = 0;
	choose(t, v, t->n);
	free(v);
	if (soon > 0)
		snap_logf(t->cx, SNAP_NOTICE,
		    "not lazy: %llu bytes that processes share since they "
		    "were forked",
		    (unsigned long long)soon);
	return 0;
}

/* ---- starting ---- */

static int
take_uffd(struct restore *r)
{
	int number, pidfd, fd, err;

	number = restore_wait_uffd(r);
	if (number < 0)
		return number;
	r->pid = r->tree->nursery->pids[r->index];
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

/* The files `pages` that are needed: `of` has 1 + the number there of each. */
struct sources {
	struct pager_source *v;
	size_t n, *of;
};

static size_t
source(const struct family *f, struct sources *s, size_t k)
{
	const struct process *p = family_numbered(f, k);
	const struct image_sums *sums =
	    k < f->n ? f->sums[k] : f->above_sums[k - f->n];

	if (s->of[k] == 0) {
		s->v[s->n++] = (struct pager_source){
			.fd = p->pages_fd,
			.size = p->pages_size,
			.sums = image_pagesums(sums),
			.name = p->dir,
		};
		s->of[k] = s->n;
	}
	return s->of[k] - 1;
}

/* Its own is the first. */
static int
client_sources(
    const struct restore *r, struct pager_client *c, struct sources *s)
{
	const struct family *f = r->tree->family;
	size_t *v = calloc(r->p->nsources + 1, sizeof(*v));

	c->sources = v;
	if (v == NULL)
		return -ENOMEM;
	c->nsources = r->p->nsources + 1;
	v[0] = source(f, s, r->index);
	for (size_t i = 0; i < r->p->nruns; i++) {
		const struct run *run = &r->p->runs[i];

		if (run->late && run->src > 0 && v[run->src] == 0)
			v[run->src] =
			    source(f, s, family_source(f, r->p, run->src));
	}
	return 0;
}

static int
client(struct restore *r, struct pager_client *c, struct sources *s)
{
	c->p = r->p;
	c->hot =
	    calloc(OF_PROCESS + r->p->nthreads * OF_THREAD, sizeof(*c->hot));
	if (c->hot == NULL || client_sources(r, c, s) < 0)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	c->nhot = hot_addresses(r->p, c->hot);
	/* In others it would give each its own of what they share. */
	c->huge = r->opt->lazy && r->host.pieces.n == 0;
	c->uffd = take_uffd(r);
	c->pid = r->pid;
	return c->uffd < 0 ? c->uffd : 0;
}

static int
clients(struct restore_tree *t, struct pager_client *v, struct sources *s)
{
	size_t n = 0;
	int err = 0;

	/* What a list of what is touched first is about has number 0. */
	(void)source(t->family, s, 0);
	for (size_t i = 0; err == 0 && i < t->n; i++)
		if (t->v[i].host.paged)
			err = client(&t->v[i], &v[n++], s);
	for (size_t i = 0; err < 0 && i < t->npaged; i++)
		if (v[i].uffd > 0)
			close(v[i].uffd);
	return err;
}

static int
start(struct restore_tree *t, struct pager_client *v, struct sources *s)
{
	struct pager_setup setup = { .clients = v,
		.nclients = t->npaged,
		.sources = s->v,
		.learn = -1,
		.tree = t->n > 1 };
	int err = clients(t, v, s);

	if (err < 0)
		return err;
	setup.nsources = s->n;
	if (t->opt->lazy && t->opt->learn > 0)
		setup.learn = t->opt->learn;
	return pager_start(t->cx, &setup, &t->pager);
}

static int
start_all(struct restore_tree *t)
{
	size_t n = t->family->n + t->family->nabove;
	struct pager_client *v = calloc(t->npaged, sizeof(*v));
	struct sources s = { calloc(n, sizeof(*s.v)), 0,
		calloc(n, sizeof(*s.of)) };
	int err;

	if (v == NULL || s.v == NULL || s.of == NULL)
		err = snap_fail(t->cx, -ENOMEM, "no memory");
	else
		err = start(t, v, &s);
	for (size_t i = 0; v != NULL && i < t->npaged; i++) {
		free(v[i].hot);
		free((void *)(uintptr_t)v[i].sources);
	}
	free(v);
	free(s.v);
	free(s.of);
	return err;
}

static void
let_touch(struct area *a)
{
	__atomic_store_n(&a->taken, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &a->taken, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

int
restore_pager_start(struct restore_tree *t)
{
	int err = restore_wait_births(t);

	/* They have their limits; ours may rise. */
	if (t->n > 1)
		restore_raise_limit();
	if (err == 0)
		err = start_all(t);
	for (size_t i = 0; err < 0 && i < t->n; i++) {
		int why = restore_reason(&t->v[i], err);

		if (why != err)
			return why;
	}
	if (err < 0)
		return err;
	/* Each of them that is missing costs the restorer a page fault. */
	pager_hot_is_there(t->pager);
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].host.paged)
			let_touch(t->v[i].area);
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
restore_pager_settle(struct restore_tree *t)
{
	int err;

	if (t->opt->lazy)
		err = pager_commit(t->cx, t->pager);
	else
		err = pager_finish(t->cx, t->pager);
	if (err == 0 && pager_is_done(t->pager)) {
		err = pager_error(t->cx, t->pager);
		pager_free(t->pager);
		t->pager = NULL;
	}
	return err;
}
