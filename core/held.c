/*
 * held.c - the original of a checkpoint, kept frozen at its very instant: it
 * goes on, or it ends.
 *
 * If we die, the kernel lets it go, as it does in the middle of a checkpoint.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoint.h"
#include "ctx.h"
#include "freeze.h"
#include "freeze_tree.h"
#include "silence.h"

/* Killed by somebody meanwhile: its parent hears of that when we have. */
static void
reap_dead(struct frozen *z)
{
	siginfo_t si;

	for (size_t i = z->n; i-- > 0;) {
		si.si_pid = 0;
		if (waitid(P_PID, (id_t)z->v[i].tid, &si,
			WEXITED | WNOHANG | __WALL | __WNOTHREAD) == 0 &&
		    si.si_pid != 0)
			z->v[i].state = TRACEE_GONE;
	}
}

void
snap_checkpoint_release(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	struct frozen_tree *ft = cp->held;

	if (ft == NULL)
		return;
	cp->held = NULL;
	for (size_t i = 0; i < ft->n; i++)
		reap_dead(ft->v[i]);
	thaw_tree(cx, ft, NULL);
}

/* ---- its end ---- */

/* We trace them, so their numbers stay theirs. */
static int
open_pidfds(struct snap_ctx *cx, const struct frozen_tree *ft, int *v)
{
	for (size_t i = 0; i < ft->n; i++) {
		v[i] = (int)syscall(SYS_pidfd_open, ft->v[i]->pid, 0);
		if (v[i] < 0)
			return snap_fail(cx, -errno, "process %d: pidfd: %s",
			    (int)ft->v[i]->pid, strerror(errno));
	}
	return 0;
}

static int
send_all(
    struct snap_ctx *cx, const struct frozen_tree *ft, const int *v, int sig)
{
	int err = 0;

	for (size_t i = 0; i < ft->n; i++)
		if (syscall(SYS_pidfd_send_signal, v[i], sig, NULL, 0) != 0 &&
		    errno != ESRCH)
			err = snap_fail(cx, -errno, "killing process %d: %s",
			    (int)ft->v[i]->pid, strerror(errno));
	return err;
}

/* What all of them have open, borrowed from each. */
static struct openfile *
list_files(const struct family *tree, size_t *n)
{
	struct openfile *v;

	*n = 0;
	for (size_t i = 0; i < tree->n; i++)
		*n += tree->v[i]->nfiles;
	v = calloc(*n + 1, sizeof(*v));
	*n = 0;
	for (size_t i = 0; v != NULL && i < tree->n; i++)
		for (size_t k = 0; k < tree->v[i]->nfiles; k++)
			v[(*n)++] = tree->v[i]->files[k];
	return v;
}

/* Signal 0 first: all of them may be killed, or none is. */
static int
kill_all(struct snap_ctx *cx, struct snap_checkpoint *cp, const int *pidfds)
{
	struct frozen_tree *ft = cp->held;
	struct silence s = { 0 };
	size_t n;
	struct openfile *files = list_files(&cp->tree, &n);
	int err = files == NULL ? snap_fail(cx, -ENOMEM, "no memory")
				: send_all(cx, ft, pidfds, 0);

	for (size_t i = 0; err == 0 && i < ft->n; i++)
		err =
		    silence_collect(cx, &s, ft->v[i]->pid, pidfds[i], files, n);
	if (err == 0)
		err = silence_compare(cx, &s);
	if (err == 0)
		err = send_all(cx, ft, pidfds, SIGKILL);
	for (size_t i = 0; err == 0 && i < ft->n; i++) {
		frozen_bury(ft->v[i]);
		ft->v[i] = NULL;
	}
	silence_end(&s, err == 0);
	free(files);
	return err;
}

int
snap_checkpoint_end(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	struct frozen_tree *ft = cp->held;
	int err, *pidfds;

	if (ft == NULL)
		return snap_fail(cx, -ESRCH, "no process is held");
	pidfds = malloc(ft->n * sizeof(*pidfds));
	if (pidfds == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	for (size_t i = 0; i < ft->n; i++)
		pidfds[i] = -1;
	err = open_pidfds(cx, ft, pidfds);
	if (err == 0)
		err = kill_all(cx, cp, pidfds);
	for (size_t i = 0; i < ft->n; i++)
		if (pidfds[i] >= 0)
			close(pidfds[i]);
	free(pidfds);
	if (err != 0)
		return err;
	snap_logf(cx, SNAP_NOTICE, "process %d: ended while it was held",
	    (int)cp->tree.v[0]->pid);
	cp->held = NULL;
	thaw_tree(cx, ft, NULL);
	return 0;
}
