/*
 * hold.c - the keeper: the order of things from a program's start to its end.
 */
#include "hold.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"

#define LOOK_MS 2    /* how often a call that polls is looked at */
#define MAX_WAITS 64 /* such calls at once; more are carried out */
#define MAX_POLLED 4096

/* ---- calls that are handed over ---- */

/* If it has been interrupted meanwhile, nobody waits for the answer. */
static void
let_pass(const struct hold *h, const struct hold_wait *w)
{
	struct seccomp_notif_resp r = {
		.id = w->n.id,
		.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
	};

	(void)ioctl(h->listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static void
drop_wait(struct hold *h, size_t i)
{
	hold_wait_fini(&h->waits[i]);
	h->waits[i] = h->waits[--h->nwaits];
}

static void
keep_wait(struct hold *h, const struct hold_wait *w)
{
	if (h->nwaits < MAX_WAITS)
		h->waits[h->nwaits++] = *w;
}

/* Read one; true if it is the point. */
static bool
take_call(struct hold *h)
{
	struct hold_wait w = { .fds = NULL };

	if (ioctl(h->listener, SECCOMP_IOCTL_NOTIF_RECV, &w.n) < 0)
		return false;
	switch (hold_look(h, &w)) {
	case HOLD_POINT:
		hold_wait_fini(&w);
		return true;
	case HOLD_MAYBE:
		if (h->nwaits < MAX_WAITS) {
			h->calm = 0;
			keep_wait(h, &w);
			return false;
		}
		/* FALLTHROUGH */
	case HOLD_FAILED:
		hold_wait_fini(&w);
		return false;
	case HOLD_PASS:
	default:
		let_pass(h, &w);
		hold_wait_fini(&w);
		return false;
	}
}

/* Of those without an answer: is one over; is one the point? */
static bool
look_at_waits(struct hold *h)
{
	for (size_t i = h->nwaits; i-- > 0;) {
		struct hold_wait *w = &h->waits[i];

		if (ioctl(h->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &w->n.id) <
		    0) {
			drop_wait(h, i); /* a signal has taken it back */
		} else if (hold_wait_over(h, w)) {
			let_pass(h, w);
			drop_wait(h, i);
			h->calm = 0;
		}
	}
	return h->nwaits > 0 && hold_all_asleep(h);
}

static void
drop_waits(struct hold *h)
{
	while (h->nwaits > 0)
		drop_wait(h, 0);
}

/* ---- until the point ---- */

enum { LISTENER, PROGRAM, BIRTH, FIXED };

/* The three that are always looked at, and all that is polled. */
static size_t
collect_fds(struct hold *h, struct hold_birth *b, struct pollfd *v)
{
	size_t n = FIXED;

	v[LISTENER] = (struct pollfd){ h->listener, POLLIN, 0 };
	v[PROGRAM] = (struct pollfd){ h->pidfd, POLLIN, 0 };
	v[BIRTH] =
	    (struct pollfd){ h->executed ? -1 : hold_birth_fd(b), POLLIN, 0 };
	for (size_t i = 0; i < h->nwaits; i++)
		for (size_t k = 0; k < h->waits[i].nfds && n < MAX_POLLED; k++)
			v[n++] = h->waits[i].fds[k];
	return n;
}

/* Seen anew, after a call that it may have made since. */
static int
has_executed(struct hold *h, struct hold_birth *b)
{
	struct pollfd p = { hold_birth_fd(b), POLLIN, 0 };
	int err = hold_birth_error(b);

	if (h->executed || poll(&p, 1, 0) <= 0)
		return 0;
	h->executed = true;
	return err == 0 ? 0
			: snap_fail(h->cx, err, "%s: %s", h->opt->argv[0],
			      strerror(-err));
}

/* 1 at the point, 0 if it has ended before, -errno. */
static int
run_to_point(struct hold *h, struct hold_birth *b, struct pollfd *v)
{
	int err;

	for (;;) {
		size_t n = collect_fds(h, b, v);

		if (poll(v, n, h->nwaits > 0 ? LOOK_MS : -1) < 0 &&
		    errno != EINTR)
			return snap_fail(
			    h->cx, -errno, "poll: %s", strerror(errno));
		err = has_executed(h, b);
		if (err < 0)
			return err;
		if (v[PROGRAM].revents != 0)
			return 0;
		if ((v[LISTENER].revents & POLLIN) != 0 && take_call(h))
			return 1;
		if (h->err < 0)
			return snap_fail(h->cx, h->err,
			    "what the program does cannot be seen: %s",
			    strerror(-h->err));
		if (h->nwaits > 0 && look_at_waits(h))
			return 1;
	}
}

/*
 * One thread has got to the point; others may be in the middle of something,
 * with a lock in memory whose owner is known by a number that is another's in
 * another life.  They go on until all sleep, but not for ever.
 */
static void
settle(struct hold *h)
{
	struct pollfd p = { h->listener, POLLIN, 0 };

	hold_settle_begin(h);
	do {
		/* A second one at the point is not answered either. */
		if (poll(&p, 1, LOOK_MS) > 0)
			(void)take_call(h);
	} while (!hold_has_settled(
	    h, h->nwaits > 0 ? look_at_waits(h) : hold_all_asleep(h)));
}

static int
run_filtered(struct hold *h, struct hold_birth *b)
{
	struct pollfd *v = calloc(MAX_POLLED, sizeof(*v));
	int n;

	h->waits = calloc(MAX_WAITS, sizeof(*h->waits));
	if (v == NULL || h->waits == NULL) {
		free(v);
		return snap_fail(h->cx, -ENOMEM, "no memory");
	}
	hold_go(b);
	n = run_to_point(h, b, v);
	free(v);
	if (n == 1)
		settle(h);
	return n;
}

/* ---- at the point, and after ---- */

/*
 * The calls without an answer are taken back by the stop.  0 if it is stopped,
 * or has ended.  At a function, the signal is on its way already.
 */
static int
stop(struct hold *h)
{
	siginfo_t si;

	if (h->listener >= 0 && kill(h->pid, SIGSTOP) < 0)
		return snap_fail(h->cx, -errno, "SIGSTOP: %s", strerror(errno));
	while (
	    waitid(P_PID, (id_t)h->pid, &si, WSTOPPED | WEXITED | WNOWAIT) < 0)
		if (errno != EINTR)
			return snap_fail(h->cx, -errno,
			    "waiting for it to stop: %s", strerror(errno));
	return 0;
}

static bool
has_ended(const struct hold *h)
{
	siginfo_t si = { .si_pid = 0 };

	return waitid(P_PID, (id_t)h->pid, &si, WEXITED | WNOWAIT | WNOHANG) ==
		   0 &&
	       si.si_pid != 0;
}

static int
reap(const struct hold *h)
{
	int status = 0;

	while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/*
 * Let everything pass.  Its children have the filter too: so this ends when
 * nobody has it any more.
 */
static void
serve(struct hold *h)
{
	struct pollfd p[2] = {
		{ h->listener, POLLIN, 0 },
		{ h->pidfd, POLLIN, 0 },
	};

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if ((p[0].revents & POLLIN) != 0)
			(void)take_call(h);
		else if (p[0].revents != 0)
			p[0].fd = -1;
		if (p[1].revents != 0)
			p[1].fd = -1;
	}
}

static int
keep(struct hold *h, struct hold_birth *b)
{
	int n, err;

	if (h->opt->point.kind == SNAP_POINT_SYMBOL)
		n = hold_symbol(h, b);
	else
		n = run_filtered(h, b);
	if (n < 0)
		return n;
	h->held = true;
	if (n == 1) {
		err = stop(h);
		if (err < 0)
			return err;
	}
	drop_waits(h);
	if (n == 1 && !has_ended(h) && h->opt->held != NULL)
		h->opt->held(h->opt->held_arg, h->pid);
	serve(h);
	return 0;
}

int
snap_hold(struct snap_ctx *cx, const struct snap_hold_options *opt, int *status)
{
	struct hold h = { .cx = cx, .opt = opt, .pidfd = -1, .listener = -1 };
	struct hold_birth *b = NULL;
	int err;

	prctl(PR_SET_NAME, HOLD_COMM);
	err = hold_start(&h, &b);
	if (err == 0)
		err = keep(&h, b);
	hold_birth_free(b);
	if (err < 0 && h.pid > 0)
		kill(h.pid, SIGKILL);
	if (h.pid > 0)
		*status = reap(&h);
	drop_waits(&h);
	free(h.waits);
	if (h.listener >= 0)
		close(h.listener);
	if (h.pidfd >= 0)
		close(h.pidfd);
	return err;
}
