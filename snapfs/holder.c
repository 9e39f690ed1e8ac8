#include "holder.h"

#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum state { WAITS, TAKING, HOLDS, RELEASED, ENDED };

static const char *const state_names[] = {
	"waits",
	"freezes",
	"held",
	"released",
	"ended",
};

struct holder {
	struct proc_id id; /* whom */
	struct caller who; /* opened it */
	enum state state;
	unsigned processes;
	uint64_t since;	      /* ms, of the state */
	pthread_cond_t *wake; /* of the thread that has it; NULL: none */
	bool closed;	      /* that thread frees it */
	fuse_req_t end;	      /* a write that waits for the end; or NULL */
	size_t size;	      /* of it */
	LIST_ENTRY(holder) link;
};

/* ---- all with the lock ---- */

static struct holder *
find(const struct snapfs *fs, struct proc_id id)
{
	struct holder *h;

	LIST_FOREACH (h, &fs->holders, link)
		if (proc_id_equal(h->id, id))
			return h;
	return NULL;
}

static void
become(struct holder *h, enum state state)
{
	h->state = state;
	h->since = snapfs_now();
}

static void
drop(struct holder *h)
{
	LIST_REMOVE(h, link);
	free(h);
}

static void
detach(struct holder *h)
{
	h->wake = NULL;
	if (h->closed)
		drop(h);
}

bool
holder_has(const struct snapfs *fs, struct proc_id id)
{
	const struct holder *h = find(fs, id);

	return h != NULL && (h->state == TAKING || h->state == HOLDS);
}

size_t
holder_count(const struct snapfs *fs)
{
	const struct holder *h;
	size_t n = 0;

	LIST_FOREACH (h, &fs->holders, link)
		n++;
	return n;
}

size_t
holder_pids(const struct snapfs *fs, pid_t *v, size_t n)
{
	const struct holder *h;
	size_t i = 0;

	LIST_FOREACH (h, &fs->holders, link)
		if (i < n)
			v[i++] = h->who.id.pid;
	return i;
}

enum holder_wish
holder_wish(const struct snapfs *fs, const struct holder *h)
{
	if (h == NULL || h->state != HOLDS)
		return HOLDER_NOTHING;
	if (h->end != NULL)
		return HOLDER_END;
	return h->closed || fs->closing ? HOLDER_RELEASE : HOLDER_NOTHING;
}

void
holder_wake_all(struct snapfs *fs)
{
	struct holder *h;

	LIST_FOREACH (h, &fs->holders, link)
		if (h->wake != NULL)
			pthread_cond_signal(h->wake);
}

/* ---- who holds ---- */

/* Whoever would hold himself could not let go. */
int
holder_open(struct snapfs *fs, const struct caller *who, struct proc_id id,
    struct holder **out)
{
	struct holder *h;

	if (proc_id_equal(who->id, id))
		return -EDEADLK;
	h = calloc(1, sizeof(*h));
	if (h == NULL)
		return -ENOMEM;
	h->id = id;
	h->who = *who;
	become(h, WAITS);
	pthread_mutex_lock(&fs->lock);
	if (find(fs, id) != NULL) {
		free(h);
		h = NULL;
	} else {
		LIST_INSERT_HEAD(&fs->holders, h, link);
	}
	pthread_mutex_unlock(&fs->lock);
	*out = h;
	return h == NULL ? -EBUSY : 0;
}

void
holder_close(struct snapfs *fs, struct holder *h)
{
	if (h == NULL)
		return;
	pthread_mutex_lock(&fs->lock);
	h->closed = true;
	if (h->wake != NULL)
		pthread_cond_signal(h->wake);
	else
		drop(h);
	pthread_mutex_unlock(&fs->lock);
}

static bool
is_end(const char *buf, size_t size)
{
	return (size == 3 || (size == 4 && buf[3] == '\n')) &&
	       memcmp(buf, "end", 3) == 0;
}

void
holder_write(struct snapfs *fs, fuse_req_t req, struct holder *h,
    const struct caller *who, const char *buf, size_t size)
{
	int err = 0;

	if (!is_end(buf, size))
		err = -EINVAL;
	pthread_mutex_lock(&fs->lock);
	/* A descriptor may have come to somebody else. */
	if (err == 0 && !view_creds_cover(&who->creds, &h->who.creds))
		err = -EACCES;
	if (err == 0 && h->state != HOLDS)
		err = -ESRCH;
	if (err == 0 && h->end != NULL)
		err = -EBUSY;
	if (err == 0) {
		h->end = req;
		h->size = size;
		pthread_cond_signal(h->wake);
	}
	pthread_mutex_unlock(&fs->lock);
	if (err == -ESRCH)
		log_put(fs->log, who->creds.uid, SNAP_ERROR,
		    "%d: nothing is held: no checkpoint was taken since .hold "
		    "was opened",
		    h->id.pid);
	if (err < 0)
		snapfs_reply_err(req, err);
}

/* ---- the thread that has the process ---- */

struct holder *
holder_claim(struct snapfs *fs, struct proc_id id,
    const struct view_creds *creds, pthread_cond_t *wake)
{
	struct holder *h;

	pthread_mutex_lock(&fs->lock);
	h = find(fs, id);
	if (h != NULL &&
	    (h->state != WAITS || !view_creds_cover(&h->who.creds, creds)))
		h = NULL;
	if (h != NULL) {
		become(h, TAKING);
		h->wake = wake;
	}
	pthread_mutex_unlock(&fs->lock);
	return h;
}

void
holder_taken(struct snapfs *fs, struct holder *h, unsigned processes)
{
	pthread_mutex_lock(&fs->lock);
	h->processes = processes;
	become(h, processes > 0 ? HOLDS : WAITS);
	if (processes == 0)
		detach(h);
	pthread_mutex_unlock(&fs->lock);
}

bool
holder_done(struct snapfs *fs, struct holder *h, enum holder_wish wish, int err)
{
	fuse_req_t end = NULL;
	size_t size = 0;
	bool gone;

	pthread_mutex_lock(&fs->lock);
	gone = err == 0;
	/* A wish that came when it was let go already. */
	if (gone && wish != HOLDER_END)
		err = -ESRCH;
	if (gone || wish == HOLDER_END) {
		end = h->end;
		size = h->size;
		h->end = NULL;
	}
	if (gone) {
		become(h, wish == HOLDER_END ? ENDED : RELEASED);
		detach(h);
	}
	pthread_mutex_unlock(&fs->lock);
	if (end != NULL && err == 0)
		fuse_reply_write(end, size);
	else if (end != NULL)
		snapfs_reply_err(end, err);
	return gone;
}

/* ---- what it says ---- */

int
holder_read(struct snapfs *fs, struct proc_id id, struct handle *handle)
{
	const struct holder *h;

	pthread_mutex_lock(&fs->lock);
	h = find(fs, id);
	if (h == NULL)
		handle->text = strdup("none\n");
	else if (asprintf(&handle->text, "%s by %d\n", state_names[h->state],
		     h->who.id.pid) < 0)
		handle->text = NULL;
	pthread_mutex_unlock(&fs->lock);
	if (handle->text == NULL)
		return -ENOMEM;
	handle->len = strlen(handle->text);
	return 0;
}

void
holder_print(FILE *f, struct snapfs *fs, uid_t uid, bool all)
{
	const struct holder *h;

	pthread_mutex_lock(&fs->lock);
	LIST_FOREACH (h, &fs->holders, link)
		if (all || h->who.creds.uid == uid)
			fprintf(f,
			    "hold: pid %d holder %d %s processes %u age %.1f\n",
			    h->id.pid, h->who.id.pid, state_names[h->state],
			    h->processes,
			    (double)(snapfs_now() - h->since) / 1000);
	pthread_mutex_unlock(&fs->lock);
}
