/*
 * fds_restore.c - open again what processes had open.
 *
 * Three passes, so that no number is in the way of another: every open file
 * to a place of its own above all numbers, from there to its descriptors,
 * then what refers to other descriptors.  The first is done once for all
 * processes of a tree, which inherit the places, so that they share what they
 * shared; the others by each.  Locks come last, since closing any descriptor
 * of a file drops the process's POSIX locks on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "fdlock.h"
#include "res.h"
#include "resource.h"

/* ---- files of one object ---- */

struct member {
	const char *object;
	uint32_t index;
};

static int
by_object(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int c = strcmp(x->object, y->object);

	return c != 0 ? c : x->index < y->index ? -1 : x->index > y->index;
}

static void
close_ring(struct member *m, size_t n, uint32_t *first, uint32_t *next)
{
	for (size_t i = 0; i < n; i++) {
		first[m[i].index] = m[0].index;
		next[m[i].index] = m[(i + 1) % n].index;
	}
}

/*
 * A file that was replaced in the image is no longer of the object; nor are
 * files of different kinds.
 */
static int
make_rings(const struct process *p, uint32_t *first, uint32_t *next)
{
	struct member *m = calloc(p->nfiles + 1, sizeof(*m));
	size_t n = 0, from = 0;

	if (m == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->nfiles; i++) {
		const char *object = openfile_get(&p->files[i], "object");

		first[i] = next[i] = i;
		if (object == NULL || resource_edited(&p->files[i]))
			continue;
		m[n].object = object;
		m[n++].index = i;
	}
	qsort(m, n, sizeof(*m), by_object);
	for (size_t k = 1; k <= n; k++) {
		if (k < n && strcmp(m[k].object, m[from].object) == 0 &&
		    strcmp(p->files[m[k].index].kind,
			p->files[m[from].index].kind) == 0)
			continue;
		close_ring(m + from, k - from, first, next);
		from = k;
	}
	free(m);
	return 0;
}

/* ---- opening ---- */

static int
open_kind(struct snap_ctx *cx, const struct fd_restore *r, uint32_t i)
{
	const struct openfile *f = &r->p->files[i];

	if (f->given)
		return res_given_restore(cx, r, f);
	if (resource_edited(f))
		return res_edited_restore(cx, r, f);
	return resource_find(f->kind)->restore(cx, r, f);
}

/*
 * One that may be missing is from now on of another kind, of which there is
 * nothing to say.
 */
static int
open_or_dead(struct snap_ctx *cx, const struct fd_restore *r, uint32_t i)
{
	struct openfile *f = &r->p->files[i];
	struct snap_ctx quiet = { .opt = cx->opt };
	const char *hint;
	int fd;

	if (openfile_get(f, "ignored") == NULL)
		return open_kind(cx, r, i);
	quiet.opt.log = NULL;
	fd = open_kind(&quiet, r, i);
	if (fd >= 0)
		return fd;
	/* What can be done about it has been done. */
	hint = strstr(quiet.text, "; to restore ");
	resource_note(r, "without %.*s",
	    hint == NULL ? (int)sizeof(quiet.text) : (int)(hint - quiet.text),
	    quiet.text);
	memcpy(f->kind, "dead", sizeof("dead"));
	f->nkv = 0;
	f->flags &= O_NONBLOCK;
	f->flags |= O_RDWR;
	return open_kind(cx, r, i);
}

static int
open_one(struct snap_ctx *cx, const struct fd_restore *r, uint32_t i)
{
	const struct openfile *f = &r->p->files[i];
	int fd, err;

	fd = open_or_dead(cx, r, i);
	if (fd < 0 || fd == r->base + (int)i)
		return fd < 0 ? fd : 0;
	if (dup3(fd, r->base + (int)i, O_CLOEXEC) >= 0) {
		close(fd);
		return 0;
	}
	err = errno == EBADF ? -EMFILE : -errno;
	close(fd);
	return snap_fail(cx, err, "fd %u: %s%s", f->id, strerror(-err),
	    err == -EMFILE ? " (the limit of open files is too low)" : "");
}

/* The caller's own descriptors are kept: they are above all of ours. */
static int
place(struct snap_ctx *cx, const struct fd_restore *r)
{
	const struct process *p = r->p;
	int err;

	if (r->base > 0)
		(void)syscall(SYS_close_range, 0, r->base - 1, 0);
	for (size_t i = 0; i < p->nfds; i++) {
		const struct fdent *e = &p->fds[i];

		if (dup3(r->base + (int)e->file, e->fd,
			e->cloexec ? O_CLOEXEC : 0) >= 0)
			continue;
		err = errno == EBADF ? -EMFILE : -errno;
		return snap_fail(cx, err, "fd %d: %s", e->fd, strerror(-err));
	}
	return 0;
}

static void
close_places(const struct fd_restore *r)
{
	if (r->p->nfiles > 0)
		(void)syscall(SYS_close_range, r->base,
		    r->base + (int)r->p->nfiles - 1, 0);
}

static bool
is_mine(const bool *mine, size_t i)
{
	return mine == NULL || mine[i];
}

/* The lowest descriptor of a file is its id. */
static int
finish(struct snap_ctx *cx, const struct fd_restore *r, const bool *mine)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->p->nfiles; i++) {
		const struct openfile *f = &r->p->files[i];
		const struct resource *kind = resource_find(f->kind);

		if (!is_mine(mine, i) || resource_edited(f))
			continue;
		if (kind->finish != NULL)
			err = kind->finish(cx, r, f, (int)f->id);
		if (err == 0)
			err = fdowner_restore(cx, f, (int)f->id, r->pid);
	}
	return err;
}

static int
lock(struct snap_ctx *cx, const struct fd_restore *r, const bool *mine)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->p->nfiles; i++) {
		const struct openfile *f = &r->p->files[i];

		if (is_mine(mine, i) && !resource_edited(f))
			err = fdlock_restore(cx, f, (int)f->id, r->pid != 0);
	}
	return err;
}

/*
 * What says of a process which it is must be opened by that process, and when
 * it is there.
 */
static bool
is_own(const struct openfile *f)
{
	return !f->given &&
	       (strcmp(f->kind, res_pidfd.name) == 0 ||
		   strncmp(f->target, "/proc/", strlen("/proc/")) == 0);
}

static bool
has(const struct process *p, uint32_t file)
{
	for (size_t i = 0; i < p->nfds; i++)
		if (p->fds[i].file == file)
			return true;
	return false;
}

static int
open_all(struct snap_ctx *cx, const struct fd_restore *r)
{
	int err = 0;

	close_places(r);
	for (uint32_t i = 0; err == 0 && i < r->p->nfiles; i++)
		if (!is_own(&r->p->files[i]))
			err = open_one(cx, r, i);
	for (size_t i = 0; err == 0 && resources[i] != NULL; i++)
		if (resources[i]->settle != NULL)
			err = resources[i]->settle(cx, r);
	for (size_t i = 0; i < r->p->nfiles; i++)
		resource_drop(r, &r->p->files[i]);
	return err;
}

static int
place_all(struct snap_ctx *cx, const struct fd_restore *r, const bool *mine)
{
	int err = 0;

	for (uint32_t i = 0; err == 0 && i < r->p->nfiles; i++)
		if (is_own(&r->p->files[i]) && has(r->p, i))
			err = open_one(cx, r, i);
	if (err == 0)
		err = place(cx, r);
	close_places(r);
	if (err == 0)
		err = finish(cx, r, mine);
	return err == 0 ? lock(cx, r, mine) : err;
}

void
fds_close_in_flight(const struct process *p)
{
	for (size_t i = 0; i < p->nfiles; i++)
		if (openfile_get(&p->files[i], "in-flight") != NULL)
			close((int)p->files[i].id);
}

struct rings {
	struct fd_restore r;
	uint32_t *first, *next;
	int *aux;
};

static int
rings_init(struct snap_ctx *cx, struct rings *x, const struct fd_restore *r)
{
	const struct process *p = r->p;

	x->r = *r;
	x->first = calloc(p->nfiles + 1, sizeof(*x->first));
	x->next = calloc(p->nfiles + 1, sizeof(*x->next));
	x->aux = malloc((p->nfiles + 1) * sizeof(*x->aux));
	if (x->aux != NULL)
		memset(x->aux, -1, (p->nfiles + 1) * sizeof(*x->aux));
	x->r.aux = x->aux;
	x->r.first = x->first;
	x->r.next = x->next;
	if (x->first == NULL || x->next == NULL || x->aux == NULL ||
	    make_rings(p, x->first, x->next) != 0)
		return snap_fail(cx, -ENOMEM, "descriptors: out of memory");
	return 0;
}

static void
rings_fini(struct rings *x)
{
	free(x->first);
	free(x->next);
	free(x->aux);
}

static int
try_all(struct snap_ctx *cx, const struct fd_restore *r)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->p->nfiles; i++) {
		const struct openfile *f = &r->p->files[i];
		const struct resource *kind = resource_find(f->kind);

		if (kind->try != NULL && !is_own(f) && !resource_edited(f) &&
		    openfile_get(f, "ignored") == NULL)
			err = kind->try(cx, r, f);
	}
	return err;
}

static int
with_rings(struct snap_ctx *cx, const struct fd_restore *r,
    int (*step)(struct snap_ctx *cx, const struct fd_restore *r))
{
	struct rings x;
	int err = rings_init(cx, &x, r);

	if (err == 0)
		err = step(cx, &x.r);
	rings_fini(&x);
	return err;
}

int
fds_try(struct snap_ctx *cx, const struct fd_restore *r)
{
	return with_rings(cx, r, try_all);
}

int
fds_open(struct snap_ctx *cx, const struct fd_restore *r)
{
	return with_rings(cx, r, open_all);
}

int
fds_place(struct snap_ctx *cx, const struct fd_restore *r, const bool *mine)
{
	struct rings x;
	int err = rings_init(cx, &x, r);

	if (err == 0)
		err = place_all(cx, &x.r, mine);
	rings_fini(&x);
	return err;
}
