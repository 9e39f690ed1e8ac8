#include "restore.h"

#include "foreground.h"
#include "housekeeper.h"
#include "job.h"
#include "lender.h"
#include "restore_impl.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Whoever writes must be who opened: else a program with more rights than its
 * caller could be made to write here what it believes to be its output.
 */
static bool
same_rights(const struct view_creds *opener, const struct view_creds *writer)
{
	return opener->uid == writer->uid && opener->gid == writer->gid &&
	       (writer->caps & ~opener->caps) == 0;
}

/* Is it worth a look whether there is a template, or shall be? */
static bool
may_share(const struct restore *r)
{
	const struct restore_request *q = &r->ask.restore;
	bool any;

	/* What is ignored may be a part of memory. */
	if (r->fs->opts.max_templates == 0 || q->template == TEMPLATE_NO ||
	    q->ignore[0] != '\0')
		return false;
	pthread_mutex_lock(&r->fs->lock);
	any = r->fs->templates.n > 0;
	pthread_mutex_unlock(&r->fs->lock);
	return any || q->new_pid || q->template == TEMPLATE_YES;
}

static void
fill_request(struct restore *r)
{
	struct snapfs *fs = r->fs;
	struct agent_request *ask = &r->ask;
	const uint64_t needed = UINT64_C(1) << CAP_SETUID |
				UINT64_C(1) << CAP_SETGID |
				UINT64_C(1) << CAP_SYS_ADMIN;

	ask->tid = r->writer.tid;
	ask->writer = r->writer.id;
	ask->uid = r->writer.creds.uid;
	ask->gid = r->writer.creds.gid;
	ask->templates = may_share(r);
	ask->may_defer = r->by == BY_WRITE && !ask->restore.wait;
	ask->terminal_busy = foreground_busy(fs, r->handle);
	ask->privileged = (fs->access.prm & needed) == needed;
	ask->seccomp_filters = fs->seccomp_filters;
	ask->freeze_timeout_ms = fs->opts.freeze_timeout_ms;
	ask->log_level = fs->opts.log_level;
}

/*
 * What waits for more is kept with the open file.  The kernel sends a flush
 * beside a write, so it is taken out and put back under the lock, and whoever
 * has taken it is the only one to act on it.
 */
static struct restore_request *
take_pending(struct snapfs *fs, struct handle *h)
{
	struct restore_request *q;

	pthread_mutex_lock(&fs->lock);
	q = h->pending;
	h->pending = NULL;
	pthread_mutex_unlock(&fs->lock);
	return q;
}

static void
set_requested(const struct restore *r)
{
	pthread_mutex_lock(&r->fs->lock);
	r->handle->requested = true;
	pthread_mutex_unlock(&r->fs->lock);
}

static bool
was_requested(const struct restore *r)
{
	bool yes;

	pthread_mutex_lock(&r->fs->lock);
	yes = r->handle->requested;
	pthread_mutex_unlock(&r->fs->lock);
	return yes;
}

static bool
has_options(const struct restore_request *q)
{
	return q->instances != 0 || q->broker != 0 ||
	       q->template != TEMPLATE_AUTO || q->new_pid || q->stopped ||
	       q->wait || q->replace || q->inherit || q->eager ||
	       q->ignore[0] != '\0' || q->tty[0] != '\0';
}

/*
 * The directory of a process that runs, alone: without an option it could only
 * be refused, so it waits for one, or for the end of the request.
 */
static bool
waits_for_options(const struct restore *r, bool waited)
{
	const struct restore_request *q = &r->ask.restore;
	char link[64], cwd[PATH_MAX];
	ssize_t n;

	if (waited || has_options(q))
		return false;
	snprintf(link, sizeof(link), "%d/cwd", r->writer.id.pid);
	n = readlinkat(r->fs->proc, link, cwd, sizeof(cwd) - 1);
	cwd[n < 0 ? 0 : n] = '\0';
	return control_is_below(q->path, cwd, r->fs->opts.mountpoint);
}

/*
 * After the path, and when the restore was done: too late to mean anything.  A
 * shell that writes line by line tells of its last error only: it is the first.
 */
static int
refuse_late_options(struct restore *r)
{
	struct handle *h = r->handle;
	int failed;

	pthread_mutex_lock(&r->fs->lock);
	failed = h->failed;
	if (failed != 0 && h->text != NULL)
		restore_set_result(
		    r, failed, "%.*s", (int)strcspn(h->text, "\n"), h->text);
	pthread_mutex_unlock(&r->fs->lock);
	if (r->has_result)
		return failed;
	restore_set_result(r, -EINVAL,
	    "the options came with a write(2) of their own, when the "
	    "restore was done: write them before the path");
	return -EINVAL;
}

static int
check_rights(struct restore *r)
{
	if (same_rights(&r->handle->creds, &r->writer.creds))
		return 0;
	restore_set_result(r, -EPERM,
	    "the writer has other rights than whoever opened the file");
	return -EPERM;
}

/* r->waits: there is nothing to do yet. */
static int
parse(struct restore *r, const char *buf, size_t size)
{
	struct restore_request *before;
	bool waited;
	char why[256];
	int err = check_rights(r);

	if (err < 0)
		return err;
	before = take_pending(r->fs, r->handle);
	waited = before != NULL;
	if (waited)
		r->ask.restore = *before;
	free(before);
	err = control_parse(buf, size, &r->ask.restore, why, sizeof(why));
	if (err < 0) {
		restore_set_result(r, err, "%s", why);
		return err;
	}
	if (r->ask.restore.wait && r->ask.restore.instances > 1) {
		restore_set_result(r, -EINVAL, "only one instance can wait");
		return -EINVAL;
	}
	if (r->ask.restore.path[0] == '\0')
		return was_requested(r) ? refuse_late_options(r)
					: restore_keep(r);
	if (waits_for_options(r, waited))
		return restore_keep(r);
	set_requested(r);
	return 0;
}

/*
 * A child of the writer's was killed, and he cannot wait for it before his
 * write(2) returns: the restore is made when he closes the file, or reads it.
 */
static void *
restore_main(void *arg)
{
	struct restore *r = arg;
	struct snapfs *fs = r->fs;
	struct paging *p;
	pid_t ends;

	restore_run_agent(r);
	ends = r->ends;
	p = r->paging;
	if (r->result.err != -ECHILD || !r->ask.may_defer)
		restore_done(r);
	else if (restore_keep(r) < 0)
		restore_done(r);
	else
		restore_reply(r, 0);
	housekeeper_spares(fs->housekeeper);
	if (ends > 0)
		restore_reap_agent(fs, ends);
	if (p != NULL)
		restore_listen_to_pager(p);
	return NULL;
}

static void
interrupted(fuse_req_t req, void *arg)
{
	struct restore *r = arg;
	uint64_t one = 1;

	(void)req;
	if (write(r->interrupt, &one, sizeof(one)) < 0)
		return; /* it cannot be full */
}

static void
start(struct restore *r)
{
	int err;

	if (r->ask.restore.broker != 0) {
		lender_start(r);
		return;
	}
	fill_request(r);
	r->interrupt = eventfd(0, EFD_CLOEXEC);
	if (r->interrupt < 0) {
		restore_set_result(r, -errno, "%s", strerror(errno));
		restore_done(r);
		return;
	}
	fuse_req_interrupt_func(r->req, interrupted, r);
	err = job_thread(restore_main, r, "restore");
	if (err < 0) {
		restore_set_result(r, err, "no thread: %s", strerror(-err));
		restore_done(r);
	}
}

static struct restore *
restore_new(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who)
{
	struct restore *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->fs = fs;
	r->req = req;
	r->handle = h;
	r->writer = *who;
	r->log = log_job(fs->log, who->creds.uid, RING_RESTORE, who->id.pid);
	r->interrupt = r->terminal = -1;
	return r;
}

void
restore_request(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, const char *buf, size_t size, off_t off)
{
	struct restore *r;

	if (restore_word(fs, req, h, same_rights(&h->creds, &who->creds), buf,
		size, off))
		return;
	r = restore_new(fs, req, h, who);
	if (r == NULL) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	r->by = BY_WRITE;
	r->size = size;
	r->end = off + (off_t)size;
	if (parse(r, buf, size) < 0) {
		restore_done(r);
	} else if (r->waits) {
		fuse_reply_write(req, size);
		free(r);
	} else {
		start(r);
	}
}

/*
 * What waits there for the end of the request, if it is `who` that ends it:
 * other processes may have the file open too, and close it first.
 */
static struct restore_request *
take_ended(
    struct snapfs *fs, struct handle *h, const struct caller *who, off_t *end)
{
	struct restore_request *q = NULL;

	pthread_mutex_lock(&fs->lock);
	if (h->pending != NULL && h->pending->path[0] != '\0' &&
	    proc_id_equal(h->pending_of, who->id)) {
		q = h->pending;
		*end = h->pending_end;
		h->pending = NULL;
	}
	pthread_mutex_unlock(&fs->lock);
	return q;
}

/*
 * The rights are looked at again: since it wrote, the process may have become
 * a program with more of them, by exec(2), which closes what it was given.
 */
static void
act(struct restore *r)
{
	set_requested(r);
	if (check_rights(r) < 0)
		restore_done(r);
	else
		start(r);
}

/* What waited, as a request of its own; NULL with *err 0 if nothing did. */
static struct restore *
ended(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, int *err)
{
	off_t end = 0;
	struct restore_request *q = take_ended(fs, h, who, &end);
	struct restore *r = q == NULL ? NULL : restore_new(fs, req, h, who);

	*err = q != NULL && r == NULL ? -ENOMEM : 0;
	if (r != NULL) {
		r->ask.restore = *q;
		r->end = end;
	}
	free(q);
	return r;
}

void
restore_flush(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who)
{
	int err;
	struct restore *r = ended(fs, req, h, who, &err);

	if (r == NULL && err == 0) {
		foreground_reply(fs, req, h, who);
		return;
	}
	if (r == NULL) {
		snapfs_reply_err(req, err);
		return;
	}
	r->by = BY_CLOSE;
	act(r);
}

bool
restore_read(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, size_t size, off_t off)
{
	int err;
	struct restore *r = ended(fs, req, h, who, &err);

	if (r == NULL && err < 0)
		snapfs_reply_err(req, err);
	if (r == NULL)
		return err < 0;
	r->by = BY_READ;
	r->size = size;
	r->off = off;
	act(r);
	return true;
}
