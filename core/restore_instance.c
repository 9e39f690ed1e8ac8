/*
 * restore_instance.c - a new process that is a clone of a template.
 *
 * The template bears it and gives it the area; from there on it carries out
 * its plan as any new process does, traced by the agent.  What such a process
 * does in ordinary C cannot be done in the template's memory: a fork of the
 * agent, the *opener*, opens the descriptors and sends them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_seccomp.h"
#include "restore_send.h"
#include "restore_tree.h"

#define TICK_NS 50000000
#define SPARE_TICKS 20 /* so long is a spare waited for, which may be frozen */

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- birth ---- */

/* Ask `whom`: the template, or its spare. */
static int
ask(struct restore *r, int whom)
{
	struct serve q = {
		.at = (uint64_t)r->map,
		.len = r->map_len,
		.area = (uint64_t)r->area,
		.stack = (uint64_t)r->map + r->plan->stacks_off,
		/* The loop puts two words above its top. */
		.stack_size = LANE_STACK - 2 * sizeof(uint64_t),
		.tid = r->p->pid,
		.has_tid = !r->opt->new_pid,
	};
	int fds[SERVE_NFDS - 1] = {
		[SERVE_AREA - 1] = r->area_fd,
		[SERVE_GO - 1] = r->tree->go[0],
		[SERVE_FDS - 1] = r->tree->fds[1],
	};
	int err = restore_send_fds(whom, &q, sizeof(q), fds, SERVE_NFDS - 1, 0);

	close_fd(&r->tree->go[0]);
	close_fd(&r->tree->fds[1]);
	if (err == -EPIPE || err == -ECONNRESET)
		err = -EOWNERDEAD;
	if (err < 0)
		return snap_fail(
		    r->cx, err, "asking the template: %s", strerror(-err));
	return 0;
}

/* Nobody but the template and what it bore has the other end. */
static bool
nobody_listens(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

/* `none`: what `born` is before; for so many ticks, 0: however long it takes. */
static int
await_birth(struct restore *r, int32_t none, unsigned ticks)
{
	struct timespec tick = { 0, TICK_NS };
	int32_t born;
	bool gone;

	for (unsigned i = 0; ticks == 0 || i < ticks; i++) {
		gone = nobody_listens(r->tree->go[1]);
		born = __atomic_load_n(&r->area->born, __ATOMIC_ACQUIRE);
		if (born != none)
			return born;
		if (gone)
			return snap_fail(
			    r->cx, -EOWNERDEAD, "the template ended");
		syscall(SYS_futex, &r->area->born, FUTEX_WAIT, none, &tick,
		    NULL, 0);
	}
	/* From now on it comes too late. */
	born = none;
	if (!__atomic_compare_exchange_n(&r->area->born, &born, 0, false,
		__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return born;
	return -ETIMEDOUT;
}

static int
try_once(struct restore *r, int whom, int32_t none, unsigned ticks)
{
	int err;

	close_fd(&r->tree->go[0]);
	close_fd(&r->tree->go[1]);
	close_fd(&r->tree->fds[0]);
	r->area->born = none;
	if (pipe2(r->tree->go, O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->tree->fds) <
		0)
		return snap_fail(r->cx, -errno, "pipe: %s", strerror(errno));
	err = ask(r, whom);
	if (err < 0)
		return err;
	return await_birth(r, none, ticks);
}

/* It is there already, with a pid that nobody chose; 0: there is none. */
static int
take_spare(struct restore *r)
{
	int err;

	if (r->opt->tmpl->spare <= 0 || !r->opt->new_pid)
		return 0;
	err = try_once(r, r->opt->tmpl->spare, SPARE_UNBORN, SPARE_TICKS);
	if (err == -EOWNERDEAD)
		snap_logf(r->cx, SNAP_NOTICE,
		    "the spare of the template has ended: the template is "
		    "asked");
	else if (err == -ETIMEDOUT)
		snap_logf(r->cx, SNAP_NOTICE,
		    "the spare of the template does not answer: the template "
		    "is asked");
	else
		return err;
	snap_clear(r->cx);
	return 0;
}

/* Its pid, or an error. */
static int
bear(struct restore *r)
{
	int err = take_spare(r);

	for (int tries = 0; err == 0; tries++) {
		err = try_once(r, r->opt->tmpl->control, 0, 0);
		if (err != -EEXIST)
			break;
		err = restore_pid_taken(r, r->p->pid, tries);
		if (err < 0)
			return err;
	}
	if (err < 0)
		return snap_fail(
		    r->cx, err, "creating the process: %s", strerror(-err));
	return err;
}

/* ---- descriptors ---- */

static int
send_places(struct restore *r)
{
	struct fd_place *v;
	int fds[FDS_BATCH], err = 0;
	char byte = 0;
	size_t n, at, k;

	v = plan_fd_places(r->p, &r->host, &n);
	if (v == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	for (at = 0; at < n && err == 0; at += k) {
		for (k = 0; k < FDS_BATCH && at + k < n; k++)
			fds[k] = v[at + k].fd;
		err = restore_send_fds(r->host.control_fd, &byte, 1, fds, k, 0);
	}
	free(v);
	if (err < 0)
		return snap_fail(
		    r->cx, err, "sending descriptors: %s", strerror(-err));
	return 0;
}

/* Above all others, where they are in no one's way. */
static int
move_socket(struct restore *r)
{
	int to = r->host.control_fd;

	restore_raise_limit();
	if (r->tree->fds[0] == to || dup3(r->tree->fds[0], to, O_CLOEXEC) >= 0)
		return 0;
	return snap_fail(r->cx, -EMFILE,
	    "descriptor %d: %s (the limit of open files is too low)", to,
	    strerror(errno));
}

/* Its own numbers are those that the instance will have. */
static void __attribute__((noreturn)) be_opener(struct restore *r)
{
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = restore_rights(r, false);
	if (err == 0)
		err = move_socket(r);
	if (err == 0)
		err = restore_descriptors(r, r->pid);
	if (err == 0)
		err = send_places(r);
	if (err < 0)
		restore_give_up(r, err);
	_exit(0);
}

/* It is ours to kill only once it is ours to wait for. */
static int
trace(struct restore *r, pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, 0,
		PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD |
		    restore_seccomp_options(r->tree)) < 0)
		return snap_fail(r->cx, -errno, "tracing the new process: %s",
		    strerror(errno));
	r->pid = r->tree->nursery->pids[0] = r->area->lanes[0].tid = pid;
	restore_cgroup(r, pid);
	return 0;
}

int
restore_instance(struct restore_tree *t)
{
	struct restore *r = &t->v[0];
	int err = bear(r);

	if (err > 0)
		err = trace(r, err);
	if (err < 0)
		return err;
	t->opener = fork();
	if (t->opener == 0)
		be_opener(r);
	if (t->opener < 0) {
		t->opener = 0;
		return snap_fail(r->cx, -errno, "fork: %s", strerror(errno));
	}
	close_fd(&t->fds[0]);
	if (write(t->go[1], "g", 1) != 1)
		return snap_fail(r->cx, -errno, "starting the new process: %s",
		    strerror(errno));
	return 0;
}
