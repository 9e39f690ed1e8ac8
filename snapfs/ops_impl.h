/*
 * ops_impl.h - what the files of the callbacks share: ops_attr.c, ops_lookup.c,
 * ops_dir.c, ops_file.c.  ops.c puts them into the table.
 */
#ifndef OPS_IMPL_H
#define OPS_IMPL_H

#include "handle.h"
#include "job.h"

/* What never changes may stay in the kernel's caches. */
#define FOREVER 86400.0
/*
 * A process's directories are the same inodes for all readers, and what they
 * say is asked for anew each time; a name of a process that is gone leads to
 * ESTALE, upon which the kernel looks it up again.
 */
#define DIR_TIMEOUT 1.0

static inline struct snapfs *
snapfs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static inline int
caller_of(fuse_req_t req, struct caller *who)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return access_caller(
	    &snapfs_of(req)->access, ctx->pid, ctx->uid, ctx->gid, who);
}

/* How long one waits for files to be released that may have been closed. */
#define OPS_RELEASE_MS 100 /* a busy machine may take some time for it */

/* `ms` from now, as the condition variables of struct snapfs want it. */
static inline struct timespec
ops_deadline(unsigned ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += (long)ms * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	return end;
}

/* ---- ops_attr.c ---- */

/* Is it a process that is shown?  0 with its identity, or -errno. */
int ops_process_visible(struct snapfs *fs, pid_t pid, struct proc_id *id);

/*
 * May the caller read this process?  0, EACCES or EPERM, or ESTALE if it is
 * not there any more.
 */
int ops_process_check(
    struct snapfs *fs, const struct caller *who, struct proc_id target);

void ops_reply_proc_dir(
    fuse_req_t req, const struct caller *who, const struct node *node);

void snapfs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snapfs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
    int to_set, struct fuse_file_info *fi);

/* .track and .hold */
void ops_stat_control(struct snapfs *fs, const struct caller *who,
    const struct node *node, struct stat *st);

/* ---- ops_lookup.c ---- */

/* Answer `w` when `who` has a checkpoint of `target`, which may be taken. */
void ops_want_checkpoint(fuse_req_t req, const struct caller *who,
    struct proc_id target, struct want *w);

/*
 * The view of a generation's node, in use until ops_view_done(), and the node's
 * number; ESTALE if it has ended.
 */
int ops_view_of_file(struct snapfs *fs, const struct node *node,
    const struct view_creds *creds, struct view **out, uint32_t *n);
void ops_view_done(struct snapfs *fs, struct view *v);

void snapfs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void snapfs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void snapfs_forget_multi(
    fuse_req_t req, size_t count, struct fuse_forget_data *forgets);

/* ---- ops_named.c ---- */

void ops_lookup_named(fuse_req_t req, const char *name);

/* The named checkpoints that somebody may see; 0 or -ENOMEM. */
int ops_list_named(struct snapfs *fs, const struct view_creds *creds,
    struct named_entry **out, size_t *n);

void snapfs_mkdir(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void snapfs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void snapfs_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
    fuse_ino_t newparent, const char *newname, unsigned flags);

/* ---- ops_dir.c ---- */

void snapfs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snapfs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi);

/* ---- ops_file.c ---- */

/* Open node `n` of a view that has its checkpoint and is in use. */
void ops_reply_open(fuse_req_t req, const struct node *node, struct view *v,
    uint32_t n, const struct fuse_file_info *fi);
void ops_open_file(
    fuse_req_t req, const struct node *node, struct fuse_file_info *fi);
void ops_close_handle(struct snapfs *fs, struct handle *h);

void snapfs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snapfs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
    struct fuse_file_info *fi);
void snapfs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
    off_t off, struct fuse_file_info *fi);
void snapfs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snapfs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void snapfs_readlink(fuse_req_t req, fuse_ino_t ino);

#endif
