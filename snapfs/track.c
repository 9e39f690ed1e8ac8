#include "track.h"

#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TRACKED_MAX 1024u

struct tracked {
	struct proc_id id;
	uid_t uid; /* who turned it on */
	struct snap_tracker *tracker;
	LIST_ENTRY(tracked) link;
};

/* ---- the table; with the lock ---- */

static struct tracked *
find(struct snapfs *fs, struct proc_id id)
{
	struct tracked *t;

	LIST_FOREACH (t, &fs->tracked, link)
		if (proc_id_equal(t->id, id))
			return t;
	return NULL;
}

static void
drop(struct snapfs *fs, struct tracked *t)
{
	LIST_REMOVE(t, link);
	fs->ntracked--;
	snap_tracker_stop(t->tracker);
	free(t);
}

/* Processes that have ended. */
static void
drop_gone(struct snapfs *fs)
{
	struct tracked *t, *next;
	struct procinfo_stat st;

	for (t = LIST_FIRST(&fs->tracked); t != NULL; t = next) {
		next = LIST_NEXT(t, link);
		if (procinfo_stat(fs->proc, t->id.pid, &st) < 0 ||
		    !proc_id_equal(t->id, (struct proc_id){ st.pid, st.start }))
			drop(fs, t);
	}
}

static int
add(struct snapfs *fs, struct proc_id id, uid_t uid)
{
	struct tracked *t;

	if (find(fs, id) != NULL)
		return 0;
	drop_gone(fs);
	if (fs->ntracked >= TRACKED_MAX)
		return -EAGAIN;
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return -ENOMEM;
	t->id = id;
	t->uid = uid;
	t->tracker = snap_tracker_new();
	if (t->tracker == NULL) {
		free(t);
		return -ENOMEM;
	}
	LIST_INSERT_HEAD(&fs->tracked, t, link);
	fs->ntracked++;
	return 0;
}

struct snap_tracker *
track_find(struct snapfs *fs, struct proc_id id)
{
	struct snap_tracker *tracker;
	struct tracked *t;

	pthread_mutex_lock(&fs->lock);
	t = find(fs, id);
	tracker = t == NULL ? NULL : snap_tracker_get(t->tracker);
	pthread_mutex_unlock(&fs->lock);
	return tracker;
}

/* ---- on and off ---- */

static int
turn_on(
    struct snapfs *fs, struct proc_id id, const struct log_job *log, uid_t uid)
{
	struct snap_options opt = {
		.log = log_sink,
		.log_arg = (void *)(uintptr_t)log,
		.log_level = fs->opts.log_level,
	};
	struct snap_ctx *cx = snap_ctx_new(&opt);
	int err;

	if (cx == NULL)
		return -ENOMEM;
	err = snap_tracker_possible(cx, id.pid);
	snap_ctx_free(cx);
	if (err < 0)
		return err;
	pthread_mutex_lock(&fs->lock);
	err = add(fs, id, uid);
	pthread_mutex_unlock(&fs->lock);
	return err;
}

struct snap_tracker *
track_for_checkpoint(
    struct snapfs *fs, struct proc_id id, const struct log_job *log, uid_t uid)
{
	struct snap_tracker *tracker = track_find(fs, id);

	if (tracker != NULL || !fs->opts.track)
		return tracker;
	return turn_on(fs, id, log, uid) < 0 ? NULL : track_find(fs, id);
}

static bool
is_word(const char *buf, size_t size, const char *word)
{
	size_t n = strlen(word);

	return (size == n || (size == n + 1 && buf[n] == '\n')) &&
	       memcmp(buf, word, n) == 0;
}

int
track_write(struct snapfs *fs, const struct caller *who, struct proc_id id,
    const char *buf, size_t size)
{
	struct log_job log =
	    log_job(fs->log, who->creds.uid, RING_CHECKPOINT, id.pid);
	struct tracked *t;

	if (is_word(buf, size, "on"))
		return turn_on(fs, id, &log, who->creds.uid);
	if (!is_word(buf, size, "off"))
		return -EINVAL;
	pthread_mutex_lock(&fs->lock);
	t = find(fs, id);
	if (t != NULL)
		drop(fs, t);
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

/* ---- what it says ---- */

static void
print_info(FILE *f, struct snap_tracker *tracker)
{
	struct snap_tracker_info i;

	snap_tracker_info(tracker, &i);
	fprintf(f,
	    "parent %s scans %" PRIu64 " scan-us %" PRIu64 " pages %" PRIu64
	    " copied %" PRIu64 "%s%s",
	    i.parent[0] != '\0' ? i.parent : "none", i.scans, i.scan_us,
	    i.pages, i.copied, i.why[0] != '\0' ? " failed: " : "", i.why);
}

int
track_read(struct snapfs *fs, struct proc_id id, struct handle *h)
{
	struct snap_tracker *tracker = track_find(fs, id);
	FILE *f = open_memstream(&h->text, &h->len);

	if (f != NULL) {
		fprintf(f, tracker == NULL ? "off\n" : "on ");
		if (tracker != NULL) {
			print_info(f, tracker);
			fprintf(f, "\n");
		}
	}
	snap_tracker_put(tracker);
	return f != NULL && fclose(f) == 0 ? 0 : -ENOMEM;
}

void
track_print(FILE *f, struct snapfs *fs, uid_t uid, bool all)
{
	struct tracked *t;

	pthread_mutex_lock(&fs->lock);
	drop_gone(fs);
	LIST_FOREACH (t, &fs->tracked, link) {
		if (!all && t->uid != uid)
			continue;
		fprintf(f, "track: pid %d ", t->id.pid);
		print_info(f, t->tracker);
		fprintf(f, "\n");
	}
	pthread_mutex_unlock(&fs->lock);
}
