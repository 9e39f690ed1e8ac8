/*
 * restore_wait.c - what was restored with the option `wait`: it is complete,
 * and does not run before the writer says so.
 *
 * The write(2) of the request is answered when it is complete.  From then on
 * the open file has the restore, h->waits, until a word is written or the file
 * is closed; the restore's thread waits for the agent, which waits for us.
 */
#include "restore_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* With the lock. */
static int
tell(const struct restore *r, enum agent_word word)
{
	int w = word;

	return send(r->sock, &w, sizeof(w), MSG_NOSIGNAL | MSG_DONTWAIT) < 0
		   ? -errno
		   : 0;
}

void
restore_waits(struct restore *r, pid_t pid)
{
	struct handle *h = r->handle;
	fuse_req_t req = r->req;

	if (req == NULL || !r->ask.restore.wait || pid <= 0)
		return; /* it says so twice, or unasked */
	/* No interrupt function runs after this. */
	fuse_req_interrupt_func(req, NULL, NULL);
	log_put(r->fs->log, r->writer.creds.uid, SNAP_NOTICE,
	    "restore of %s: it is %d, and waits", r->ask.restore.path, pid);
	pthread_mutex_lock(&r->fs->lock);
	free(h->text);
	h->len = 0;
	if (asprintf(&h->text, "%d\n", pid) < 0)
		h->text = NULL;
	else
		h->len = strlen(h->text);
	h->base = r->end;
	h->waits = r;
	r->req = NULL;
	pthread_mutex_unlock(&r->fs->lock);
	fuse_reply_write(req, r->size);
}

bool
restore_is_waiting(struct restore *r)
{
	bool waits;

	pthread_mutex_lock(&r->fs->lock);
	waits = r->req == NULL;
	pthread_mutex_unlock(&r->fs->lock);
	return waits;
}

/* Whoever has asked to keep it is answered.  With the lock. */
static fuse_req_t
take_keeper(struct restore *r)
{
	fuse_req_t req = r->keep;

	r->keep = NULL;
	return req;
}

/* It is not ended with the daemon any more, nor does that wait for it. */
void
restore_kept(struct restore *r)
{
	struct snapfs *fs = r->fs;
	fuse_req_t req;

	pthread_mutex_lock(&fs->lock);
	req = take_keeper(r);
	for (size_t i = 0; req != NULL && i < MAX_AGENTS; i++)
		if (fs->agents[i] == r->agent)
			fs->agents[i] = 0;
	pthread_cond_broadcast(&fs->quiet);
	pthread_mutex_unlock(&fs->lock);
	if (req != NULL)
		fuse_reply_write(req, r->keep_size);
}

/* Where no call waits for the end of it, the file may be closed any time. */
void
restore_waits_no_more(struct restore *r)
{
	struct handle *h;
	fuse_req_t req;

	pthread_mutex_lock(&r->fs->lock);
	req = take_keeper(r);
	h = r->handle;
	if (r->req == NULL && h != NULL) {
		free(h->text);
		h->text = NULL;
		h->len = 0;
		h->waits = NULL;
		r->handle = NULL;
	}
	pthread_mutex_unlock(&r->fs->lock);
	if (req != NULL)
		fuse_reply_err(req, EIO);
}

/* `keep` is answered when the agent has done so.  With the lock. */
static int
keep(struct restore *r, fuse_req_t req, size_t size)
{
	int err = r->keep == NULL ? tell(r, AGENT_KEEP) : -EBUSY;

	if (err < 0)
		return err;
	r->keep = req;
	r->keep_size = size;
	return 0;
}

static bool
is(const char *buf, size_t size, const char *word)
{
	size_t n = strlen(word);

	return (size == n || (size == n + 1 && buf[n] == '\n')) &&
	       memcmp(buf, word, n) == 0;
}

/* `go` is answered when it runs.  With the lock. */
static int
let_go(struct restore *r, fuse_req_t req, size_t size, off_t end)
{
	int err = tell(r, AGENT_GO);

	if (err < 0)
		return err;
	r->handle->waits = NULL;
	r->req = req;
	r->size = size;
	r->end = end;
	return 0;
}

bool
restore_word(struct snapfs *fs, fuse_req_t req, struct handle *h, bool allowed,
    const char *buf, size_t size, off_t off)
{
	struct restore *r;
	int err = -EINVAL;

	pthread_mutex_lock(&fs->lock);
	r = h->waits;
	if (r != NULL && !allowed)
		err = -EPERM;
	else if (r != NULL && is(buf, size, "go"))
		err = let_go(r, req, size, off + (off_t)size);
	else if (r != NULL && is(buf, size, "keep"))
		err = keep(r, req, size);
	pthread_mutex_unlock(&fs->lock);
	if (r == NULL)
		return false;
	if (err < 0)
		fuse_reply_err(req, -err);
	return true;
}

/* The agent sees the end of file. */
void
restore_forget(struct snapfs *fs, struct handle *h)
{
	struct restore *r;

	pthread_mutex_lock(&fs->lock);
	r = h->waits;
	h->waits = NULL;
	if (r != NULL) {
		r->handle = NULL;
		shutdown(r->sock, SHUT_WR);
	}
	pthread_mutex_unlock(&fs->lock);
}
