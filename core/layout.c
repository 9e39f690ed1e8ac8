#include "layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"

/*
 * Wider than the gap that the kernel keeps below a growing stack, so that a
 * stack is as free to grow while the area is there as it is afterwards.
 */
#define DISTANCE (16ull << 20)
#define HOLE_FIRST (4ull << 30) /* where small addresses matter to no one */
#define HOLE_LOWEST (1ull << 20)

static int
add_line(struct layout *l, const char *line)
{
	struct range *r, got;
	int name = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %*s %n",
		&got.start, &got.end, &name) != 2 ||
	    name == 0)
		return 0;
	if (strcmp(line + name, "[vvar]") == 0)
		l->vvar = got;
	else if (strcmp(line + name, "[vvar_vclock]") == 0)
		l->vvar_vclock = got;
	else if (strcmp(line + name, "[vdso]") == 0)
		l->vdso = got;
	if (got.end > LAYOUT_TASK_SIZE)
		return 0; /* [vsyscall] */
	r = process_grow(&l->v, &l->n, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	*r = got;
	return 0;
}

int
layout_self(struct snap_ctx *cx, struct layout *l)
{
	char *text = NULL, *line, *save;
	int err;

	memset(l, 0, sizeof(*l));
	err = proc_read(cx, getpid(), "maps", &text, NULL);
	if (err < 0)
		return err;
	for (line = strtok_r(text, "\n", &save); line != NULL && err == 0;
	     line = strtok_r(NULL, "\n", &save))
		err = add_line(l, line);
	free(text);
	if (err < 0)
		return snap_fail(cx, err, "reading /proc/self/maps: no memory");
	return 0;
}

int
layout_add(struct layout *l, struct range r)
{
	size_t i = l->n;

	if (process_grow(&l->v, &l->n, sizeof(*l->v)) == NULL)
		return -ENOMEM;
	for (; i > 0 && l->v[i - 1].start > r.start; i--)
		l->v[i] = l->v[i - 1];
	l->v[i] = r;
	return 0;
}

void
layout_fini(struct layout *l)
{
	free(l->v);
	memset(l, 0, sizeof(*l));
}

/* The next range of either side that starts at or above the `i`th and `j`th. */
static struct range
next_range(
    const struct layout *l, size_t *i, const struct process *p, size_t *j)
{
	struct range none = { LAYOUT_TASK_SIZE, LAYOUT_TASK_SIZE }, r;

	if (*i < l->n &&
	    (*j >= p->nvmas || l->v[*i].start <= p->vmas[*j].start))
		return l->v[(*i)++];
	if (*j < p->nvmas) {
		r.start = p->vmas[*j].start;
		r.end = p->vmas[(*j)++].end;
		return r;
	}
	return none;
}

static uint64_t
hole_above(const struct layout *l, const struct process *p, uint64_t len,
    uint64_t from)
{
	uint64_t at = from;
	size_t i = 0, j = 0;

	for (;;) {
		struct range r = next_range(l, &i, p, &j);

		if (r.start >= LAYOUT_TASK_SIZE)
			r.start = r.end = LAYOUT_TASK_SIZE;
		if (r.start > at && r.start - at >= len &&
		    r.start - at - len >= DISTANCE)
			return at;
		if (r.start == LAYOUT_TASK_SIZE)
			return 0;
		if (r.end + DISTANCE > at)
			at = r.end + DISTANCE;
	}
}

uint64_t
layout_hole(const struct layout *l, const struct process *p, uint64_t len)
{
	uint64_t at;

	if (len > LAYOUT_TASK_SIZE)
		return 0;
	at = hole_above(l, p, len, HOLE_FIRST);
	return at != 0 ? at : hole_above(l, p, len, HOLE_LOWEST);
}
