#include "copytime.h"

#include <errno.h>

#include "ctx.h"
#include "tracee.h"

/* It is hopeless if what is left would take so many times what there is. */
#define HOPELESS 4
#define TELLING (64ull << 20) /* fewer bytes tell too little */

void
copytime_limit(struct family *t, unsigned ms)
{
	t->copying_limited = true;
	t->copying_left = (uint64_t)ms * 1000000u;
}

void
copytime_free(struct family *t)
{
	t->copying_limited = false;
}

struct copytime
copytime_begin(const struct process *p)
{
	struct copytime c = { 0 };

	if (p->tree == NULL || !p->tree->copying_limited)
		return c;
	c.begun = now_ns();
	c.end = c.begun + p->tree->copying_left;
	return c;
}

uint64_t
copytime_end(const struct copytime *c)
{
	return c->end == 0 ? UINT64_MAX : c->end;
}

void
copytime_finish(const struct copytime *c, struct process *p)
{
	uint64_t now = now_ns();

	if (c->end != 0)
		p->tree->copying_left = c->end > now ? c->end - now : 0;
}

/*
 * The pause is for nothing if the copy will not be whole, and the next reader
 * comes: so it ends as soon as that can be told.  Whoever is slow at first may
 * have waited for the CPU.
 */
int
copytime_check(const struct copytime *c, uint64_t done, uint64_t left)
{
	uint64_t now, took;

	if (c == NULL || c->end == 0)
		return 0;
	now = now_ns();
	if (now > c->end)
		return -ETIMEDOUT;
	took = now - c->begun;
	if (done < TELLING || took < (c->end - c->begun) / 4)
		return 0;
	return (double)took / (double)done * (double)left >
		       HOPELESS * (double)(c->end - now)
		   ? -ETIMEDOUT
		   : 0;
}

int
copytime_fail(struct snap_ctx *cx, const struct process *p, const char *what,
    uint64_t size)
{
	return snap_fail(cx, -ETIMEDOUT,
	    "process %d: copying %llu MiB of %s takes longer than it may be "
	    "frozen (freeze_timeout, %u ms); mount with a longer "
	    "one",
	    (int)p->pid, (unsigned long long)(size >> 20), what,
	    cx->opt.freeze_timeout_ms);
}
