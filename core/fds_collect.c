/*
 * fds_collect.c - the descriptors of frozen processes, as an image has them.
 *
 * This runs while they are held, so it counts.  Descriptors of one open file
 * (dup(2), or inherited from one another) are written once; what each is, its
 * kind says.
 */
#include "fds_walk.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "fdlock.h"
#include "proc.h"
#include "res.h"
#include "resource.h"
#include "shared.h"
#include "sock_queue.h"
#include "tcp_sock.h"
#include "unix_index.h"
#include "unix_sock.h"

/* ---- what they are ---- */

/*
 * Could its file system be FUSE?  Neither a device nor a memfd is asked of a
 * file system, and those of block devices are none.
 */
static bool
may_be_fuse(const struct entry *e)
{
	return major(e->st.st_dev) == 0 && e->target[0] == '/' &&
	       !S_ISCHR(e->st.st_mode) &&
	       strncmp(e->target, "/memfd:", 7) != 0 &&
	       strncmp(e->target, "/proc/", 6) != 0;
}

/*
 * Whether the file lies on a FUSE mount: 1, or 2 for one of snapfs itself.
 * mountinfo is long, and rarely read.
 */
static int
on_fuse(struct walk *w, const struct entry *e)
{
	uint64_t id;
	char head[24], *line, *end, *type;

	if (!may_be_fuse(e) || !proc_field_u64(e->fdinfo, "mnt_id", 10, &id))
		return 0;
	if (w->mountinfo == NULL &&
	    proc_read(w->cx, w->pid, "mountinfo", &w->mountinfo, NULL) != 0)
		return -1;
	snprintf(head, sizeof(head), "\n%llu ", (unsigned long long)id);
	line = strncmp(w->mountinfo, head + 1, strlen(head + 1)) == 0
		   ? w->mountinfo
		   : strstr(w->mountinfo, head);
	if (line == NULL)
		return 0;
	end = strchr(line + 1, '\n');
	type = strstr(line, " - ");
	if (type == NULL || (end != NULL && type > end) ||
	    strncmp(type + 3, "fuse", 4) != 0)
		return 0;
	return strncmp(type + 3, "fuse.snapfs ", 12) == 0 ? 2 : 1;
}

static int
run_kind(struct walk *w, struct snap_ctx *cx, const struct entry *e,
    const struct fd_probe *q, struct openfile *f, int fuse)
{
	const struct resource *kind;
	int err;
	size_t i;

	for (i = 0; !resources[i]->match(q); i++)
		;
	kind = resources[i];
	snprintf(f->kind, sizeof(f->kind), "%s", kind->name);
	if (openfile_put(f, "target", "%s", f->target) != 0)
		return -ENOMEM;
	if (fuse == 2)
		return snap_fail(
		    cx, -ENOTSUP, "a file of this very file system");
	if (e->why != NULL)
		return snap_fail(cx, -ENOTSUP, "%s", e->why);
	if (f->pos > INT64_MAX)
		return snap_fail(
		    cx, -ENOTSUP, "its position is %lld", (long long)f->pos);
	err = kind->collect(cx, q, w->p, f);
	if (err == 0)
		err = fdlock_collect(cx, q, f);
	if (err == 0)
		err = fdowner_collect(cx, q, f);
	return err;
}

/*
 * Keep it as a descriptor of which nothing but the reason is known.  It is
 * still in the image, so that something else can be put in its place there.
 */
static int
demote(struct openfile *f, const char *why)
{
	openfile_forget(f);
	snprintf(f->kind, sizeof(f->kind), "unsupported");
	if (openfile_put(f, "target", "%s", f->target) != 0)
		return -ENOMEM;
	return openfile_put(f, "why", "%s", why);
}

static bool
demoted(const struct openfile *f)
{
	return strcmp(f->kind, "unsupported") == 0;
}

static struct openfile *
file_of(const struct entry *e)
{
	return &e->w->p->files[e->file];
}

/* What the kind makes of it; e->file is known. */
static int
collect_kind(struct walk *w, struct entry *e, int fuse)
{
	/* That it is not supported is no error of the checkpoint. */
	struct snap_ctx cx = { .opt = w->cx->opt };
	const struct fd_probe q = {
		.pid = e->place->pid,
		.pidfd = e->place->pidfd,
		.fd = e->there,
		.domain = e->domain,
		.queue = e->queue,
		.tcp = e->tcp,
		.tcp_state = e->tcp_state,
		.diag = &w->diag,
		.target = e->target,
		.st = e->st,
		.fdinfo = e->fdinfo,
		.flags = e->flags,
		.reader = e->reader,
		.writer = e->writer,
		.group_flags = e->group_flags,
		.other = e->other,
		.owner = e->owner,
		.sig = e->sig,
		.pipe_size = e->pipe_size,
		.unread = e->unread,
		.fuse = fuse != 0,
		.root = w->root >= 0 ? w->root : AT_FDCWD,
		.p = w->p,
		.walk = e->place == &w->own ? NULL : w,
		.deadline = w->deadline,
	};
	int err;

	cx.opt.log = NULL;
	err = run_kind(w, &cx, e, &q, file_of(e), fuse);
	if (err < 0 && err != -ENOMEM && cx.text[0] == '\0')
		(void)snap_fail(&cx, err, "%s: %s", e->target, strerror(-err));
	if (err == -ENOTSUP)
		err = demote(file_of(e), cx.text);
	if (err == 0 && e->place == &w->own)
		err = openfile_put(file_of(e), "in-flight", "1");
	return err == 0 || err == -ENOMEM
		   ? err
		   : snap_fail(w->cx, err, "%s", cx.text);
}

/* Of a terminal whose master is the process's, too, nothing waits outside. */
static int
list_input(struct walk *w, const struct entry *e, const struct openfile *f)
{
	const char *unread = openfile_get(f, "unread");
	char what[32];
	uint64_t n;

	if (unread == NULL || !res_tty_number(f, &n) ||
	    !res_ptmx_in_tree(w->p, n))
		return 0;
	snprintf(what, sizeof(what), "input of fd %d", e->fd);
	return process_unsupported(w->p, what,
	    "%s bytes that were typed into a pseudo-terminal and not yet read "
	    "cannot be seen",
	    unread);
}

static int
collect_file(struct walk *w, struct entry *e)
{
	struct openfile *f;
	int fuse;

	f = process_grow(&w->p->files, &w->p->nfiles, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	e->file = (uint32_t)w->p->nfiles - 1;
	f->id = (uint32_t)e->fd;
	f->flags = e->flags;
	if (!proc_field_u64(e->fdinfo, "pos", 10, &f->pos))
		f->pos = 0;
	f->target = strdup(e->target);
	fuse = on_fuse(w, e);
	if (f->target == NULL || fuse < 0)
		return f->target == NULL ? -ENOMEM : w->cx->error;
	return collect_kind(w, e, fuse);
}

/*
 * The first process of the tree that can tell what it is tells for all: an
 * epoll, for one, is known where the descriptors that it watches are open.
 */
static void
choose_top(struct entry *e)
{
	struct entry *best = e->top->top;

	if (best != e && demoted(file_of(best)) && !demoted(file_of(e)))
		e->top->top = e;
}

static int
collect_files(struct walk *w)
{
	int err = 0;

	fds_begin(w);
	for (size_t i = 0; err == 0 && i < w->n; i++) {
		struct entry *e = &w->v[i];

		err = fds_in_time(w);
		if (err == 0 && e->same == e) {
			err = collect_file(w, e);
			if (err == 0)
				choose_top(e);
		} else if (err == 0) {
			e->file = e->same->file;
		}
	}
	return err;
}

/* ---- what processes have in common ---- */

static bool
is_posix_lock(const struct kv *kv)
{
	return strcmp(kv->key, "lock") == 0 &&
	       strncmp(kv->value, "posix ", strlen("posix ")) == 0;
}

/* Everything but the locks that belong to a process. */
static int
copy_lines(struct openfile *to, const struct openfile *from)
{
	struct openfile own = *to;
	int err = 0;

	to->kv = NULL;
	to->nkv = 0;
	strcpy(to->kind, from->kind);
	for (size_t i = 0; err == 0 && i < from->nkv; i++)
		if (!is_posix_lock(&from->kv[i]) &&
		    strcmp(from->kv[i].key, "in-flight") != 0)
			err = openfile_put(
			    to, from->kv[i].key, "%s", from->kv[i].value);
	for (size_t i = 0; err == 0 && i < own.nkv; i++)
		if (is_posix_lock(&own.kv[i]))
			err = openfile_put(to, "lock", "%s", own.kv[i].value);
	openfile_forget(&own);
	return err;
}

/* The bytes of a pipe, which only one has to keep, are the others' too. */
static void
refer_content(struct process *p, const struct entry *top)
{
	const char *id = openfile_get(file_of(top), "content");

	if (id != NULL && process_content(p, (uint32_t)atoi(id)) == NULL)
		(void)shared_find(p, &top->st);
}

static int
name_top(const struct entry *e, const struct entry *top)
{
	return openfile_put(
	    file_of(e), "same", "%d/%d", (int)top->w->pid, top->fd);
}

/* Only the other can tell what it is, or has kept what is in it. */
static bool
knows_more(const struct entry *top, const struct entry *e)
{
	return demoted(file_of(e)) ||
	       (openfile_get(file_of(top), "content") != NULL &&
		   openfile_get(file_of(e), "content") == NULL);
}

/* An open file that several have says so, and is the same everywhere. */
static int
share(struct entry *e)
{
	struct entry *top = e->top->top;
	int err = 0;

	if (e->same != e || top == e || demoted(file_of(top)))
		return 0;
	if (openfile_get(file_of(top), "same") == NULL)
		err = name_top(top, top);
	if (err == 0 && knows_more(top, e)) {
		err = copy_lines(file_of(e), file_of(top));
		refer_content(e->w->p, top);
	} else if (err == 0) {
		err = name_top(e, top);
	}
	return err;
}

/* Said once, by the first that has the listening socket. */
static int
list_waiting(struct walk *w, const struct entry *e, const struct openfile *f)
{
	unsigned n = unix_sock_waiting(w->p, f);
	char what[40];

	if (n == 0 || f->id != (uint32_t)e->fd ||
	    openfile_get(f, "same") != NULL)
		return 0;
	snprintf(what, sizeof(what), "connections to fd %d", e->fd);
	return process_unsupported(w->p, what,
	    "%u of them, of other processes, wait to be accepted; they will "
	    "be reset",
	    n);
}

static int
list_unsupported(struct walk *w, const struct entry *e)
{
	const struct openfile *f = &w->p->files[e->file];
	char what[24], outside[UNIX_WHY_MAX] = "";
	const char *why = outside;

	if (strcmp(f->kind, "unix") == 0)
		unix_sock_outside(w->p, f, outside);
	else if (strcmp(f->kind, "ptmx") == 0)
		why = res_ptmx_outside(w->p, f) ? PTMX_OUTSIDE : "";
	else if (strcmp(f->kind, "unsupported") == 0)
		why = openfile_get(f, "why");
	if (strcmp(f->kind, "tty") == 0)
		return list_input(w, e, f);
	if (why[0] == '\0')
		return strcmp(f->kind, "unix") == 0 ? list_waiting(w, e, f) : 0;
	snprintf(what, sizeof(what), "fd %d", e->fd);
	return process_unsupported(
	    w->p, what, "%s; to restore without it: ignore=fd %d", why, e->fd);
}

static int
list_fds(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct entry *e = &w->v[i];
		struct fdent *d;

		/* One on its way that the process has, too. */
		if (e->place == &w->own && e->same != e)
			continue;
		d = process_grow(&w->p->fds, &w->p->nfds, sizeof(*d));
		if (d == NULL)
			return -ENOMEM;
		d->fd = e->fd;
		d->cloexec = e->cloexec;
		d->file = e->file;
	}
	return 0;
}

static int
list_all_unsupported(struct walk *w)
{
	int err = 0;

	for (size_t i = 0; i < w->n && err == 0; i++)
		if (w->v[i].place != &w->own || w->v[i].same == &w->v[i])
			err = list_unsupported(w, &w->v[i]);
	return err;
}

static int
collect_all(struct walks *ws)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = collect_files(&ws->v[i]);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		for (size_t k = 0; err == 0 && k < ws->v[i].n; k++)
			err = share(&ws->v[i].v[k]);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = list_fds(&ws->v[i]);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = unix_index_make(ws->v[i].p);
	/* Whose other end is in another process is known when all are. */
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = list_all_unsupported(&ws->v[i]);
	return err;
}

static int
run(struct walks *ws, struct process *const *p)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < ws->n; i++) {
		ws->v[i] = (struct walk){
			.cx = ws->cx,
			.pid = p[i]->pid,
			.p = p[i],
			.place = { 0, -1, -1, -1 },
			.own = { 0, -1, -1, -1 },
			.root = -1,
			.diag = { .fd = -1 },
		};
	}
	for (size_t i = 0; err == 0 && i < ws->n; i++) {
		err = fds_walk_init(&ws->v[i]);
		if (err == 0)
			err = fds_list(&ws->v[i]);
		if (err == 0)
			err = fds_peek(&ws->v[i]);
	}
	if (err == 0)
		err = fds_group(ws);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		fds_name_rights(&ws->v[i]);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = fds_peek_connections(&ws->v[i]);
	return err == 0 ? collect_all(ws) : err;
}

int
fds_collect(struct snap_ctx *cx, struct process *const *p, size_t n)
{
	struct walks ws = { .cx = cx, .n = n };
	int err = -ENOMEM;

	ws.v = calloc(n, sizeof(*ws.v));
	if (ws.v != NULL) {
		err = run(&ws, p);
		for (size_t i = 0; i < n; i++)
			fds_walk_fini(&ws.v[i]);
	}
	free(ws.order);
	free(ws.v);
	if (err == -ENOMEM)
		return snap_fail(cx, err, "descriptors of %d: out of memory",
		    (int)p[0]->pid);
	return err;
}
