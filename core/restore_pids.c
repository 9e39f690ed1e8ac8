#include "restore_pids.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "proc_task.h"
#include "restore_tree.h"

#define PF_EXITING 0x4

static void
sleep_ms(long ms)
{
	struct timespec ts = { 0, ms * 1000000 };

	nanosleep(&ts, NULL);
}

static bool
is_exiting(const struct proc_stat *st)
{
	return st->state == 'Z' || st->state == 'X' || st->flags & PF_EXITING;
}

bool
holder_find(pid_t pid, struct holder *h)
{
	struct snap_ctx quiet = { .error = 0 };
	uint64_t tgid = 0, pending, n = 0;
	struct proc_stat st;
	char *status;

	memset(h, 0, sizeof(*h));
	if (proc_task_stat(pid, 0, &st) != 0 ||
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

int
each_member(int (*step)(void *arg, const struct member *m), void *arg)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	struct proc_stat st;
	int ret = 0;

	while (proc != NULL && ret == 0 && (e = readdir(proc)) != NULL) {
		struct member m = { .tgid = (pid_t)atoi(e->d_name) };

		if (m.tgid <= 0 || proc_task_stat(m.tgid, 0, &st) != 0 ||
		    is_exiting(&st))
			continue;
		m.ppid = st.ppid;
		m.pgid = st.pgid;
		m.sid = st.sid;
		snprintf(m.comm, sizeof(m.comm), "%s", st.comm);
		ret = step(arg, &m);
	}
	if (proc != NULL)
		closedir(proc);
	return ret;
}

static int
is_member(void *arg, const struct member *m)
{
	struct member *want = arg;

	if (m->pgid != want->pgid && m->sid != want->pgid)
		return 0;
	*want = *m;
	return 1;
}

pid_t
parent_of(pid_t pid)
{
	struct proc_stat st;

	return proc_task_stat(pid, 0, &st) == 0 ? st.ppid : 0;
}

bool
holder_is_ancestor(const struct holder *h)
{
	struct proc_stat st = { .ppid = getpid() };
	pid_t at;

	do {
		at = st.ppid;
	} while (at > 1 && at != h->tgid && proc_task_stat(at, 0, &st) == 0);
	return at == h->tgid || h->tgid <= 1;
}

/*
 * A process that was just killed keeps its ids until it is gone and its
 * parent has been told: worth a moment's patience.
 */
int
restore_pid_taken(struct restore *r, pid_t pid, int tries)
{
	struct member m = { .pgid = pid };
	struct holder h;

	for (int ms = 0; holder_find(pid, &h); ms += POLL_MS) {
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
	if (each_member(is_member, &m) != 0)
		return snap_fail(r->cx, -EEXIST,
		    "pid %d is in use: it is the process group or session of "
		    "pid %d (%s); restore with pid=new",
		    (int)pid, (int)m.tgid, m.comm);
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

		if (holder_find(tid, &h) && !h.dying)
			return restore_pid_taken(r, tid, 0);
	}
	return 0;
}
