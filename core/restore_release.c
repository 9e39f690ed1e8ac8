#include "restore_release.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "ctx.h"
#include "guard.h"
#include "restore_tree.h"

/* In the guard. */
static void
kill_all(const void *arg)
{
	const struct release *r = arg;

	for (size_t i = 0; i < r->n; i++)
		(void)pidfd_send_signal(r->pidfds[i], SIGKILL, NULL, 0);
}

int
release_begin(struct restore_tree *t, struct release *r)
{
	*r = (struct release){ 0 };
	if (t->n < 2)
		return 0;
	r->pidfds = calloc(t->n, sizeof(*r->pidfds));
	if (r->pidfds == NULL)
		return snap_fail(t->cx, -ENOMEM, "no memory");
	for (; r->n < t->n; r->n++) {
		r->pidfds[r->n] = pidfd_open(t->v[r->n].pid, 0);
		if (r->pidfds[r->n] < 0)
			return snap_fail(t->cx, -errno, "process %d: %s",
			    (int)t->v[r->n].pid, strerror(errno));
	}
	return guard_begin(
	    t->cx, "the tree until it runs", kill_all, r, &r->guard);
}

void
release_end(struct release *r)
{
	guard_end(r->guard);
	for (size_t i = 0; i < r->n; i++)
		close(r->pidfds[i]);
	free(r->pidfds);
}
