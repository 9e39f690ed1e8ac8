/*
 * ops_attr.c - which processes are shown and to whom; attributes.
 */
#include "ops_impl.h"

#include "tree.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Is it there, and may be checkpointed at all?  0, ENOENT, ESTALE. */
int
ops_process_visible(struct snapfs *fs, pid_t pid, struct proc_id *id)
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

int
ops_process_check(
    struct snapfs *fs, const struct caller *who, struct proc_id target)
{
	struct proc_id now;
	int err;

	if (has_checkpoint(fs, who, target))
		return 0;
	err = ops_process_visible(fs, target.pid, &now);
	if (err == -ENOENT || (err == 0 && !proc_id_equal(now, target)))
		return -ESTALE;
	if (err < 0)
		return err;
	err = access_check(&fs->access, &who->creds, target.pid);
	return err == -ESRCH ? -ESTALE : err;
}

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

void
ops_reply_proc_dir(
    fuse_req_t req, const struct caller *who, const struct node *node)
{
	struct fuse_entry_param e = {
		.ino = node_ino(node),
		.entry_timeout = DIR_TIMEOUT,
	};

	stat_proc_dir(snapfs_of(req), who, node, &e.attr);
	fuse_reply_entry(req, &e);
}

/* Owned as the process's directory is. */
void
ops_stat_control(struct snapfs *fs, const struct caller *who,
    const struct node *node, struct stat *st)
{
	struct node top = { .kind = NODE_PROC, .proc = node->proc };

	stat_proc_dir(fs, who, &top, st);
	st->st_ino = node_ino(node);
	st->st_mode = S_IFREG | 0600;
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

void
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
	case NODE_LOG_RAW:
		tree_stat_control(&st, tree_control_kind(node.kind), fs->since);
		/* The kernel counts what is written as its size. */
		timeout = 0;
		break;
	case NODE_PROC:
		timeout = 0;
		err = caller_of(req, &who);
		if (err == 0)
			err = ops_process_check(fs, &who, node.proc);
		if (err == 0)
			stat_proc_dir(fs, &who, &node, &st);
		break;
	case NODE_TRACK:
	case NODE_HOLD:
		timeout = 0;
		err = caller_of(req, &who);
		if (err == 0)
			err = ops_process_check(fs, &who, node.proc);
		if (err == 0)
			ops_stat_control(fs, &who, &node, &st);
		break;
	case NODE_FILE:
		err = stat_file(fs, &node, &st);
		break;
	case NODE_INVALID:
		err = -ESTALE;
	}
	if (err < 0)
		snapfs_reply_err(req, err);
	else
		fuse_reply_attr(req, &st, timeout);
}

/* Truncation of .restore, .track and .hold means nothing, and `>` does it. */
void
snapfs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
    struct fuse_file_info *fi)
{
	const int harmless = FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME |
			     FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME_NOW |
			     FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_CTIME;

	enum node_kind kind = node_of(ino).kind;

	(void)attr;
	if ((kind != NODE_RESTORE && kind != NODE_TRACK && kind != NODE_HOLD) ||
	    (to_set & ~harmless) != 0)
		fuse_reply_err(req, EPERM);
	else
		snapfs_getattr(req, ino, fi);
}
