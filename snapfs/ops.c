#include "ops.h"

#include "ops_impl.h"

#include <errno.h>
#include <unistd.h>

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
		err = ops_process_check(fs, &who, node.proc);
	if (err == 0 && node.kind == NODE_FILE) {
		err = ops_view_of_file(fs, &node, &who.creds, &v, &n);
		if (err == 0)
			ops_view_done(fs, v);
	}
	snapfs_reply_err(req, err);
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

/*
 * Nothing but named checkpoints can be made here; said so, rather than "not
 * implemented".
 */

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
	.rmdir = snapfs_rmdir,
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
