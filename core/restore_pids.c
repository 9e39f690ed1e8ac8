/*
 * restore_pids.c - the ids of an image: who has them now, and making them
 * free when that was asked for.
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
#include "proc.h"
#include "restore.h"

/* How long a process that is dying anyway may take, in ms. */
#define DYING_MS 5000
#define NOBODY_MS 200 /* until an id that no process has is free */
#define POLL_MS 5

#define PF_EXITING 0x4

struct holder {
	pid_t tgid, ppid;
	char comm[32];
	bool dying; /* dead, or killed and on its way */
};

static void
sleep_ms(long ms)
{
	struct timespec ts = { 0, ms * 1000000 };

	nanosleep(&ts, NULL);
}

static bool
is_exiting(pid_t pid)
{
	char path[64], buf[512], *s, state;
	unsigned flags = 0;
	ssize_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return true;
	n = (ssize_t)fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	if (n <= 0)
		return true;
	buf[n] = '\0';
	s = strrchr(buf, ')');
	if (s == NULL ||
	    sscanf(s + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
		return false;
	return state == 'Z' || state == 'X' || flags & PF_EXITING;
}

/* false: nobody has it. */
static bool
find_holder(pid_t pid, struct holder *h)
{
	uint64_t tgid, ppid, pending;
	char *status = NULL;
	const char *name;
	struct snap_ctx quiet = { .error = 0 };

	memset(h, 0, sizeof(*h));
	if (proc_read(&quiet, pid, "status", &status, NULL) < 0)
		return false;
	if (!proc_field_u64(status, "Tgid", 10, &tgid) ||
	    !proc_field_u64(status, "PPid", 10, &ppid)) {
		free(status);
		return false;
	}
	h->tgid = (pid_t)tgid;
	h->ppid = (pid_t)ppid;
	name = proc_field(status, "Name");
	if (name != NULL)
		snprintf(h->comm, sizeof(h->comm), "%.*s",
		    (int)strcspn(name, "\n"), name);
	if (proc_field_u64(status, "ShdPnd", 16, &pending) &&
	    pending & 1ull << (SIGKILL - 1))
		h->dying = true;
	free(status);
	h->dying |= is_exiting(pid);
	return true;
}

/*
 * A process that was just killed keeps its pid until it is gone and its
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
	if (tries * POLL_MS >= NOBODY_MS)
		return snap_fail(r->cx, -EEXIST,
		    "pid %d is in use as the id of a process group or session; "
		    "restore with pid=new",
		    (int)pid);
	sleep_ms(POLL_MS);
	return 0;
}

static bool
is_ancestor(pid_t pid)
{
	struct snap_ctx quiet = { .error = 0 };
	pid_t at = getpid();

	while (at > 1 && at != pid) {
		uint64_t ppid = 0;
		char *status;

		if (proc_read(&quiet, at, "status", &status, NULL) < 0)
			break;
		proc_field_u64(status, "PPid", 10, &ppid);
		free(status);
		at = (pid_t)ppid;
	}
	return at == pid || pid <= 1;
}

static int
kill_holder(struct restore *r, pid_t pid)
{
	struct holder h;
	int fd, err = 0;

	if (!find_holder(pid, &h))
		return 0;
	if (is_ancestor(h.tgid))
		return snap_fail(r->cx, -EBUSY,
		    "pid %d is in use by %s, which this restore depends on",
		    (int)pid, h.comm);
	/* By pidfd: it stays this process even if it ends meanwhile. */
	fd = (int)syscall(SYS_pidfd_open, h.tgid, 0);
	if (fd < 0 && errno == ESRCH)
		return 0;
	if (fd < 0 ||
	    (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 &&
		errno != ESRCH))
		err = snap_fail(r->cx, -errno, "killing pid %d (%s): %s",
		    (int)h.tgid, h.comm, strerror(errno));
	if (fd >= 0)
		close(fd);
	for (int ms = 0; err == 0 && find_holder(pid, &h); ms += POLL_MS) {
		if (ms >= DYING_MS)
			return snap_fail(r->cx, -EEXIST,
			    "pid %d (%s) was killed, but its parent %d has not "
			    "waited for it",
			    (int)pid, h.comm, (int)h.ppid);
		sleep_ms(POLL_MS);
	}
	return err;
}

int
restore_free_pids(struct restore *r)
{
	int err = 0;

	for (size_t i = 0; i < r->p->nthreads && err == 0; i++)
		err = kill_holder(r, r->p->threads[i].tid);
	return err;
}
