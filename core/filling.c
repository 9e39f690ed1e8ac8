#include "filling.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "ctx.h"
#include "proc.h"
#include "tracee.h"
#include "vma.h"

#define LOOK_NS 20000000

bool
filling_now(pid_t pid)
{
	char *text;
	bool yes;

	if (proc_try(pid, "smaps", &text, NULL) < 0)
		return false;
	yes = vma_smaps_missing(text);
	free(text);
	return yes;
}

static int
wait_for(struct snap_ctx *cx, pid_t pid, uint64_t deadline)
{
	const struct timespec look = { 0, LOOK_NS };
	int waited = 0;

	while (filling_now(pid)) {
		if (!waited)
			snap_logf(cx, SNAP_STEP,
			    "process %d: waiting for its memory, which is "
			    "still being brought",
			    (int)pid);
		waited = 1;
		if (now_ns() > deadline) {
			snap_clear(cx);
			return snap_fail(cx, -ETIMEDOUT,
			    "process %d: it was restored, and its memory is "
			    "still being brought: not all of it came within %u "
			    "ms",
			    (int)pid, cx->opt.freeze_timeout_ms);
		}
		nanosleep(&look, NULL);
	}
	return waited;
}

int
filling_wait(
    struct snap_ctx *cx, const pid_t *pids, size_t n, uint64_t deadline)
{
	int waited = 0;

	for (size_t i = 0; i < n; i++) {
		int r = wait_for(cx, pids[i], deadline);

		if (r < 0)
			return r;
		waited |= r;
	}
	return waited;
}
