/*
 * ops_dir.c - opening and listing directories.
 */
#include "ops_impl.h"

#include "housekeeper.h"
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

/* The numbers in /proc, to be freed; or -errno. */
static ssize_t
all_pids(struct snapfs *fs, pid_t **pids)
{
	pid_t *list = NULL, *grown, pid;
	size_t n = 0, room = 0;
	struct dirent *de;
	DIR *dir;
	int fd;

	fd = openat(fs->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return -ENOMEM;
	}
	while ((de = readdir(dir)) != NULL) {
		if (!tree_pid(de->d_name, &pid))
			continue;
		if (n == room) {
			room = room != 0 ? room * 2 : 256;
			grown = reallocarray(list, room, sizeof(*grown));
			if (grown == NULL)
				break;
			list = grown;
		}
		list[n++] = pid;
	}
	closedir(dir);
	if (de != NULL) {
		free(list);
		return -ENOMEM;
	}
	*pids = list;
	return (ssize_t)n;
}

/* The rights are taken on once for the whole list. */
static int
list_processes(struct snapfs *fs, const struct caller *who, struct handle *h)
{
	struct proc_id id;
	pid_t *pids = NULL;
	size_t room = 0;
	ssize_t n = all_pids(fs, &pids);
	int *answers, err;

	if (n < 0)
		return (int)n;
	answers = calloc((size_t)n + 1, sizeof(*answers));
	err = answers == NULL ? -ENOMEM
			      : access_check_all(&fs->access, &who->creds, pids,
				    (size_t)n, answers);
	for (ssize_t i = 0; err == 0 && i < n; i++)
		if (answers[i] == 0 &&
		    ops_process_visible(fs, pids[i], &id) == 0)
			err = add_process(h, &room, id);
	free(answers);
	free(pids);
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
	if (err == 0 && caller_of(req, &who) == 0) {
		err = list_processes(snapfs_of(req), &who, h);
		if (err == 0)
			err = ops_list_named(
			    snapfs_of(req), &who.creds, &h->named, &h->nnamed);
	}
	if (err < 0) {
		handle_free(h);
		snapfs_reply_err(req, err);
		return;
	}
	fi->fh = handle_fh(h);
	if (fuse_reply_open(req, fi) < 0)
		handle_free(h);
}

static void
answer_opendir(const struct want *w, struct view *v, int err)
{
	uint32_t n;

	if (err == 0 && !tree_number(v->cp, &w->node, &n))
		err = view_lacks(v, w->delta) ? -EBUSY : -ENOENT;
	if (err < 0)
		snapfs_reply_err(w->req, err);
	else
		ops_reply_open(w->req, &w->node, v, n, &w->fi);
}

/* The top is listed without a checkpoint. */
static void
opendir_top(fuse_req_t req, const struct caller *who, const struct node *node,
    struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct handle *h;
	struct view *v;
	int err = ops_process_check(fs, who, node->proc);

	if (err < 0) {
		snapfs_reply_err(req, err);
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
		ops_close_handle(fs, h);
}

void
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
		ops_open_file(req, &node, fi);
		return;
	}
	err = node.kind != NODE_PROC ? -ENOTDIR : caller_of(req, &who);
	if (err < 0) {
		snapfs_reply_err(req, err);
	} else if (node.sub == 0) {
		opendir_top(req, &who, &node, fi);
	} else {
		w.fi = *fi;
		ops_want_checkpoint(req, &who, node.proc, &w);
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
	at += (off_t)h->nprocs;
	for (i = off > at ? (size_t)(off - at) : 0; i < h->nnamed; i++)
		if (!list(l, h->named[i].name, h->named[i].ino, S_IFDIR,
			at + (off_t)i + 1))
			return;
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
		node = tree_node(cp, n, view_owner(h->view), h->view->gen);
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
	struct timespec end = ops_deadline(OPS_RELEASE_MS);

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
	bool there = ops_process_visible(fs, h->node.proc.pid, &now) == 0 &&
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

void
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
