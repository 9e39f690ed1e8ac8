#include "plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"

void
plan_what(struct plan *pl, const char *fmt, ...)
{
	char what[64];
	char *text;
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (pl->ntext > 0 && strcmp(pl->text + pl->what, what) == 0)
		return;
	len = strlen(what) + 1;
	/* Doubled whenever it reaches a power of two, as process_grow() does. */
	if (pl->ntext == 0 || (pl->ntext ^ (pl->ntext + len)) > pl->ntext) {
		text = realloc(pl->text, 2 * (pl->ntext + len));
		if (text == NULL) {
			pl->failed = true;
			return;
		}
		pl->text = text;
	}
	memcpy(pl->text + pl->ntext, what, len);
	pl->what = (uint32_t)pl->ntext;
	pl->ntext += len;
}

struct op *
plan_op(struct plan *pl, enum op_kind kind, enum op_check check, int nr,
    const uint64_t args[6])
{
	struct op *op = process_grow(&pl->ops, &pl->nops, sizeof(*op));

	if (op == NULL) {
		pl->failed = true;
		op = &pl->spare;
	}
	op->kind = (uint8_t)kind;
	op->check = (uint8_t)check;
	op->nr = nr;
	memcpy(op->args, args, sizeof(op->args));
	op->what = pl->what;
	return op;
}

uint64_t
plan_data(struct plan *pl, const void *bytes, size_t len)
{
	size_t at = (pl->ndata + 15) & ~(size_t)15;
	uint8_t *data;

	if (len == 0)
		return pl->data_off + at;
	if (pl->data == NULL || (pl->ndata ^ (at + len)) > pl->ndata) {
		data = realloc(pl->data, 2 * (at + len));
		if (data == NULL) {
			pl->failed = true;
			return pl->data_off;
		}
		pl->data = data;
	}
	memset(pl->data + pl->ndata, 0, at - pl->ndata);
	memcpy(pl->data + at, bytes, len);
	pl->ndata = at + len;
	return pl->data_off + at;
}

void
plan_reloc(struct plan *pl, uint64_t off)
{
	size_t *r = process_grow(&pl->relocs, &pl->nrelocs, sizeof(*r));

	if (r == NULL)
		pl->failed = true;
	else
		*r = off - pl->data_off;
}

void
plan_begin_lane(struct plan *pl)
{
	struct lane *l = process_grow(&pl->lanes, &pl->nlanes, sizeof(*l));

	if (l == NULL) {
		pl->failed = true;
		return;
	}
	l->first = (uint32_t)pl->nops;
}

void
plan_end_lane(struct plan *pl)
{
	struct lane *l;

	if (pl->failed)
		return;
	l = &pl->lanes[pl->nlanes - 1];
	l->n = (uint32_t)pl->nops - l->first;
}

/*
 * The order of a new process's life.  Memory first, since all else refers to
 * it; rights last, since all else may need them; and what runs by itself
 * (timers) after everything.
 */
int
plan_make(struct snap_ctx *cx, const struct process *p, const struct host *h,
    struct plan **out)
{
	struct plan *pl = calloc(1, sizeof(*pl));
	int err = 0;

	if (pl == NULL)
		return snap_fail(cx, -ENOMEM, "no memory for the plan");
	plan_begin_lane(pl);
	if (h->part == PLAN_TEMPLATE)
		err = plan_template_check(cx, p);
	if (err == 0)
		err = plan_moved(cx, pl, p, h);
	if (err == 0 && h->part != PLAN_INSTANCE)
		err = plan_memory(cx, pl, p, h);
	if (err < 0)
		goto out;
	if (h->part == PLAN_TEMPLATE) {
		plan_template(pl, h);
		plan_end_lane(pl);
		goto done;
	}
	if (h->part == PLAN_INSTANCE)
		plan_instance(pl, p, h);
	plan_unforked(pl, p);
	plan_process(pl, p, h);
	plan_seccomp_common(pl, p, h);
	plan_clones(pl, p, h);
	plan_process_late(pl, p, h);
	plan_thread(pl, p, 0, h);
	plan_epilogue(pl, p);
	plan_end_lane(pl);
	for (size_t i = 1; i < p->nthreads; i++) {
		plan_begin_lane(pl);
		plan_thread(pl, p, i, h);
		plan_end_lane(pl);
	}
done:
	if (pl->failed)
		err = snap_fail(cx, -ENOMEM, "no memory for the plan");
out:
	if (err < 0) {
		plan_free(pl);
		pl = NULL;
	}
	*out = pl;
	return err;
}

void
plan_free(struct plan *pl)
{
	if (pl == NULL)
		return;
	free(pl->moved);
	free(pl->data);
	free(pl->relocs);
	free(pl->ops);
	free(pl->lanes);
	free(pl->text);
	free(pl->filters);
	free(pl);
}
