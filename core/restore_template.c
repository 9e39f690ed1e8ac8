/*
 * restore_template.c - a process that has the memory of an image and waits to
 * be cloned: made as any restored process is, and let go when its memory is
 * there.  From then on it is on its own: it waits for messages, each of which
 * brings what an instance needs (struct serve), or orders a spare, until nobody
 * is left who could send one.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "image.h"
#include "restore_send.h"
#include "restore_tree.h"

#define EVENT_STOP (SIGTRAP | PTRACE_EVENT_STOP << 8)

/* A tracee can be let go when it is stopped; its recvmsg(2) is made again. */
static int
let_go(struct restore *r)
{
	int st = 0;

	if (ptrace(PTRACE_INTERRUPT, r->pid, 0, 0) < 0)
		return snap_fail(
		    r->cx, -errno, "the template: %s", strerror(errno));
	for (;;) {
		if (waitpid(r->pid, &st, __WALL) < 0 && errno == EINTR)
			continue;
		if (!WIFSTOPPED(st))
			return snap_fail(
			    r->cx, -EIO, "the template was killed");
		if (st >> 8 == EVENT_STOP)
			break;
		if (ptrace(PTRACE_CONT, r->pid, 0, 0) < 0 && errno != ESRCH)
			return snap_fail(
			    r->cx, -errno, "the template: %s", strerror(errno));
	}
	if (ptrace(PTRACE_DETACH, r->pid, 0, 0) < 0)
		return snap_fail(
		    r->cx, -errno, "the template: %s", strerror(errno));
	return 0;
}

int
restore_template(struct restore_tree *tree)
{
	struct snap_template *t = tree->template;
	struct restore *r = &tree->v[0];
	int err;

	err = restore_spawn(tree);
	if (err == 0)
		err = restore_verify(tree);
	if (err == 0)
		err = restore_wait(tree);
	if (err < 0)
		return err;
	restore_huge(r);
	/* While it is traced its pid is its own. */
	t->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (t->pidfd < 0)
		return snap_fail(
		    r->cx, -errno, "the template: %s", strerror(errno));
	t->start = (uint64_t)r->map;
	t->end = t->start + r->map_len;
	err = restore_release_parent(tree);
	if (err == 0)
		err = let_go(r);
	if (err < 0) {
		close(t->pidfd);
		t->pidfd = -1;
		return err;
	}
	t->control = tree->control[0];
	tree->control[0] = -1;
	return 0;
}

int
snap_template_spare(int control)
{
	const struct serve order = { 0 };
	int sv[2], yes = 1, err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	err = setsockopt(sv[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)) < 0
		  ? -errno
		  : restore_send_fds(control, &order, sizeof(order), &sv[1],
			SPARE_NFDS - 1, MSG_DONTWAIT);
	close(sv[1]);
	if (err == 0)
		return sv[0];
	close(sv[0]);
	return err;
}
