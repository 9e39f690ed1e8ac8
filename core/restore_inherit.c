/*
 * restore_inherit.c - memory that a new process has from its parent, or hands
 * on to its children: a place is kept free for it in the agent, so that it is
 * free in all that come from it, and each puts it there before its own children
 * are born.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_tree.h"

/* ---- the agent ---- */

static int
reserve(struct restore_tree *t)
{
	const struct inheritance *in = &t->inheritance;

	for (size_t i = 0; i < in->nplaces; i++) {
		const struct range *r = &in->places[i];
		uint64_t len = r->end - r->start;
		void *at = mmap((void *)r->start, len, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			MAP_FIXED_NOREPLACE,
		    -1, 0);

		if (at != (void *)r->start)
			return snap_fail(t->cx, -errno,
			    "%llu bytes for inherited memory: %s",
			    (unsigned long long)len, strerror(errno));
		t->nreserved = i + 1;
	}
	return 0;
}

int
restore_inherit(struct restore_tree *t)
{
	struct layout self = { 0 };
	int err = 0;

	if (t->n > 1)
		err = layout_self(t->cx, &self);
	if (err == 0 && t->n > 1)
		err = inherit_find(t->cx, t->family, &self, &t->inheritance);
	layout_fini(&self);
	if (err == 0)
		err = reserve(t);
	for (size_t i = 0; err == 0 && i < t->inheritance.n; i++)
		t->v[i].host.pieces = t->inheritance.of[i];
	return err;
}

void
restore_inherit_free(struct restore_tree *t)
{
	const struct inheritance *in = &t->inheritance;

	for (size_t i = 0; i < t->nreserved; i++)
		munmap((void *)in->places[i].start,
		    in->places[i].end - in->places[i].start);
	inherit_free(&t->inheritance);
}

/* The agent's numbers, which its children have until they put theirs. */
static int *
own_numbers(const struct restore *r, const int *numbers, size_t n)
{
	int *v = calloc(n + 1, sizeof(*v));

	for (size_t i = 0; v != NULL && i < n; i++)
		v[i] = numbers[i] < 0
			   ? -1
			   : r->kept[numbers[i] - r->host.fd_first].fd;
	return v;
}

int
restore_plan_inherited(struct restore *r)
{
	struct host h = r->host;
	int *files, *sources, err;

	if (h.pieces.n == 0)
		return 0;
	files = own_numbers(r, r->file_fds, r->p->nmapfiles);
	sources = own_numbers(r, r->source_fds, r->nsources);
	h.pages_fd = r->kept[0].fd;
	h.file_fds = files;
	h.source_fds = sources;
	if (files == NULL || sources == NULL)
		err = snap_fail(r->cx, -ENOMEM, "no memory");
	else
		err = plan_make_inherited(r->cx, r->p, &h, &r->inherited);
	free(files);
	free(sources);
	return err;
}

/* ---- a new process ---- */

/* Like the restorer's: see there. */
static int64_t
read_all(const struct op *op, struct iovec *iov)
{
	size_t n = op->args[2];
	int64_t total = 0;
	ssize_t r;

	while (total < op->want) {
		r = preadv(
		    (int)op->args[0], iov, (int)n, (off_t)op->args[3] + total);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : total;
		total += r;
		for (; n > 0 && (size_t)r >= iov->iov_len; iov++, n--)
			r -= (ssize_t)iov->iov_len;
		if (r > 0) {
			iov->iov_base = (char *)iov->iov_base + r;
			iov->iov_len -= (size_t)r;
		}
	}
	return total;
}

static int64_t
perform(struct plan *pl, const struct op *op)
{
	const uint64_t *v = op->args;
	long ret;

	if (op->kind == OP_READ)
		return read_all(op, (struct iovec *)(pl->data + v[1]));
	ret = syscall(op->nr, v[0], v[1], v[2], v[3], v[4], v[5]);
	return ret == -1 ? -errno : ret;
}

static int
failed(struct restore *r, const struct op *op, int64_t ret)
{
	const char *what = r->inherited->text + op->what;

	if (op->kind == OP_READ && ret >= 0)
		return snap_fail(
		    r->cx, -EBADMSG, "pages: shorter than pagemap says");
	return snap_fail(r->cx, ret < 0 ? (int)ret : -EIO, "%s: %s: %s", what,
	    plan_op_name(op), ret < 0 ? strerror((int)-ret) : "elsewhere");
}

int
restore_take_inherited(struct restore *r)
{
	struct plan *pl = r->inherited;

	for (size_t i = 0; pl != NULL && i < pl->nops; i++) {
		const struct op *op = &pl->ops[i];
		int64_t ret = perform(pl, op);

		if ((op->check == CHECK_OK && ret < 0) ||
		    (op->check == CHECK_IS && ret != op->want))
			return failed(r, op, ret);
	}
	return 0;
}
