/*
 * restore_pids.c - the ids of an image: who has them now, and making them
 * free when that was asked for.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "proc_parse.h"
#include "restore_tree.h"

/* How long a process that is dying anyway may take, in ms. */
#define DYING_MS 5000
#define POLL_MS 5

#define PF_EXITING 0x4

struct holder {
	pid_t tgid, ppid;
	char comm[64];
	bool dying; /* dead, or killed and on its way */
	bool dead;  /* all of it: only its parent has not waited */
};

static void
sleep_ms(long ms)
{
	struct timespec ts = { 0, ms * 1000000 };

	nanosleep(&ts, NULL);
}

static bool
read_stat(pid_t pid, struct proc_stat *st)
{
	struct snap_ctx quiet = { .error = 0 };
	char *text;
	bool ok;

	if (proc_read(&quiet, pid, "stat", &text, NULL) < 0)
		return false;
	ok = proc_parse_stat(text, st) == 0;
	free(text);
	return ok;
}

static bool
is_exiting(const struct proc_stat *st)
{
	return st->state == 'Z' || st->state == 'X' || st->flags & PF_EXITING;
}

/* false: no process or thread has it. */
static bool
find_holder(pid_t pid, struct holder *h)
{
	struct snap_ctx quiet = { .error = 0 };
	uint64_t tgid = 0, pending, n = 0;
	struct proc_stat st;
	char *status;

	memset(h, 0, sizeof(*h));
	if (!read_stat(pid, &st) ||
	    proc_read(&quiet, pid, "status", &status, NULL) < 0)
		return false;
	proc_field_u64(status, "Tgid", 10, &tgid);
	h->tgid = (pid_t)tgid;
	h->ppid = st.ppid;
	snprintf(h->comm, sizeof(h->comm), "%s", st.comm);
	proc_field_u64(status, "Threads", 10, &n);
	h->dead = st.state == 'Z' && n <= 1;
	h->dying = is_exiting(&st) ||
		   (proc_field_u64(status, "ShdPnd", 16, &pending) &&
		       pending & 1ull << (SIGKILL - 1));
	free(status);
	return true;
}

/* Is there a process, not about to end, whose group or session that is? */
static bool
find_member(pid_t id, struct holder *h)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	struct proc_stat st;
	bool found = false;

	while (proc != NULL && !found && (e = readdir(proc)) != NULL) {
		h->tgid = (pid_t)atoi(e->d_name);
		if (h->tgid <= 0 || !read_stat(h->tgid, &st))
			continue;
		found = (st.pgid == id || st.sid == id) && !is_exiting(&st);
		snprintf(h->comm, sizeof(h->comm), "%s", st.comm);
	}
	if (proc != NULL)
		closedir(proc);
	return found;
}

/*
 * A process that was just killed keeps its ids until it is gone and its
 * parent has been told: worth a moment's patience.
 */
int
restore_pid_taken(struct restore *r, pid_t pid, int tries)
{
	struct holder h;

	for (int ms = 0; find_holder(pid, &h); ms += POLL_MS) {
		if (!h.dying)
			return snap_fail(r->cx, -EEXIST,
			    "pid %d is in use by %s%s; restore with pid=new, "
			    "or with replace",
			    (int)pid, h.tgid == pid ? "" : "a thread of ",
			    h.comm);
		if (ms >= DYING_MS)
			return snap_fail(r->cx, -EEXIST,
			    "pid %d is dead (%s), but its parent %d has not "
			    "waited for it",
			    (int)pid, h.comm, (int)h.ppid);
		sleep_ms(POLL_MS);
	}
	if (find_member(pid, &h))
		return snap_fail(r->cx, -EEXIST,
		    "pid %d is in use: it is the process group or session of "
		    "pid %d (%s); restore with pid=new",
		    (int)pid, (int)h.tgid, h.comm);
	if (tries * POLL_MS >= DYING_MS)
		return snap_fail(r->cx, -EEXIST,
		    "pid %d is in use by a process that has ended, but whose "
		    "parent has not waited for it",
		    (int)pid);
	sleep_ms(POLL_MS);
	return 0;
}

/* Before there is anything to undo; whoever is dying is waited for later. */
int
restore_check_tids(struct restore *r)
{
	struct holder h;

	for (size_t i = r->index > 0 ? 0 : 1; i < r->p->nthreads; i++) {
		pid_t tid = r->p->threads[i].tid;

		if (find_holder(tid, &h) && !h.dying)
			return restore_pid_taken(r, tid, 0);
	}
	return 0;
}

static bool
is_ancestor(pid_t pid)
{
	struct proc_stat st = { .ppid = getpid() };
	pid_t at;

	do {
		at = st.ppid;
	} while (at > 1 && at != pid && read_stat(at, &st));
	return at == pid || pid <= 1;
}

/* ---- making them free ---- */

struct doom {
	struct restore_tree *t;
	struct doomed *v;
	size_t n;
};

/* By pidfd: it stays this process even if it ends meanwhile. */
static int
doom(void *arg, pid_t pid)
{
	struct doom *l = arg;
	struct snap_ctx *cx = l->t->cx;
	struct doomed *d;
	struct holder h;

	if (!find_holder(pid, &h))
		return 0;
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].pid == h.tgid)
			return 0;
	if (is_ancestor(h.tgid))
		return snap_fail(cx, -EBUSY,
		    "pid %d is in use by %s, which this restore depends on",
		    (int)pid, h.comm);
	d = process_grow(&l->v, &l->n, sizeof(*d));
	if (d == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	d->pid = h.tgid;
	d->pidfd = (int)syscall(SYS_pidfd_open, h.tgid, 0);
	if (d->pidfd < 0 && errno == ESRCH) {
		l->n--;
		return 0;
	}
	if (d->pidfd < 0 ||
	    (syscall(SYS_pidfd_send_signal, d->pidfd, 0, NULL, 0) < 0 &&
		errno != ESRCH))
		return snap_fail(cx, -errno, "killing pid %d (%s): %s",
		    (int)h.tgid, h.comm, strerror(errno));
	return 0;
}

static int
await_end(void *arg, pid_t pid)
{
	const struct restore_tree *t = arg;
	struct holder h;

	for (int ms = 0; find_holder(pid, &h); ms += POLL_MS) {
		if (h.dead && h.ppid == t->opt->asker)
			return snap_fail(t->cx, -ECHILD,
			    "pid %d (%s) was killed, and its parent %d, which "
			    "asked for that, must wait for it first",
			    (int)pid, h.comm, (int)h.ppid);
		if (ms >= DYING_MS)
			return snap_fail(t->cx, -EEXIST,
			    "pid %d (%s) was killed, but its parent %d has not "
			    "waited for it",
			    (int)pid, h.comm, (int)h.ppid);
		sleep_ms(POLL_MS);
	}
	return 0;
}

static int
for_each_id(
    struct restore_tree *t, int (*step)(void *arg, pid_t pid), void *arg)
{
	int err = 0;

	for (size_t i = 0; i < t->n && err == 0; i++) {
		const struct process *p = t->v[i].p;

		for (size_t k = 0; k < p->nthreads && err == 0; k++)
			err = step(arg, p->threads[k].tid);
		for (size_t k = 0; k < p->nzombies && err == 0; k++)
			err = step(arg, p->zombies[k].pid);
	}
	return err;
}

/* All of them, or none. */
int
restore_free_pids(struct restore_tree *t)
{
	struct doom l = { .t = t };
	int err = for_each_id(t, doom, &l);

	if (err == 0 && l.n > 0)
		err = restore_kill_silently(t, l.v, l.n);
	for (size_t i = 0; i < l.n; i++)
		if (l.v[i].pidfd >= 0)
			close(l.v[i].pidfd);
	free(l.v);
	return err == 0 ? for_each_id(t, await_end, t) : err;
}
