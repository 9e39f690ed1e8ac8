/*
 * restore_replace.c - what has the ids of an image is killed, all of it at once.
 *
 * All are frozen first: none shall see another die, and clear up what both had,
 * and none shall go on while its sockets are taken over.  Up to the first
 * SIGKILL they are let go, as they were, if anything fails.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze.h"
#include "restore_pids.h"
#include "restore_tree.h"

struct target {
	struct holder h;
	int pidfd; /* it stays this process even if it ends meanwhile */
	struct frozen *held;
};

struct replace {
	struct restore_tree *t;
	struct target *v;
	size_t n;
};

/* ---- who they are ---- */

static int
add(struct replace *x, pid_t id)
{
	struct target *g;
	struct holder h;
	int fd;

	if (!holder_find(id, &h))
		return 0;
	for (size_t i = 0; i < x->n; i++)
		if (x->v[i].h.tgid == h.tgid)
			return 0;
	if (holder_is_ancestor(&h))
		return snap_fail(x->t->cx, -EBUSY,
		    "pid %d is in use by %s, which this restore depends on",
		    (int)id, h.comm);
	fd = (int)syscall(SYS_pidfd_open, h.tgid, 0);
	if (fd < 0)
		return errno == ESRCH
			   ? 0
			   : snap_fail(x->t->cx, -errno, "pid %d (%s): %s",
				 (int)h.tgid, h.comm, strerror(errno));
	g = process_grow(&x->v, &x->n, sizeof(*g));
	if (g == NULL) {
		close(fd);
		return snap_fail(x->t->cx, -ENOMEM, "no memory");
	}
	g->h = h;
	g->pidfd = fd;
	return 0;
}

static int
each_id(struct replace *x, int (*step)(struct replace *x, pid_t id))
{
	int err = 0;

	for (size_t i = 0; i < x->t->n; i++) {
		const struct process *p = x->t->family->v[i];

		for (size_t k = 0; err == 0 && k < p->nthreads; k++)
			err = step(x, p->threads[k].tid);
		for (size_t k = 0; err == 0 && k < p->nzombies; k++)
			err = step(x, p->zombies[k].pid);
	}
	return err;
}

/* ---- held ---- */

/*
 * One that cannot be held, since a debugger has it, say, is killed all the
 * same, unless its sockets are wanted: these would go on.
 */
static int
hold(struct replace *x, struct target *g, bool wanted)
{
	struct snap_ctx quiet = { .opt = x->t->cx->opt };
	uint64_t end =
	    now_ns() + (uint64_t)quiet.opt.freeze_timeout_ms * 1000000u;
	unsigned naps = 0;
	int err;

	if (g->h.dying)
		return 0;
	quiet.opt.log = NULL;
	/* A checkpoint of it may be under way. */
	while ((err = freeze(&quiet, g->h.tgid, &g->held)) == -EBUSY &&
	       now_ns() < end) {
		snap_clear(&quiet);
		nap(&naps);
	}
	if (err == 0 || err == -ESRCH || !wanted)
		return 0;
	return snap_fail(x->t->cx, err, "pid %d (%s) cannot be held: %s",
	    (int)g->h.tgid, g->h.comm, quiet.text);
}

static int
hold_all(struct replace *x)
{
	bool wanted = restore_take_wanted(x->t);
	int err = 0;

	if (x->n == 1 && !wanted)
		return 0;
	for (size_t i = 0; err == 0 && i < x->n; i++)
		err = hold(x, &x->v[i], wanted);
	for (size_t i = 0; err == 0 && wanted && i < x->n; i++)
		if (x->v[i].held != NULL)
			err = restore_take(x->t, x->v[i].h.tgid, x->v[i].pidfd);
	if (err == 0 && wanted)
		err = restore_take_compare(x->t);
	return err;
}

/* ---- killed ---- */

static int
send_to(struct replace *x, const struct target *g, int sig)
{
	if (syscall(SYS_pidfd_send_signal, g->pidfd, sig, NULL, 0) == 0 ||
	    errno == ESRCH)
		return 0;
	return snap_fail(x->t->cx, -errno, "killing pid %d (%s): %s",
	    (int)g->h.tgid, g->h.comm, strerror(errno));
}

static int
kill_all(struct replace *x)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < x->n; i++)
		err = send_to(x, &x->v[i], 0);
	if (err < 0)
		return err;
	x->t->took = true;
	for (size_t i = 0; err == 0 && i < x->n; i++)
		err = send_to(x, &x->v[i], SIGKILL);
	for (size_t i = 0; err == 0 && i < x->n; i++) {
		frozen_bury(x->v[i].held);
		x->v[i].held = NULL;
	}
	return err;
}

static bool
is_target(const struct replace *x, pid_t pid)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->v[i].h.tgid == pid)
			return true;
	return false;
}

/* Its parent may be one that was killed, and then is another. */
static int
await_free(struct replace *x, pid_t id)
{
	const struct timespec ts = { 0, POLL_MS * 1000000 };
	struct holder h;

	for (int ms = 0; holder_find(id, &h); ms += POLL_MS) {
		if (h.dead && h.ppid == x->t->opt->asker)
			return snap_fail(x->t->cx, -ECHILD,
			    "pid %d (%s) was killed, and its parent %d, which "
			    "asked for that, must wait for it first",
			    (int)id, h.comm, (int)h.ppid);
		if (ms >= DYING_MS && is_target(x, h.tgid))
			return snap_fail(x->t->cx, -EEXIST,
			    "pid %d (%s) was killed, but its parent %d has not "
			    "waited for it",
			    (int)id, h.comm, (int)h.ppid);
		if (ms >= DYING_MS)
			return restore_pid_taken(&x->t->v[0], id, 0);
		nanosleep(&ts, NULL);
	}
	return 0;
}

static void
let_go(struct replace *x)
{
	struct snap_ctx quiet = { .opt = x->t->cx->opt };

	quiet.opt.log = NULL;
	for (size_t i = x->n; i-- > 0;) {
		thaw(&quiet, x->v[i].held);
		close(x->v[i].pidfd);
	}
	free(x->v);
}

int
restore_replace(struct restore_tree *t)
{
	struct replace x = { .t = t };
	int err;

	err = each_id(&x, add);
	if (err == 0 && x.n > 0)
		err = hold_all(&x);
	if (err == 0)
		err = kill_all(&x);
	let_go(&x);
	return err == 0 ? each_id(&x, await_free) : err;
}
