/*
 * ops_file.c - open files: reading checkpoints, writing requests, closing.
 */
#include "ops_impl.h"

#include "holder.h"
#include "restore.h"
#include "status.h"
#include "track.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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

void
ops_close_handle(struct snapfs *fs, struct handle *h)
{
	/* With the lock: whoever replies with its text has it till it is done. */
	pthread_mutex_lock(&fs->lock);
	if (h->view != NULL) {
		if (h->view->nopen <= 2)
			pthread_cond_broadcast(&fs->closed);
		set_closing(h, false);
		view_close(&fs->views, h->view, snapfs_now());
	}
	pthread_mutex_unlock(&fs->lock);
	holder_close(fs, h->holder);
	restore_forget(fs, h);
	handle_free(h);
}

void
ops_reply_open(fuse_req_t req, const struct node *node, struct view *v,
    uint32_t n, const struct fuse_file_info *fi)
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
		ops_close_handle(fs, h);
}

void
ops_open_file(
    fuse_req_t req, const struct node *node, struct fuse_file_info *fi)
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
		err = ops_view_of_file(fs, node, &who.creds, &v, &n);
	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	ops_reply_open(req, node, v, n, fi);
	ops_view_done(fs, v);
}

void
snapfs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	ops_close_handle(snapfs_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

static bool
may_be_written(enum node_kind kind)
{
	return kind == NODE_RESTORE || kind == NODE_TRACK || kind == NODE_HOLD;
}

/* What it says when it is opened; .hold is more than text. */
static int
begin_control(struct snapfs *fs, const struct node *node,
    const struct caller *who, bool writes, struct handle *h)
{
	int err;

	switch (node->kind) {
	case NODE_TRACK:
		return track_read(fs, node->proc, h);
	case NODE_HOLD:
		err = writes ? holder_open(fs, who, node->proc, &h->holder) : 0;
		return err == 0 ? holder_read(fs, node->proc, h) : err;
	default:
		return status_text(fs, node->kind, &who->creds, h);
	}
}

static void
open_control(fuse_req_t req, const struct node *node, struct fuse_file_info *fi)
{
	struct snapfs *fs = snapfs_of(req);
	struct handle *h = NULL;
	struct caller who;
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	int err;

	if (writes && !may_be_written(node->kind)) {
		fuse_reply_err(req, EACCES);
		return;
	}
	err = caller_of(req, &who);
	if (err == 0 && (node->kind == NODE_TRACK || node->kind == NODE_HOLD))
		err = ops_process_check(fs, &who, node->proc);
	h = err < 0 ? NULL : handle_new(node);
	if (err == 0 && h == NULL)
		err = -ENOMEM;
	if (err == 0) {
		h->creds = who.creds;
		err = begin_control(fs, node, &who, writes, h);
	}
	if (err < 0) {
		if (h != NULL)
			ops_close_handle(fs, h);
		snapfs_reply_err(req, err);
		return;
	}
	fi->fh = handle_fh(h);
	fi->direct_io = 1;
	if (fuse_reply_open(req, fi) < 0)
		ops_close_handle(fs, h);
}

void
snapfs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node node = node_of(ino);

	switch (node.kind) {
	case NODE_RESTORE:
	case NODE_STATUS:
	case NODE_LOG:
	case NODE_LOG_RAW:
	case NODE_TRACK:
	case NODE_HOLD:
		open_control(req, &node, fi);
		break;
	case NODE_FILE:
		ops_open_file(req, &node, fi);
		break;
	default:
		fuse_reply_err(req, ESTALE);
	}
}

static void
read_control(fuse_req_t req, struct handle *h, size_t size, off_t off)
{
	struct snapfs *fs = snapfs_of(req);
	const char *text = NULL;
	struct caller who;

	if (h->node.kind == NODE_RESTORE && caller_of(req, &who) == 0 &&
	    restore_read(fs, req, h, &who, size, off))
		return;
	pthread_mutex_lock(&fs->lock);
	size = handle_text(h, size, off, &text);
	fuse_reply_buf(req, text, size);
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
	snap_checkpoint_reading(v->cp, n, size, (uint64_t)off);
	buf = buffer_get(&fs->buffers, size);
	if (buf != NULL)
		len = read_all(v->cp, n, buf, size, (uint64_t)off);
	if (len < 0)
		snapfs_reply_err(req, (int)len);
	else
		fuse_reply_buf(req, buf, (size_t)len);
	if (len > 0)
		job_served(fs, v, n, (uint64_t)off, (uint64_t)len);
	snap_checkpoint_served(
	    v->cp, n, buf, len > 0 ? (size_t)len : 0, (uint64_t)off);
	buffer_put(&fs->buffers, buf, size);
	ops_view_done(fs, v);
}

void
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

/* Whoever opened it was allowed to; now whoever writes must be. */
static void
write_track(fuse_req_t req, const struct handle *h, const struct caller *who,
    const char *buf, size_t size)
{
	struct snapfs *fs = snapfs_of(req);
	int err = ops_process_check(fs, who, h->node.proc);

	if (err == 0)
		err = track_write(fs, who, h->node.proc, buf, size);
	if (err < 0)
		snapfs_reply_err(req, err);
	else
		fuse_reply_write(req, size);
}

void
snapfs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
    off_t off, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct caller who;
	int err;

	(void)ino;
	if (!may_be_written(h->node.kind)) {
		fuse_reply_err(req, EBADF);
		return;
	}
	err = caller_of(req, &who);
	if (err == 0 && h->node.kind == NODE_TRACK) {
		write_track(req, h, &who, buf, size);
		return;
	}
	if (err == 0 && h->node.kind == NODE_HOLD) {
		holder_write(snapfs_of(req), req, h->holder, &who, buf, size);
		return;
	}
	if (err < 0)
		snapfs_reply_err(req, err);
	else
		restore_request(snapfs_of(req), req, h, &who, buf, size, off);
}

/* Each close(2) of a descriptor, while its caller waits. */
void
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

void
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
		err = ops_view_of_file(fs, &node, &who.creds, &v, &n);
	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	len = snap_checkpoint_read(v->cp, n, target, sizeof(target) - 1, 0);
	if (len < 0) {
		snapfs_reply_err(req, (int)len);
	} else {
		target[len] = '\0';
		fuse_reply_readlink(req, target);
		job_served(fs, v, n, 0, (uint64_t)len);
	}
	ops_view_done(fs, v);
}
