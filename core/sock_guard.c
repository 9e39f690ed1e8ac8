#include "sock_guard.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "ctx.h"
#include "guard.h"
#include "sock_record.h"

struct sock_guard {
	const struct sock_undo *v;
	size_t n;
	struct guard *guard;
	struct sock_record record;
};

static void
undo(const struct sock_undo *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)setsockopt(v[i].fd, v[i].level, v[i].name, &v[i].value,
		    sizeof(v[i].value));
}

/* In the guard. */
static void
undo_for_us(const void *arg)
{
	struct sock_guard g = *(const struct sock_guard *)arg;

	undo(g.v, g.n);
	sock_record_end(&g.record);
}

int
sock_guard_begin(struct snap_ctx *cx, const struct sock_undo *v, size_t n,
    struct sock_guard **out)
{
	struct sock_guard *g = calloc(1, sizeof(*g));
	int err;

	*out = NULL;
	if (g == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	g->v = v;
	g->n = n;
	sock_record_begin(&g->record, v, n);
	err = guard_begin(cx, "sockets", undo_for_us, g, &g->guard);
	if (err < 0) {
		sock_record_end(&g->record);
		free(g);
		return err;
	}
	*out = g;
	return 0;
}

void
sock_guard_end(struct sock_guard *g)
{
	if (g == NULL)
		return;
	undo(g->v, g->n);
	guard_end(g->guard);
	sock_record_end(&g->record);
	free(g);
}
