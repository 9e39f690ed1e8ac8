/*
 * ops_named.c - checkpoints with a name, PID@NAME: mkdir(2) takes one, rename(2)
 * and rmdir(2) are what they are elsewhere.  Each is a view without a reader;
 * all below it is served as any other checkpoint is.
 */
#include "ops_impl.h"

#include "tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long rmdir(2) waits for files to be closed that may be closed. */
#define RELEASE_MS 500

static struct node
top_of(const struct view *v)
{
	return tree_node(v->cp, 0, TREE_OWN, v->gen);
}

/*
 * With the lock.  What others have is not there when it is listed, but its name
 * is taken, so this cannot be ENOENT.
 */
static int
find(struct snapfs *fs, const char *name, const struct view_creds *creds,
    struct view **out)
{
	*out = view_named_find(&fs->views, name);
	if (*out == NULL)
		return -ENOENT;
	return view_creds_cover(creds, &(*out)->creds) ? 0 : -EACCES;
}

/* Of a view in use; false if nobody waits for the reply any more. */
static bool
reply_entry(fuse_req_t req, const struct view *v)
{
	struct fuse_entry_param e = { .attr_timeout = FOREVER };
	struct node node = top_of(v);

	e.ino = node_ino(&node);
	tree_stat_file(
	    &e.attr, e.ino, snap_checkpoint_node(v->cp, 0), v->info.time);
	return fuse_reply_entry(req, &e) == 0;
}

void
ops_lookup_named(fuse_req_t req, const char *name)
{
	struct snapfs *fs = snapfs_of(req);
	struct caller who;
	struct view *v;
	pid_t pid;
	int err = tree_named(name, &pid);

	/* What could be no name is not there; mkdir(2) says more. */
	if (err < 0)
		err = err == -ENAMETOOLONG ? err : -ENOENT;
	if (err == 0)
		err = caller_of(req, &who);
	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	pthread_mutex_lock(&fs->lock);
	err = find(fs, name, &who.creds, &v);
	if (err == 0)
		view_use(v);
	pthread_mutex_unlock(&fs->lock);
	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	reply_entry(req, v);
	ops_view_done(fs, v);
}

int
ops_list_named(struct snapfs *fs, const struct view_creds *creds,
    struct named_entry **out, size_t *n)
{
	struct named_entry *list = NULL;
	struct node node;
	struct view *v;
	size_t room = 0;
	int err = 0;

	*n = 0;
	pthread_mutex_lock(&fs->lock);
	TAILQ_FOREACH (v, &fs->views.named, by_use)
		room++;
	if (room > 0 && (list = calloc(room, sizeof(*list))) == NULL)
		err = -ENOMEM;
	TAILQ_FOREACH (v, &fs->views.named, by_use) {
		if (err < 0 || v->state != VIEW_TAKEN ||
		    !view_creds_cover(creds, &v->creds))
			continue;
		node = top_of(v);
		list[*n].ino = node_ino(&node);
		list[*n].name = strdup(v->name);
		if (list[*n].name == NULL)
			err = -ENOMEM;
		else
			++*n;
	}
	pthread_mutex_unlock(&fs->lock);
	*out = list; /* what there is goes with the handle */
	return err;
}

/* ---- mkdir ---- */

static void
answer_mkdir(const struct want *w, struct view *v, int err)
{
	if (err < 0) {
		snapfs_reply_err(w->req, err);
		return;
	}
	if (reply_entry(w->req, v))
		return;
	pthread_mutex_lock(&w->fs->lock);
	view_end(&w->fs->views, v);
	pthread_mutex_unlock(&w->fs->lock);
}

/* May the caller have a checkpoint of `pid`? */
static int
check_target(struct snapfs *fs, const struct caller *who, pid_t pid,
    struct proc_id *target)
{
	int err = ops_process_visible(fs, pid, target);

	if (err == 0)
		err = access_check(&fs->access, &who->creds, pid);
	if (err == 0 && proc_id_equal(who->id, *target))
		err = -EDEADLK;
	return err == -ESRCH ? -ENOENT : err;
}

void
snapfs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct snapfs *fs = snapfs_of(req);
	struct want w = {
		.fs = fs,
		.req = req,
		.answer = answer_mkdir,
		.make = true,
	};
	struct proc_id target;
	struct caller who;
	pid_t pid;
	int err =
	    node_of(parent).kind == NODE_ROOT ? tree_named(name, &pid) : -EPERM;

	(void)mode;
	if (err == 0)
		err = caller_of(req, &who);
	if (err == 0)
		err = check_target(fs, &who, pid, &target);
	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	strcpy(w.name, name);
	job_want(fs, &who, target, &w);
}

/* ---- rmdir, rename ---- */

/* These two may be called on PID@NAME in the root, and nowhere else. */
static int
check_name(fuse_req_t req, fuse_ino_t parent, const char *name,
    struct caller *who, pid_t *pid)
{
	int err =
	    node_of(parent).kind == NODE_ROOT ? tree_named(name, pid) : -EPERM;

	return err < 0 ? err : caller_of(req, who);
}

/*
 * With the lock.  What somebody reads is not taken away from him; but whoever
 * has closed it, or has ended, may be a little ahead of its release.
 */
static int
drop(struct snapfs *fs, struct view *v)
{
	struct timespec end = ops_deadline(RELEASE_MS);
	int err = 0;

	view_use(v);
	while (v->state == VIEW_TAKEN && v->nopen > 0)
		if (pthread_cond_timedwait(&fs->closed, &fs->lock, &end) != 0)
			break;
	if (v->state != VIEW_TAKEN)
		err = -ENOENT;
	else if (v->nopen > 0)
		err = -EBUSY;
	else
		view_end(&fs->views, v);
	view_unuse(&fs->views, v);
	return err;
}

void
snapfs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct snapfs *fs = snapfs_of(req);
	struct caller who;
	struct view *v;
	pid_t pid;
	int err = check_name(req, parent, name, &who, &pid);

	if (err == 0) {
		pthread_mutex_lock(&fs->lock);
		err = find(fs, name, &who.creds, &v);
		if (err == 0)
			err = drop(fs, v);
		pthread_mutex_unlock(&fs->lock);
	}
	snapfs_reply_err(req, err);
}

void
snapfs_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
    fuse_ino_t newparent, const char *newname, unsigned flags)
{
	struct snapfs *fs = snapfs_of(req);
	struct caller who;
	struct view *v;
	pid_t pid, newpid;
	int err = check_name(req, parent, name, &who, &pid);

	if (err == 0 && (flags & ~(unsigned)RENAME_NOREPLACE) != 0)
		err = -EINVAL;
	if (err == 0)
		err = check_name(req, newparent, newname, &who, &newpid);
	/* Not EXDEV: mv(1) would make a checkpoint of the other process. */
	if (err == 0 && pid != newpid)
		err = -EPERM;
	if (err == 0) {
		pthread_mutex_lock(&fs->lock);
		err = find(fs, name, &who.creds, &v);
		if (err == 0)
			err = view_named_rename(&fs->views, v, newname,
			    (flags & RENAME_NOREPLACE) != 0);
		pthread_mutex_unlock(&fs->lock);
	}
	snapfs_reply_err(req, err);
}
