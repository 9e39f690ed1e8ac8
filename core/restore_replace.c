/*
 * restore_replace.c - what has the ids of an image is killed, all of it at once.
 *
 * All are frozen first: none shall see another die, and clear up what both had,
 * and none shall go on while its sockets are taken over.  Up to the first
 * SIGKILL they are let go, as they were, if anything fails.
 *
 * An id is not free while a process has it for its group or session.  So those
 * below what is killed go, too, if they do, as a shell's jobs that were not
 * there at the checkpoint; any other is a reason to kill none.
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
	pid_t wanted; /* an id that is looked for */
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

/* ---- whose group or session they are ---- */

static bool
is_target(const struct replace *x, pid_t pid)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->v[i].h.tgid == pid)
			return true;
	return false;
}

static bool
is_below_target(const struct replace *x, pid_t pid)
{
	while (pid > 1 && !is_target(x, pid))
		pid = parent_of(pid);
	return pid > 1;
}

/* Of an id of the image. */
static int
is_wanted(struct replace *x, pid_t id)
{
	return x->wanted == id;
}

static bool
is_of_image(struct replace *x, pid_t id)
{
	x->wanted = id;
	return each_id(x, is_wanted) != 0;
}

static int
add_member(void *arg, const struct member *m)
{
	struct replace *x = arg;
	pid_t id = is_of_image(x, m->pgid)  ? m->pgid
		   : is_of_image(x, m->sid) ? m->sid
					    : 0;

	if (id == 0 || is_target(x, m->tgid))
		return 0;
	if (m->tgid == x->t->opt->asker || !is_below_target(x, m->ppid))
		return snap_fail(x->t->cx, -EEXIST,
		    "pid %d is in use: it is the process group or session of "
		    "pid %d (%s), which is not below what is replaced; end "
		    "that first, or restore with pid=new",
		    (int)id, (int)m->tgid, m->comm);
	return add(x, m->tgid);
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
	       (x->n > 1 || wanted) && now_ns() < end) {
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
	size_t named = x->n, held = 0;
	int err = 0;

	/* What is held has no more children. */
	while (err == 0 && held < x->n) {
		for (; err == 0 && held < x->n; held++)
			err = hold(x, &x->v[held], wanted);
		if (err == 0)
			err = each_member(add_member, x);
	}
	for (size_t i = 0; err == 0 && wanted && i < named; i++)
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
	if (err == 0)
		err = each_id(&x, await_free);
	for (size_t i = 0; err == 0 && i < x.n; i++)
		err = await_free(&x, x.v[i].h.tgid);
	let_go(&x);
	return err;
}
