#include "ctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FREEZE_TIMEOUT_MS 2000

void
ctx_init(struct snap_ctx *cx, const struct snap_options *opt)
{
	*cx = (struct snap_ctx){ 0 };
	if (opt != NULL)
		cx->opt = *opt;
	if (cx->opt.freeze_timeout_ms == 0)
		cx->opt.freeze_timeout_ms = FREEZE_TIMEOUT_MS;
}

struct snap_ctx *
snap_ctx_new(const struct snap_options *opt)
{
	struct snap_ctx *cx = malloc(sizeof(*cx));

	if (cx != NULL)
		ctx_init(cx, opt);
	return cx;
}

void
snap_ctx_free(struct snap_ctx *cx)
{
	free(cx);
}

const char *
snap_error(const struct snap_ctx *cx)
{
	return cx->text;
}

void
snap_clear(struct snap_ctx *cx)
{
	cx->error = 0;
	cx->text[0] = '\0';
}

int
snap_fail(struct snap_ctx *cx, int err, const char *fmt, ...)
{
	size_t n = 0;
	va_list ap;

	if (cx->error != 0)
		return err;
	cx->error = err;
	if (cx->where != NULL)
		n = (size_t)snprintf(
		    cx->text, sizeof(cx->text) / 2, "%s", cx->where);
	if (n >= sizeof(cx->text) / 2)
		n = sizeof(cx->text) / 2 - 1;
	va_start(ap, fmt);
	vsnprintf(cx->text + n, sizeof(cx->text) - n, fmt, ap);
	va_end(ap);
	snap_printable(cx->text);
	snap_logf(cx, SNAP_ERROR, "%s", cx->text);
	return err;
}
