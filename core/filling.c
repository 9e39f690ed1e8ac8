#include "filling.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "ctx.h"
#include "proc.h"
#include "proc_parse.h"
#include "vma.h"

#define LOOK_NS 20000000
/* Without a single page coming. */
#define PATIENCE_S 60

static bool
is_filling(pid_t pid)
{
	char *text;
	bool yes;

	if (proc_try(pid, "smaps", &text, NULL) < 0)
		return false;
	yes = vma_smaps_missing(text);
	free(text);
	return yes;
}

static uint64_t
resident_kib(pid_t pid)
{
	uint64_t kib = 0;
	char *text;

	if (proc_try(pid, "status", &text, NULL) == 0) {
		(void)proc_field_u64(text, "RssAnon", 10, &kib);
		free(text);
	}
	return kib;
}

int
filling_wait(struct snap_ctx *cx, pid_t pid)
{
	struct timespec look = { 0, LOOK_NS }, now, last;
	uint64_t kib, before = 0;
	int waited = 0;

	clock_gettime(CLOCK_MONOTONIC, &last);
	while (is_filling(pid)) {
		if (!waited)
			snap_logf(cx, SNAP_STEP,
			    "process %d: waiting for its memory, which is "
			    "still being brought",
			    (int)pid);
		waited = 1;
		clock_gettime(CLOCK_MONOTONIC, &now);
		kib = resident_kib(pid);
		if (kib != before)
			last = now;
		before = kib;
		if (now.tv_sec - last.tv_sec >= PATIENCE_S) {
			snap_clear(cx);
			return snap_fail(cx, -EBUSY,
			    "process %d: its memory is not all there yet, and "
			    "nothing came for %d s",
			    (int)pid, PATIENCE_S);
		}
		nanosleep(&look, NULL);
	}
	return waited;
}
