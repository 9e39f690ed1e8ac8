/*
 * plan_template.c - the parts of a plan that make many of one: what a template
 * does once it has the memory, and what an instance does to be a process of
 * its own before it goes on as any other.
 *
 * All that is shared by the instances is in private memory, which fork(2)
 * makes each its own.  What is not: shared memory that belongs to no file with
 * a name, so an image that has some has no template; and what fork(2) does not
 * hand on (advice, locks in memory, timers, ...), which each does for itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "ctx.h"
#include "plan.h"
#include "res_epoll.h"
#include "uapi.h"

#define TEMPLATE_NAME "snapfs-template"

/* Is the file of this mapping one that the restore makes, with saved bytes? */
static bool
is_made(const struct process *p, const struct vma *v)
{
	return v->file >= 0 && p->mapfiles[v->file].content != 0;
}

/* Has the process the same file open, too?  Each instance has its own then. */
static bool
is_open_too(const struct process *p, const struct vma *v)
{
	char id[16];

	if (v->file < 0 || p->mapfiles[v->file].content == 0)
		return false;
	snprintf(id, sizeof(id), "%u", p->mapfiles[v->file].content);
	for (size_t i = 0; i < p->nfiles; i++) {
		const char *content = openfile_get(&p->files[i], "content");

		if (content != NULL && strcmp(content, id) == 0)
			return true;
	}
	return false;
}

int
plan_template_check(struct snap_ctx *cx, const struct process *p)
{
	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (plan_is_system(v))
			continue;
		if (plan_is_anonymous_object(v) ||
		    (v->shared && is_made(p, v)) || is_open_too(p, v))
			return snap_fail(cx, -ENOTSUP,
			    "maps:%zu: instances would share this memory, "
			    "which is not private",
			    i + 1);
	}
	return 0;
}

void
plan_template(struct plan *pl, const struct host *h)
{
	static const char name[16] = TEMPLATE_NAME;

	plan_what(pl, "template");
	PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_SET_NAME,
	    plan_data(pl, name, sizeof(name)))
	    ->rel = 1 << 1;
	if (h->mortal)
		PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
	PLAN_CALL(pl, CHECK_IS, SYS_dup3, (uint64_t)h->control_fd,
	    SERVE_CONTROL, O_CLOEXEC)
	    ->want = SERVE_CONTROL;
	PLAN_CALL(pl, CHECK_OK, SYS_close_range, SERVE_CONTROL + 1, ~0u, 0);
	/* Where whoever had it made stood is nobody else's business. */
	PLAN_CALL(pl, CHECK_OK, SYS_chdir, plan_data(pl, "/", 2))->rel = 1 << 0;
}

struct fd_place *
plan_fd_places(const struct process *p, const struct host *h, size_t *n)
{
	const int more[] = { h->cwd_fd, h->root_fd, h->tty_fd };
	struct fd_place *v = calloc(p->nfds + 3, sizeof(*v));
	int last = -1, least;

	*n = 0;
	if (v == NULL)
		return NULL;
	for (size_t i = 0; i < p->nfds; i++) {
		const struct fdent *e = &p->fds[i];

		/* In a message that waits somewhere, and nowhere else. */
		if (openfile_get(&p->files[e->file], "in-flight") == NULL)
			v[(*n)++] = (struct fd_place){ e->fd, e->cloexec };
	}
	/* These few in ascending order, too. */
	for (;;) {
		least = -1;
		for (size_t k = 0; k < sizeof(more) / sizeof(more[0]); k++)
			if (more[k] > last && (least < 0 || more[k] < least))
				least = more[k];
		if (least < 0)
			return v;
		v[(*n)++] = (struct fd_place){ last = least, true };
	}
}

/* ---- an instance ---- */

/* The descriptors it was born with go above all that it will have. */
static void
take_descriptors(struct plan *pl, const struct process *p, const struct host *h)
{
	struct fd_place *places;
	uint64_t sock = (uint64_t)h->control_fd;
	char byte = 0;
	size_t n;
	struct op *op;

	plan_what(pl, "birth");
	/* Not one instruction beyond this unless the agent is our tracer. */
	op = PLAN_CALL(
	    pl, CHECK_IS, SYS_read, SERVE_GO, plan_data(pl, &byte, 1), 1);
	op->rel = 1 << 1;
	op->want = 1;
	plan_what(pl, "descriptors");
	PLAN_CALL(pl, CHECK_IS, SYS_dup3, SERVE_FDS, sock, O_CLOEXEC)->want =
	    (int64_t)sock;
	PLAN_CALL(pl, CHECK_OK, SYS_close_range, 0, sock - 1, 0);
	places = plan_fd_places(p, h, &n);
	if (places == NULL) {
		pl->failed = true;
		return;
	}
	plan_op(pl, OP_FDS, CHECK_OK, -1,
	    (const uint64_t[6]){
		sock, plan_data(pl, places, n * sizeof(*places)), n })
	    ->rel = 1 << 1;
	free(places);
}

static void
stand(struct plan *pl, const struct process *p, const struct host *h)
{
	if (h->root_fd >= 0) {
		plan_what(pl, "root");
		PLAN_CALL(pl, CHECK_OK, SYS_fchdir, (uint64_t)h->root_fd);
		PLAN_CALL(pl, CHECK_OK, SYS_chroot, plan_data(pl, ".", 2))
		    ->rel = 1 << 0;
	}
	plan_what(pl, "cwd");
	PLAN_CALL(pl, CHECK_OK, SYS_fchdir, (uint64_t)h->cwd_fd);
	plan_what(pl, "umask");
	PLAN_CALL(pl, CHECK_ANY, SYS_umask, p->umask);
}

static void
watch_signals(struct plan *pl, const struct process *p)
{
	struct epoll_own *v;
	ssize_t n = epoll_own(p, &v);

	if (n < 0) {
		pl->failed = true;
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		plan_what(pl, "fdinfo/%d: watching fd %d", v[i].epfd, v[i].fd);
		PLAN_CALL(pl, CHECK_OK, SYS_epoll_ctl, (uint64_t)v[i].epfd,
		    EPOLL_CTL_ADD, (uint64_t)v[i].fd,
		    plan_data(pl, &v[i].ev, sizeof(v[i].ev)))
		    ->rel = 1 << 3;
	}
	free(v);
}

static void
lead(struct plan *pl, const struct process *p, const struct host *h)
{
	plan_what(pl, "session");
	PLAN_CALL(pl, CHECK_OK, SYS_setsid, 0);
	plan_what(pl, "controlling terminal");
	if (p->tty != 0)
		PLAN_CALL(pl, CHECK_NOTE, SYS_ioctl,
		    (uint64_t)(int64_t)h->tty_fd, TIOCSCTTY, 0);
}

/* The template is in a group of its own; its session is the caller's. */
static void
stay(struct plan *pl, const struct host *h)
{
	plan_what(pl, "process group");
	PLAN_CALL(pl, CHECK_OK, SYS_setpgid, 0, (uint64_t)h->group);
}

void
plan_instance(struct plan *pl, const struct process *p, const struct host *h)
{
	take_descriptors(pl, p, h);
	watch_signals(pl, p);
	if (h->group != 0)
		stay(pl, h);
	else
		lead(pl, p, h);
	stand(pl, p, h);
}
