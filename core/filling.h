/*
 * filling.h - a process whose memory is still being brought.
 *
 * A lazily restored process misses pages, which its pager brings.  A twin of it
 * would miss them too, and what is missing in a twin counts as never touched.
 * The kernel says of every VMA whether that is so (`um' in smaps), of whoever's
 * pager it is; and whoever is forked is registered as its parent is.  So a
 * checkpoint looks at its twin, and if that is so, waits and is taken again.
 */
#ifndef FILLING_H
#define FILLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct snap_ctx;

/* Is it so now?  False, too, if the kernel does not say. */
bool filling_now(pid_t pid);

/*
 * Wait until all memory of these processes is there, or they have ended: 1; 0:
 * there was nothing to wait for.  -ETIMEDOUT with a sentence if it is not there
 * at `deadline` (CLOCK_MONOTONIC, ns), which may have passed.
 */
int filling_wait(
    struct snap_ctx *cx, const pid_t *pids, size_t n, uint64_t deadline);

#endif
