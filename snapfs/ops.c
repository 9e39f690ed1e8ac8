#include "ops.h"

#include "handle.h"
#include "housekeeper.h"
#include "job.h"
#include "restore.h"
#include "status.h"
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What never changes may stay in the kernel's caches. */
#define FOREVER 86400.0
/*
 * A process's directories are the same inodes for all readers, and what they
 * say is asked for anew each time; a name of a process that is gone leads to
 * ESTALE, upon which the kernel looks it up again.
 */
#define DIR_TIMEOUT 1.0

/* How long a listing waits for files to be closed that may be closed. */
#define RELEASE_MS 20

static struct snapfs *
snapfs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static int
caller_of(fuse_req_t req, struct caller *who)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return access_caller(
	    &snapfs_of(req)->access, ctx->pid, ctx->uid, ctx->gid, who);
}

/* ---- processes ---- */

/* Is it there, and may be checkpointed at all?  0, ENOENT, ESTALE. */
static int
process_visible(struct snapfs *fs, pid_t pid, struct proc_id *id)
{
	struct procinfo_stat st;
	int err = procinfo_stat(fs->proc, pid, &st);

	if (err < 0)
		return err == -ESRCH ? -ENOENT : err;
	/* A thread has a /proc directory too, though it is not listed. */
	if (st.kernel || st.state == 'Z' || st.state == 'X' ||
	    snapfs_own(fs, &st))
		return -ENOENT;
	id->pid = pid;
	id->start = st.start;
	return 0;
}

/* Has the caller a checkpoint of it?  That holds though the process is gone. */
static bool
has_checkpoint(
    struct snapfs *fs, const struct caller *who, struct proc_id target)
{
	struct view *v;
	bool has;

	pthread_mutex_lock(&fs->lock);
	v = view_find(&fs->views, who->id, target);
	has = v != NULL && v->state == VIEW_TAKEN &&
	      view_creds_cover(&who->creds, &v->creds);
	if (has)
		view_touch(&fs->views, v, snapfs_now());
	pthread_mutex_unlock(&fs->lock);
	return has;
}

/*
 * May the caller read this process?  0, EACCES or EPERM, or ESTALE if it is
 * not there any more.
 */
static int
process_check(
    struct snapfs *fs, const struct caller *who, struct proc_id target)
{
	struct proc_id now;
	int err;

	if (has_checkpoint(fs, who, target))
		return 0;
	err = process_visible(fs, target.pid, &now);
	if (err == -ENOENT || (err == 0 && !proc_id_equal(now, target)))
		return -ESTALE;
	if (err < 0)
		return err;
	err = access_check(&fs->access, &who->creds, target.pid);
	return err == -ESRCH ? -ESTALE : err;
}

/* ---- attributes ---- */

static void
owner_of(struct snapfs *fs, pid_t pid, uid_t *uid, gid_t *gid)
{
	char path[16];
	struct stat st;

	snprintf(path, sizeof(path), "%d", pid);
	if (fstatat(fs->proc, path, &st, 0) < 0)
		return;
	*uid = st.st_uid;
	*gid = st.st_gid;
}

/*
 * A directory of a process: to a reader with a checkpoint it is of that
 * instant, else of now.  The ctime stays: tar would say "changed as we read
 * it".
 */
static void
stat_proc_dir(struct snapfs *fs, const struct caller *who,
    const struct node *node, struct stat *st)
{
	struct timespec when;
	struct view *v;
	uid_t uid = 0;
	gid_t gid = 0;
	bool taken;

	clock_gettime(CLOCK_REALTIME, &when);
	pthread_mutex_lock(&fs->lock);
	v = view_find(&fs->views, who->id, node->proc);
	taken = v != NULL && v->state == VIEW_TAKEN;
	if (taken) {
		when = v->info.time;
		uid = snap_checkpoint_node(v->cp, 0)->uid;
		gid = snap_checkpoint_node(v->cp, 0)->gid;
	}
	pthread_mutex_unlock(&fs->lock);
	if (!taken)
		owner_of(fs, node->proc.pid, &uid, &gid);
	tree_stat_dir(st, node_ino(node), uid, gid, when, fs->since);
}

static void
reply_proc_dir(
    fuse_req_t req, const struct caller *who, const struct node *node)
{
	struct fuse_entry_param e = {
		.ino = node_ino(node),
		.entry_timeout = DIR_TIMEOUT,
	};

	stat_proc_dir(snapfs_of(req), who, node, &e.attr);
	fuse_reply_entry(req, &e);
}

static int
stat_file(struct snapfs *fs, const struct node *node, struct stat *st)
{
	struct view *v;
	uint32_t n;
	int err = -ESTALE;

	pthread_mutex_lock(&fs->lock);
	v = view_find_gen(&fs->views, node->gen);
	if (v != NULL && v->state == VIEW_TAKEN &&
	    tree_number(v->cp, node, &n)) {
		tree_stat_file(st, node_ino(node),
		    snap_checkpoint_node(v->cp, n), v->info.time);
		view_touch(&fs->views, v, snapfs_now());
		err = 0;
	}
	pthread_mutex_unlock(&fs->lock);
	return err;
}

static void
snapfs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct node node = node_of(ino);
	struct caller who;
	struct stat st;
	double timeout = FOREVER;
	int err = 0;

	(void)fi;
	switch (node.kind) {
	case NODE_ROOT:
		tree_stat_root(&st, fs->since);
		break;
	case NODE_RESTORE:
	case NODE_STATUS:
	case NODE_LOG:
		tree_stat_control(&st, tree_control_kind(node.kind), fs->since);
		/* The kernel counts what is written as its size. */
		timeout = 0;
		break;
	case NODE_PROC:
		timeout = 0;
		err = caller_of(req, &who);
		if (err == 0)
			err = process_check(fs, &who, node.proc);
		if (err == 0)
			stat_proc_dir(fs, &who, &node, &st);
		break;
	case NODE_FILE:
		err = stat_file(fs, &node, &st);
		break;
	case NODE_INVALID:
		err = -ESTALE;
	}
	if (err < 0)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &st, timeout);
}

/* Truncation of .restore means nothing, and `>` does it. */
static void
snapfs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
    struct fuse_file_info *fi)
{
	const int harmless = FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME |
			     FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME_NOW |
			     FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_CTIME;

	(void)attr;
	if (node_of(ino).kind != NODE_RESTORE || (to_set & ~harmless) != 0)
		fuse_reply_err(req, EPERM);
	else
		snapfs_getattr(req, ino, fi);
}

/* ---- look-up ---- */

static void
lookup_control(fuse_req_t req, const struct tree_control *c)
{
	struct fuse_entry_param e = { .entry_timeout = FOREVER };

	tree_stat_control(&e.attr, c, snapfs_of(req)->since);
	e.ino = e.attr.st_ino;
	fuse_reply_entry(req, &e);
}

static void
lookup_process(fuse_req_t req, pid_t pid)
{
	struct snapfs *fs = snapfs_of(req);
	struct node node = { .kind = NODE_PROC };
	struct caller who;
	struct view *v;
	bool found = false;
	int err = caller_of(req, &who);

	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	/* A checkpoint of it outlives the process, even its pid. */
	pthread_mutex_lock(&fs->lock);
	v = view_find_pid(&fs->views, who.id, pid);
	if (v != NULL) {
		node.proc = v->target;
		found = true;
	}
	pthread_mutex_unlock(&fs->lock);
	if (!found)
		err = process_visible(fs, pid, &node.proc);
	if (err == 0)
		err = process_check(fs, &who, node.proc);
	if (err < 0)
		fuse_reply_err(req, err == -ESTALE ? ENOENT : -err);
	else
		reply_proc_dir(req, &who, &node);
}

/* The reply to a look-up of node `n` of a view that is in use. */
static void
reply_file(fuse_req_t req, struct view *v, uint32_t n)
{
	struct snapfs *fs = snapfs_of(req);
	struct fuse_entry_param e = { .attr_timeout = FOREVER };
	struct node node = tree_node(v->cp, n, v->target, v->gen);

	e.ino = node_ino(&node);
	tree_stat_file(
	    &e.attr, e.ino, snap_checkpoint_node(v->cp, n), v->info.time);
	pthread_mutex_lock(&fs->lock);
	job_looked_up(v, n);
	pthread_mutex_unlock(&fs->lock);
	fuse_reply_entry(req, &e);
}

static void
answer_lookup(const struct want *w, struct view *v, int err)
{
	uint32_t dir, n = 0;

	if (err < 0) {
		fuse_reply_err(w->req, -err);
		return;
	}
	if (tree_number(v->cp, &w->node, &dir))
		n = snap_checkpoint_lookup(v->cp, dir, w->name);
	if (n == 0)
		fuse_reply_err(w->req, ENOENT);
	else
		reply_file(w->req, v, n);
}

/*
 * The caller's own checkpoint of `target`, if it has one and its rights are
 * still those with which it was taken; then it is in use.  Rights that changed
 * end it, unless something is open in it.
 */
static int
own_checkpoint(struct snapfs *fs, const struct caller *who,
    struct proc_id target, struct view **out)
{
	struct view *v;
	int err = 0;

	*out = NULL;
	pthread_mutex_lock(&fs->lock);
	v = view_find(&fs->views, who->id, target);
	if (v != NULL && v->state == VIEW_TAKEN) {
		if (view_creds_cover(&who->creds, &v->creds)) {
			view_use(v);
			view_touch(&fs->views, v, snapfs_now());
			*out = v;
		} else if (v->nopen > 0 || v->nuse > 0) {
			err = -EACCES;
		} else {
			view_end(&fs->views, v);
		}
	}
	pthread_mutex_unlock(&fs->lock);
	return err;
}

static void
want_checkpoint(fuse_req_t req, const struct caller *who, struct proc_id target,
    struct want *w)
{
	struct snapfs *fs = snapfs_of(req);
	struct view *v;
	int err;

	w->fs = fs;
	w->req = req;
	err = own_checkpoint(fs, who, target, &v);
	if (v != NULL) {
		w->answer(w, v, 0);
		pthread_mutex_lock(&fs->lock);
		view_unuse(&fs->views, v);
		pthread_mutex_unlock(&fs->lock);
		return;
	}
	if (err == 0)
		err = process_check(fs, who, target);
	if (err == 0 && proc_id_equal(who->id, target))
		err = -EDEADLK;
	if (err < 0)
		w->answer(w, NULL, err);
	else
		job_want(fs, who, target, w);
}

/* In a directory of a process, the top or one directly below. */
static void
lookup_in_proc(fuse_req_t req, const struct node *dir, const char *name)
{
	struct want w = { .answer = answer_lookup, .node = *dir };
	struct caller who;
	struct node node;
	int top, err = caller_of(req, &who);

	if (err == 0 && strlen(name) >= sizeof(w.name))
		err = -ENAMETOOLONG;
	if (err == 0 && dir->sub == 0) {
		top = tree_top_index(name);
		if (top < 0) {
			err = -ENOENT;
		} else if (tree_top((unsigned)top)->type == SNAP_DIR) {
			err = process_check(snapfs_of(req), &who, dir->proc);
			if (err == 0) {
				node =
				    tree_top_node((unsigned)top, dir->proc, 0);
				reply_proc_dir(req, &who, &node);
				return;
			}
		}
	}
	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	strcpy(w.name, name);
	want_checkpoint(req, &who, dir->proc, &w);
}

/* The view of a generation's node, in use; ESTALE if it has ended. */
static int
view_of_file(struct snapfs *fs, const struct node *node,
    const struct view_creds *creds, struct view **out, uint32_t *n)
{
	struct view *v;
	int err = -ESTALE;

	pthread_mutex_lock(&fs->lock);
	v = view_find_gen(&fs->views, node->gen);
	if (v != NULL && v->state == VIEW_TAKEN && tree_number(v->cp, node, n))
		err = view_creds_cover(creds, &v->creds) ? 0 : -EACCES;
	if (err == 0) {
		view_use(v);
		view_touch(&fs->views, v, snapfs_now());
		*out = v;
	}
	pthread_mutex_unlock(&fs->lock);
	return err;
}

static void
view_done(struct snapfs *fs, struct view *v)
{
	pthread_mutex_lock(&fs->lock);
	view_unuse(&fs->views, v);
	pthread_mutex_unlock(&fs->lock);
}

/* In a directory deeper down, which belongs to one checkpoint. */
static void
lookup_in_file(fuse_req_t req, const struct node *dir, const char *name)
{
	struct snapfs *fs = snapfs_of(req);
	struct caller who;
	struct view *v;
	uint32_t d, n;
	int err = caller_of(req, &who);

	if (err == 0)
		err = view_of_file(fs, dir, &who.creds, &v, &d);
	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	n = snap_checkpoint_lookup(v->cp, d, name);
	if (n == 0)
		fuse_reply_err(req, ENOENT);
	else
		reply_file(req, v, n);
	view_done(fs, v);
}

static void
snapfs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct node dir = node_of(parent);
	const struct tree_control *c;
	pid_t pid;

	switch (dir.kind) {
	case NODE_ROOT:
		c = tree_control_named(name);
		if (c != NULL)
			lookup_control(req, c);
		else if (tree_pid(name, &pid))
			lookup_process(req, pid);
		else
			fuse_reply_err(req, ENOENT);
		break;
	case NODE_PROC:
		lookup_in_proc(req, &dir, name);
		break;
	case NODE_FILE:
		lookup_in_file(req, &dir, name);
		break;
	default:
		fuse_reply_err(req, ENOTDIR);
	}
}

/* Numbers say all there is to know of a node: nothing is kept for it. */
static void
snapfs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	(void)ino;
	(void)nlookup;
	fuse_reply_none(req);
}

static void
snapfs_forget_multi(
    fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

/* ---- directories ---- */

static int
add_process(struct handle *h, size_t *room, struct proc_id id)
{
	struct proc_id *grown;

	if (h->nprocs == *room) {
		*room = *room != 0 ? *room * 2 : 256;
		grown = reallocarray(h->procs, *room, sizeof(*grown));
		if (grown == NULL)
			return -ENOMEM;
		h->procs = grown;
	}
	h->procs[h->nprocs++] = id;
	return 0;
}

/* The rights are taken on once for the whole list. */
static int
list_processes(struct snapfs *fs, const struct caller *who, struct handle *h)
{
	struct proc_id id;
	struct dirent *de;
	size_t room = 0;
	pid_t pid;
	DIR *dir;
	int fd, err;

	fd = openat(fs->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return -ENOMEM;
	}
	err = access_begin(&fs->access, &who->creds);
	while (err == 0 && (de = readdir(dir)) != NULL)
		if (tree_pid(de->d_name, &pid) &&
		    access_ask(&fs->access, pid) == 0 &&
		    process_visible(fs, pid, &id) == 0)
			err = add_process(h, &room, id);
	access_end(&fs->access, &who->creds);
	closedir(dir);
	/* Whom the daemon cannot stand for sees no process. */
	return err == -EPERM ? 0 : err;
}

static void
opendir_root(fuse_req_t req, struct fuse_file_info *fi)
{
	struct node root = { .kind = NODE_ROOT };
	struct handle *h = handle_new(&root);
	struct caller who;
	int err = h == NULL ? -ENOMEM : 0;

	/* From another pid namespace only the control files are seen. */
	if (err == 0 && caller_of(req, &who) == 0)
		err = list_processes(snapfs_of(req), &who, h);
	if (err < 0) {
		handle_free(h);
		fuse_reply_err(req, -err);
		return;
	}
	fi->fh = handle_fh(h);
	if (fuse_reply_open(req, fi) < 0)
		handle_free(h);
}

/* With the lock. */
static void
set_closing(struct handle *h, bool closing)
{
	if (h->closing == closing)
		return;
	h->closing = closing;
	if (closing)
		view_closing(h->view);
	else
		view_not_closing(h->view);
}

static void
close_handle(struct snapfs *fs, struct handle *h)
{
	if (h->view != NULL) {
		pthread_mutex_lock(&fs->lock);
		if (h->view->nopen <= 2)
			pthread_cond_broadcast(&fs->closed);
		set_closing(h, false);
		view_close(&fs->views, h->view, snapfs_now());
		pthread_mutex_unlock(&fs->lock);
	}
	handle_free(h);
}

/* Open node `n` of a view that has its checkpoint and is in use. */
static void
reply_open(fuse_req_t req, const struct node *node, struct view *v, uint32_t n,
    const struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct fuse_file_info out = *fi;
	struct handle *h = handle_new(node);

	if (h == NULL) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	h->view = v;
	h->n = n;
	h->in_checkpoint = true;
	pthread_mutex_lock(&fs->lock);
	view_open(&fs->views, v, snapfs_now());
	pthread_mutex_unlock(&fs->lock);
	out.fh = handle_fh(h);
	/* A generation never changes: what is cached of it stays true. */
	out.keep_cache = 1;
	/* ENOENT: the open was interrupted, there will be no release. */
	if (fuse_reply_open(req, &out) < 0)
		close_handle(fs, h);
}

static void
answer_opendir(const struct want *w, struct view *v, int err)
{
	uint32_t n;

	if (err == 0 && !tree_number(v->cp, &w->node, &n))
		err = -ENOENT;
	if (err < 0)
		fuse_reply_err(w->req, -err);
	else
		reply_open(w->req, &w->node, v, n, &w->fi);
}

/* The top is listed without a checkpoint. */
static void
opendir_top(fuse_req_t req, const struct caller *who, const struct node *node,
    struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct handle *h;
	struct view *v;
	int err = process_check(fs, who, node->proc);

	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	h = handle_new(node);
	if (h == NULL) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&fs->lock);
	v = view_get(&fs->views, who->id, node->proc, snapfs_now());
	if (v != NULL) {
		housekeeper_watch(fs->housekeeper, v->reader);
		view_open(&fs->views, v, snapfs_now());
	}
	pthread_mutex_unlock(&fs->lock);
	if (v == NULL) {
		handle_free(h);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	h->view = v;
	fi->fh = handle_fh(h);
	if (fuse_reply_open(req, fi) < 0)
		close_handle(fs, h);
}

static void
open_file(fuse_req_t req, const struct node *node, struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct caller who;
	struct view *v;
	uint32_t n;
	int err = 0;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))
		err = -EACCES;
	if (err == 0)
		err = caller_of(req, &who);
	if (err == 0)
		err = view_of_file(fs, node, &who.creds, &v, &n);
	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	reply_open(req, node, v, n, fi);
	view_done(fs, v);
}

static void
snapfs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node node = node_of(ino);
	struct want w = { .answer = answer_opendir, .node = node };
	struct caller who;
	int err;

	if (node.kind == NODE_ROOT) {
		opendir_root(req, fi);
		return;
	}
	if (node.kind == NODE_FILE) {
		open_file(req, &node, fi);
		return;
	}
	err = node.kind != NODE_PROC ? -ENOTDIR : caller_of(req, &who);
	if (err < 0) {
		fuse_reply_err(req, -err);
	} else if (node.sub == 0) {
		opendir_top(req, &who, &node, fi);
	} else {
		w.fi = *fi;
		want_checkpoint(req, &who, node.proc, &w);
	}
}

/* One piece of a listing as readdir(2) wants it. */
struct listing {
	fuse_req_t req;
	char *buf;
	size_t size, used;
};

static bool
list(struct listing *l, const char *name, uint64_t ino, mode_t type, off_t next)
{
	struct stat st = { .st_ino = ino, .st_mode = type };
	size_t len = fuse_add_direntry(
	    l->req, l->buf + l->used, l->size - l->used, name, &st, next);

	if (len > l->size - l->used)
		return false;
	l->used += len;
	return true;
}

/* Offsets: 1 after ".", 2 after "..", then entries from 0 at offset 2. */
#define FIRST 2

static bool
list_dots(struct listing *l, off_t off, uint64_t ino)
{
	if (off < 1 && !list(l, ".", ino, S_IFDIR, 1))
		return false;
	return off >= FIRST || list(l, "..", 1, S_IFDIR, FIRST);
}

static void
list_root(struct listing *l, const struct handle *h, off_t off)
{
	const struct tree_control *c;
	struct node node = { .kind = NODE_PROC };
	char name[16];
	off_t at = FIRST;
	size_t i;

	for (c = tree_controls; c->name != NULL; c++, at++)
		if (at >= off &&
		    !list(l, c->name, (uint64_t)(c->kind - NODE_ROOT + 1),
			S_IFREG, at + 1))
			return;
	for (i = off > at ? (size_t)(off - at) : 0; i < h->nprocs; i++) {
		node.proc = h->procs[i];
		snprintf(name, sizeof(name), "%d", node.proc.pid);
		if (!list(l, name, node_ino(&node), S_IFDIR, at + (off_t)i + 1))
			return;
	}
}

static mode_t
type_mode(enum snap_node_type type)
{
	return type == SNAP_DIR	   ? S_IFDIR
	       : type == SNAP_LINK ? S_IFLNK
				   : S_IFREG;
}

static void
list_top(struct listing *l, const struct handle *h, off_t off)
{
	const struct snap_name *top;
	struct node node;
	unsigned i = off > FIRST ? (unsigned)(off - FIRST) : 0;

	for (; (top = tree_top(i)) != NULL; i++) {
		node = tree_top_node(i, h->node.proc, h->view->gen);
		if (!list(l, top->name, node_ino(&node), type_mode(top->type),
			FIRST + (off_t)i + 1))
			return;
	}
}

/* The offset after an entry is FIRST + its number in the checkpoint. */
static void
list_file(struct listing *l, const struct handle *h, off_t off)
{
	const struct snap_checkpoint *cp = h->view->cp;
	const struct snap_node *sn;
	struct node node;
	uint32_t n;

	if (off > FIRST) {
		n = (uint32_t)(off - FIRST);
		if (n >= snap_checkpoint_nodes(cp))
			return;
		n = snap_checkpoint_node(cp, n)->next;
	} else {
		n = snap_checkpoint_node(cp, h->n)->first_child;
	}
	for (; n != 0; n = sn->next) {
		sn = snap_checkpoint_node(cp, n);
		node = tree_node(cp, n, h->view->target, h->view->gen);
		if (!list(l, sn->name, node_ino(&node), type_mode(sn->type),
			FIRST + (off_t)n))
			return;
	}
}

/*
 * A reader that closes its last directory and then lists the top has nothing
 * open, but we may not know yet: closedir(3) does not wait for our release, and
 * another thread may be at it.  It was sent before the listing was, so it is
 * here in no time, unless something is really open.  (Files tell of close(2).)
 */
static void
wait_for_releases(struct snapfs *fs, const struct view *v)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += RELEASE_MS * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	while (v->state == VIEW_TAKEN && v->nopen - v->nclosing > 1)
		if (pthread_cond_timedwait(&fs->closed, &fs->lock, &end) != 0)
			break;
}

/*
 * The listing begins: whoever has done with a checkpoint gets a fresh one.  If
 * the process is gone, there will be no other.
 */
static int
begin_listing(struct snapfs *fs, struct handle *h)
{
	struct proc_id now;
	bool there = process_visible(fs, h->node.proc.pid, &now) == 0 &&
		     proc_id_equal(now, h->node.proc);

	pthread_mutex_lock(&fs->lock);
	if (there) {
		wait_for_releases(fs, h->view);
		h->view = view_list_top(&fs->views, h->view, snapfs_now());
	}
	if (h->view != NULL && h->view->reader != NULL)
		housekeeper_watch(fs->housekeeper, h->view->reader);
	pthread_mutex_unlock(&fs->lock);
	return h->view == NULL ? -ENOMEM : 0;
}

static void
snapfs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct listing l = { .req = req, .size = size };
	bool top = h->node.kind == NODE_PROC && !h->in_checkpoint;

	if (top && (h->view == NULL ||
		       (off == 0 && begin_listing(snapfs_of(req), h) < 0))) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	l.buf = malloc(size);
	if (l.buf == NULL) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (list_dots(&l, off, ino)) {
		if (h->node.kind == NODE_ROOT)
			list_root(&l, h, off);
		else if (h->in_checkpoint)
			list_file(&l, h, off);
		else
			list_top(&l, h, off);
	}
	fuse_reply_buf(req, l.buf, l.used);
	free(l.buf);
}

static void
snapfs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	close_handle(snapfs_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

/* ---- files ---- */

static void
open_control(fuse_req_t req, const struct node *node, struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct handle *h;
	struct caller who;
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	int err;

	if (writes && node->kind != NODE_RESTORE) {
		fuse_reply_err(req, EACCES);
		return;
	}
	err = caller_of(req, &who);
	h = err < 0 ? NULL : handle_new(node);
	if (err == 0 && h == NULL)
		err = -ENOMEM;
	if (err == 0) {
		h->creds = who.creds;
		err = status_text(fs, node->kind, &who.creds, h);
	}
	if (err < 0) {
		handle_free(h);
		fuse_reply_err(req, -err);
		return;
	}
	fi->fh = handle_fh(h);
	fi->direct_io = 1;
	if (fuse_reply_open(req, fi) < 0)
		handle_free(h);
}

static void
snapfs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node node = node_of(ino);

	switch (node.kind) {
	case NODE_RESTORE:
	case NODE_STATUS:
	case NODE_LOG:
		open_control(req, &node, fi);
		break;
	case NODE_FILE:
		open_file(req, &node, fi);
		break;
	default:
		fuse_reply_err(req, ESTALE);
	}
}

static void
read_control(fuse_req_t req, struct handle *h, size_t size, off_t off)
{
	struct snapfs *fs = snapfs_of(req);

	pthread_mutex_lock(&fs->lock);
	/*
	 * After a write the offset stands behind what was written, and a read
	 * goes on there; whoever seeks back counts from 0.
	 */
	if (off < h->base)
		h->base = 0;
	off -= h->base;
	if (off >= (off_t)h->len)
		size = 0;
	else if (size > h->len - (size_t)off)
		size = h->len - (size_t)off;
	fuse_reply_buf(req, size != 0 ? h->text + off : NULL, size);
	pthread_mutex_unlock(&fs->lock);
}

/* Read whole, if it can be had: a short reply means the end of the file. */
static ssize_t
read_all(struct snap_checkpoint *cp, uint32_t n, char *buf, size_t size,
    uint64_t off)
{
	size_t done = 0;
	ssize_t len;

	while (done < size) {
		len = snap_checkpoint_read(
		    cp, n, buf + done, size - done, off + done);
		if (len < 0)
			return len;
		if (len == 0)
			break;
		done += (size_t)len;
	}
	return (ssize_t)done;
}

/* With the reply the handle may be released: then only the view is ours. */
static void
read_file(fuse_req_t req, struct handle *h, size_t size, off_t off)
{
	struct snapfs *fs = snapfs_of(req);
	struct view *v = h->view;
	const uint32_t n = h->n;
	ssize_t len = -ENOMEM;
	bool there;
	char *buf;

	/* It is open and so it lasts, but for an unmount. */
	pthread_mutex_lock(&fs->lock);
	there = v->cp != NULL && !fs->closing;
	set_closing(h, false);
	if (there)
		view_use(v);
	pthread_mutex_unlock(&fs->lock);
	if (!there) {
		fuse_reply_err(req, EIO);
		return;
	}
	buf = buffer_get(&fs->buffers, size);
	if (buf != NULL)
		len = read_all(v->cp, n, buf, size, (uint64_t)off);
	if (len < 0)
		fuse_reply_err(req, (int)-len);
	else
		fuse_reply_buf(req, buf, (size_t)len);
	if (len > 0)
		snap_checkpoint_served(
		    v->cp, n, buf, (size_t)len, (uint64_t)off);
	buffer_put(&fs->buffers, buf, size);
	view_done(fs, v);
}

static void
snapfs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);

	(void)ino;
	if (h->node.kind == NODE_FILE)
		read_file(req, h, size, off);
	else
		read_control(req, h, size, off);
}

static void
snapfs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
    off_t off, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct caller who;
	int err;

	(void)ino;
	if (h->node.kind != NODE_RESTORE) {
		fuse_reply_err(req, EBADF);
		return;
	}
	err = caller_of(req, &who);
	if (err < 0)
		fuse_reply_err(req, -err);
	else
		restore_request(snapfs_of(req), req, h, &who, buf, size, off);
}

/* Each close(2) of a descriptor, while its caller waits. */
static void
snapfs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct handle *h = handle_of(fi);
	struct caller who;

	(void)ino;
	if (h->view != NULL) {
		pthread_mutex_lock(&fs->lock);
		set_closing(h, true);
		pthread_cond_broadcast(&fs->closed);
		pthread_mutex_unlock(&fs->lock);
	}
	if (h->node.kind != NODE_RESTORE || caller_of(req, &who) < 0)
		fuse_reply_err(req, 0);
	else
		restore_flush(fs, req, h, &who);
}

static void
snapfs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct snapfs *fs = snapfs_of(req);
	struct node node = node_of(ino);
	struct caller who;
	struct view *v;
	char target[PATH_MAX];
	ssize_t len;
	uint32_t n;
	int err = node.kind != NODE_FILE ? -EINVAL : caller_of(req, &who);

	if (err == 0)
		err = view_of_file(fs, &node, &who.creds, &v, &n);
	if (err < 0) {
		fuse_reply_err(req, -err);
		return;
	}
	len = snap_checkpoint_read(v->cp, n, target, sizeof(target) - 1, 0);
	if (len < 0) {
		fuse_reply_err(req, (int)-len);
	} else {
		target[len] = '\0';
		fuse_reply_readlink(req, target);
	}
	view_done(fs, v);
}

/* ---- the rest ---- */

/* access(2) and chdir(2); reading is checked where it is done. */
static void
snapfs_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct snapfs *fs = snapfs_of(req);
	struct node node = node_of(ino);
	struct caller who;
	struct view *v;
	uint32_t n;
	int err = 0;

	if (node.kind == NODE_INVALID)
		err = -ESTALE;
	else if ((mask & W_OK) && node.kind != NODE_RESTORE)
		err = -EACCES;
	else if (node.kind == NODE_PROC || node.kind == NODE_FILE)
		err = caller_of(req, &who);
	if (err == 0 && node.kind == NODE_PROC)
		err = process_check(fs, &who, node.proc);
	if (err == 0 && node.kind == NODE_FILE) {
		err = view_of_file(fs, &node, &who.creds, &v, &n);
		if (err == 0)
			view_done(fs, v);
	}
	fuse_reply_err(req, -err);
}

static void
snapfs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = {
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_namemax = NAME_MAX,
	};

	(void)ino;
	fuse_reply_statfs(req, &st);
}

static void
snapfs_init(void *arg, struct fuse_conn_info *conn)
{
	const struct snapfs *fs = arg;

	conn->want |=
	    conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS);
	/*
	 * Plain directory reads: readdirplus would look up every name, and
	 * that takes a checkpoint.  No splicing: the bytes come by read(2) from
	 * another process's memory, there is no page to give away.
	 */
	conn->want &=
	    ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
			FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
			FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA);
	conn->max_readahead = BUFFER_SIZE;
	/* The mount option alone is not enough: libfuse wants both. */
	conn->max_read = fs->opts.max_read;
}

/* Nothing can be made here; said so, rather than "not implemented". */

static void
snapfs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
    dev_t rdev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)rdev;
	fuse_reply_err(req, EPERM);
}

static void
snapfs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	snapfs_mknod(req, parent, name, mode, 0);
}

static void
snapfs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	snapfs_mknod(req, parent, name, 0, 0);
}

static void
snapfs_symlink(
    fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target;
	snapfs_mknod(req, parent, name, 0, 0);
}

static void
snapfs_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
    fuse_ino_t newparent, const char *newname, unsigned flags)
{
	(void)newparent;
	(void)newname;
	(void)flags;
	snapfs_mknod(req, parent, name, 0, 0);
}

static void
snapfs_link(
    fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	(void)ino;
	snapfs_mknod(req, newparent, newname, 0, 0);
}

static void
snapfs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
    struct fuse_file_info *fi)
{
	(void)fi;
	snapfs_mknod(req, parent, name, mode, 0);
}

const struct fuse_lowlevel_ops snapfs_ops = {
	.init = snapfs_init,
	.lookup = snapfs_lookup,
	.forget = snapfs_forget,
	.forget_multi = snapfs_forget_multi,
	.getattr = snapfs_getattr,
	.setattr = snapfs_setattr,
	.readlink = snapfs_readlink,
	.mknod = snapfs_mknod,
	.mkdir = snapfs_mkdir,
	.unlink = snapfs_unlink,
	.rmdir = snapfs_unlink,
	.symlink = snapfs_symlink,
	.rename = snapfs_rename,
	.link = snapfs_link,
	.create = snapfs_create,
	.open = snapfs_open,
	.read = snapfs_read,
	.write = snapfs_write,
	.flush = snapfs_flush,
	.release = snapfs_release,
	.opendir = snapfs_opendir,
	.readdir = snapfs_readdir,
	.releasedir = snapfs_release,
	.statfs = snapfs_statfs,
	.access = snapfs_access,
};
