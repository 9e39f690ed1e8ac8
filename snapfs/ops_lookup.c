/*
 * ops_lookup.c - names to inodes; a checkpoint when one is wanted.
 */
#include "ops_impl.h"

#include "housekeeper.h"
#include "track.h"
#include "tree.h"

#include <errno.h>
#include <string.h>

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
		snapfs_reply_err(req, err);
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
		err = ops_process_visible(fs, pid, &node.proc);
	if (err == 0)
		err = ops_process_check(fs, &who, node.proc);
	if (err < 0)
		snapfs_reply_err(req, err == -ESTALE ? -ENOENT : err);
	else
		ops_reply_proc_dir(req, &who, &node);
}

/* The reply to a look-up of node `n` of a view that is in use. */
static void
reply_file(fuse_req_t req, struct view *v, uint32_t n)
{
	struct snapfs *fs = snapfs_of(req);
	struct fuse_entry_param e = { .attr_timeout = FOREVER };
	struct node node = tree_node(v->cp, n, view_owner(v), v->gen);

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
		snapfs_reply_err(w->req, err);
		return;
	}
	if (tree_number(v->cp, &w->node, &dir))
		n = snap_checkpoint_lookup(v->cp, dir, w->name);
	if (n == 0)
		fuse_reply_err(
		    w->req, view_lacks(v, w->delta) ? EBUSY : ENOENT);
	else
		reply_file(w->req, v, n);
}

/* What its reader has closed may not be released yet; see ops_dir.c. */
static void
wait_until_closed(struct snapfs *fs, struct view *v)
{
	struct timespec end = ops_deadline(OPS_RELEASE_MS);

	view_use(v);
	while (v->state == VIEW_TAKEN && v->nopen > v->nclosing)
		if (pthread_cond_timedwait(&fs->closed, &fs->lock, &end) != 0)
			break;
	view_unuse(&fs->views, v);
}

static struct view *
find_taken(struct snapfs *fs, const struct caller *who, struct proc_id target)
{
	struct view *v = view_find(&fs->views, who->id, target);

	return v != NULL && v->state == VIEW_TAKEN ? v : NULL;
}

/*
 * The caller's own checkpoint of `target`, if it has one and its rights are
 * still those with which it was taken; then it is in use.  If it has nothing but
 * `delta`, and more is wanted, or if the rights changed, it ends, unless
 * something is open in it.
 */
static int
own_checkpoint(struct snapfs *fs, const struct caller *who,
    struct proc_id target, bool delta, struct view **out)
{
	struct view *v;
	bool covered;
	int err = 0;

	*out = NULL;
	pthread_mutex_lock(&fs->lock);
	v = find_taken(fs, who, target);
	if (v != NULL && view_lacks(v, delta)) {
		wait_until_closed(fs, v);
		v = find_taken(fs, who, target);
	}
	covered = v != NULL && view_creds_cover(&who->creds, &v->creds);
	if (covered && !view_lacks(v, delta)) {
		view_use(v);
		view_touch(&fs->views, v, snapfs_now());
		*out = v;
	} else if (v != NULL && (v->nopen > v->nclosing || v->nuse > 0)) {
		err = covered ? -EBUSY : -EACCES;
	} else if (v != NULL) {
		view_end(&fs->views, v);
	}
	pthread_mutex_unlock(&fs->lock);
	if (err == -EBUSY)
		log_put(fs->log, who->creds.uid, SNAP_ERROR,
		    "%d: its reader has files of its delta open, and no twin "
		    "was made: close them to read more",
		    target.pid);
	return err;
}

void
ops_want_checkpoint(fuse_req_t req, const struct caller *who,
    struct proc_id target, struct want *w)
{
	struct snapfs *fs = snapfs_of(req);
	struct view *v;
	int err;

	w->fs = fs;
	w->req = req;
	err = own_checkpoint(fs, who, target, w->delta, &v);
	if (v != NULL) {
		w->answer(w, v, 0);
		ops_view_done(fs, v);
		return;
	}
	if (err == 0)
		err = ops_process_check(fs, who, target);
	if (err == 0 && proc_id_equal(who->id, target))
		err = -EDEADLK;
	if (err < 0)
		w->answer(w, NULL, err);
	else
		job_want(fs, who, target, w);
}

/* Not listed, and looked up without a checkpoint. */
static void
lookup_control_of(fuse_req_t req, const struct caller *who, enum node_kind kind,
    struct proc_id id)
{
	struct snapfs *fs = snapfs_of(req);
	struct fuse_entry_param e = { 0 };
	struct node node = { .kind = kind, .proc = id };
	int err = ops_process_check(fs, who, id);

	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	ops_stat_control(fs, who, &node, &e.attr);
	e.ino = e.attr.st_ino;
	fuse_reply_entry(req, &e);
}

static enum node_kind
control_of(const char *name)
{
	if (strcmp(name, ".track") == 0)
		return NODE_TRACK;
	return strcmp(name, ".hold") == 0 ? NODE_HOLD : NODE_INVALID;
}

/* Without a tracker there is none, and no checkpoint is taken to see that. */
static bool
is_delta(struct snapfs *fs, struct proc_id id, const char *name)
{
	struct snap_tracker *t;

	if (strcmp(name, "delta") != 0)
		return false;
	t = track_find(fs, id);
	snap_tracker_put(t);
	return t != NULL;
}

/* In a directory of a process, the top or one directly below. */
static void
lookup_in_proc(fuse_req_t req, const struct node *dir, const char *name)
{
	struct want w = { .answer = answer_lookup, .node = *dir };
	struct caller who;
	enum node_kind kind;
	struct node node;
	int top, err = caller_of(req, &who);

	if (err == 0 && strlen(name) >= sizeof(w.name))
		err = -ENAMETOOLONG;
	if (err == 0 && dir->sub == 0) {
		top = tree_top_index(name);
		kind = control_of(name);
		if (kind != NODE_INVALID) {
			lookup_control_of(req, &who, kind, dir->proc);
			return;
		}
		if (top < 0) {
			w.delta = is_delta(snapfs_of(req), dir->proc, name);
			err =
			    w.delta || strcmp(name, "core") == 0 ? 0 : -ENOENT;
		} else if (tree_top((unsigned)top)->type == SNAP_DIR) {
			err =
			    ops_process_check(snapfs_of(req), &who, dir->proc);
			if (err == 0) {
				node =
				    tree_top_node((unsigned)top, dir->proc, 0);
				ops_reply_proc_dir(req, &who, &node);
				return;
			}
		}
	}
	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	strcpy(w.name, name);
	ops_want_checkpoint(req, &who, dir->proc, &w);
}

int
ops_view_of_file(struct snapfs *fs, const struct node *node,
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

void
ops_view_done(struct snapfs *fs, struct view *v)
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
		err = ops_view_of_file(fs, dir, &who.creds, &v, &d);
	if (err < 0) {
		snapfs_reply_err(req, err);
		return;
	}
	n = snap_checkpoint_lookup(v->cp, d, name);
	if (n == 0)
		fuse_reply_err(req, ENOENT);
	else
		reply_file(req, v, n);
	ops_view_done(fs, v);
}

void
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
			ops_lookup_named(req, name);
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
void
snapfs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	(void)ino;
	(void)nlookup;
	fuse_reply_none(req);
}

void
snapfs_forget_multi(
    fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}
