/*
 * fds_group.c - which descriptors are one open file: by inode and flags, and
 * where those are equal, by kcmp(2), which orders the kernel's own objects.
 */
#include "fds_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"

static int
by_inode(const struct entry *x, const struct entry *y)
{
	if (x->st.st_dev != y->st.st_dev)
		return x->st.st_dev < y->st.st_dev ? -1 : 1;
	if (x->st.st_ino != y->st.st_ino)
		return x->st.st_ino < y->st.st_ino ? -1 : 1;
	return 0;
}

static int
by_place(const struct entry *x, const struct entry *y)
{
	if (x->w != y->w)
		return x->w < y->w ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int
by_file(struct walks *ws, const struct entry *x, const struct entry *y)
{
	long c;

	if (x->flags != y->flags)
		return x->flags < y->flags ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	if (ws->error == 0 && fds_in_time(x->w) != 0)
		ws->error = -ETIMEDOUT;
	if (ws->error != 0)
		return by_place(x, y);
	c = syscall(SYS_kcmp, x->place->pid, y->place->pid, KCMP_FILE, x->there,
	    y->there);
	if (c < 0 || c > 2) {
		ws->error = c < 0 ? -errno : -EPROTO;
		return by_place(x, y);
	}
	return c == 0 ? 0 : c == 1 ? -1 : 1;
}

/*
 * However it sorts, what ends up side by side was compared.  So where two are
 * one, that is noted here, in the one that comes later.
 */
static int
compare(const void *a, const void *b, void *arg)
{
	struct walks *ws = arg;
	struct entry *x = *(struct entry *const *)a;
	struct entry *y = *(struct entry *const *)b;
	int c = by_inode(x, y);

	if (c == 0)
		c = by_file(ws, x, y);
	if (c != 0 || x == y)
		return c;
	c = by_place(x, y);
	if (c < 0)
		y->top = x;
	else
		x->top = y;
	return c;
}

/* The process at the other end of a pipe, if x's own has not both. */
static pid_t
other_end(struct walks *ws, size_t from, size_t to, const struct entry *x)
{
	bool reader = false, writer = false;
	pid_t other = 0;

	if (!S_ISFIFO(x->st.st_mode))
		return 0;
	for (size_t k = from; k < to; k++) {
		const struct entry *e = ws->order[k];
		uint32_t acc = e->flags & O_ACCMODE;

		if (e->w == x->w) {
			reader |= acc != O_WRONLY;
			writer |= acc != O_RDONLY;
		} else if (other == 0 && acc != (x->flags & O_ACCMODE)) {
			other = e->w->pid;
		}
	}
	return reader && writer ? 0 : other;
}

/* Of the entries order[from..to), which share an inode. */
static void
join_group(struct walks *ws, size_t from, size_t to)
{
	bool reader = false, writer = false;
	uint32_t flags = 0;

	for (size_t k = from; k < to; k++) {
		struct entry *e = ws->order[k];
		uint32_t acc = e->flags & O_ACCMODE;

		reader |= acc != O_WRONLY;
		writer |= acc != O_RDONLY;
		flags |= e->flags;
		/* The earlier one comes first, and is settled. */
		e->top = e->top->top;
		e->same = e;
		if (k > from && ws->order[k - 1]->w == e->w &&
		    ws->order[k - 1]->top == e->top)
			e->same = ws->order[k - 1]->same;
	}
	for (size_t k = from; k < to; k++) {
		struct entry *e = ws->order[k];

		e->reader = reader;
		e->writer = writer;
		e->group_flags = flags;
		/* Of many duplicates the first is asked. */
		e->other =
		    e->same != e ? e->same->other : other_end(ws, from, to, e);
	}
}

int
fds_group(struct walks *ws)
{
	size_t from = 0, n = 0;

	for (size_t i = 0; i < ws->n; i++) {
		n += ws->v[i].n;
		fds_begin(&ws->v[i]);
	}
	ws->order = calloc(n + 1, sizeof(struct entry *));
	if (ws->order == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < ws->n; i++)
		for (size_t k = 0; k < ws->v[i].n; k++) {
			struct entry *e = &ws->v[i].v[k];

			e->same = e->top = e;
			ws->order[ws->norder++] = e;
		}
	qsort_r(ws->order, n, sizeof(struct entry *), compare, ws);
	for (size_t k = 1; k <= n; k++) {
		if (k < n && by_inode(ws->order[k], ws->order[from]) == 0)
			continue;
		join_group(ws, from, k);
		from = k;
	}
	if (ws->error != 0)
		return snap_fail(ws->cx, ws->error,
		    "comparing descriptors (kcmp): %s", strerror(-ws->error));
	return 0;
}
