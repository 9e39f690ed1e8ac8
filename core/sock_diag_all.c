#include "sock_diag_all.h"

#include <errno.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

/* One at a time until then. */
#define SOME 32

static int
take(void *arg, struct unix_info *u)
{
	struct sock_diag_all *a = arg;
	struct unix_info *v = process_grow(&a->v, &a->n, sizeof(*v));

	if (v == NULL) {
		unix_info_fini(u);
		return -ENOMEM;
	}
	*v = *u;
	return 0;
}

static int
by_inode(const void *x, const void *y)
{
	const struct unix_info *u = x, *v = y;

	return u->ino < v->ino ? -1 : u->ino > v->ino;
}

static int
ask_for_all(struct snap_ctx *cx, struct sock_diag_all *a)
{
	int err = sock_diag_each(cx, a->fd, SOCK_DIAG_SHOW, take, a);

	if (a->n > 0)
		qsort(a->v, a->n, sizeof(*a->v), by_inode);
	return err;
}

static int
copy_of(const struct unix_info *u, struct unix_info *out)
{
	size_t size = u->npending * sizeof(*u->pending);

	*out = *u;
	out->pending = malloc(size + 1);
	if (out->pending == NULL)
		return -ENOMEM;
	if (size > 0)
		memcpy(out->pending, u->pending, size);
	return 0;
}

int
sock_diag_all_get(struct snap_ctx *cx, struct sock_diag_all *a, pid_t pid,
    uint32_t ino, struct unix_info *out)
{
	const struct unix_info key = { .ino = ino };
	struct unix_info *u = NULL;
	int err = 0;

	if (a->fd < 0)
		a->fd = sock_diag_open(cx, pid);
	if (a->fd < 0)
		return a->fd;
	if (++a->asked == SOME)
		err = ask_for_all(cx, a);
	if (err != 0)
		return err;
	if (a->n > 0)
		u = bsearch(&key, a->v, a->n, sizeof(*a->v), by_inode);
	/* One about which there is more than fits into a reply is left out. */
	if (u == NULL)
		return sock_diag_unix(cx, a->fd, ino, out);
	return copy_of(u, out);
}

void
sock_diag_all_fini(struct sock_diag_all *a)
{
	for (size_t i = 0; i < a->n; i++)
		unix_info_fini(&a->v[i]);
	free(a->v);
	if (a->fd >= 0)
		close(a->fd);
}
