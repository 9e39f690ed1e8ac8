#include "track.h"

#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TRACKED_MAX 1024u
#define TRACKED_SHARE 128u /* of each user but the daemon's own */

struct tracked {
	struct proc_id id;
	uid_t uid;	  /* who turned it on */
	size_t processes; /* it, and those below it, at its last checkpoint */
	struct snap_tracker *tracker;
	LIST_ENTRY(tracked) link;
};

/*
 * A tracker is asked, and stopped, without the lock: one that scans has its own
 * for as long as that takes.
 */

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

static bool
has_room(const struct snapfs *fs, uid_t uid)
{
	const struct tracked *t;
	size_t n = 0, all = 0;

	LIST_FOREACH (t, &fs->tracked, link) {
		all += t->processes;
		n += t->uid == uid ? t->processes : 0;
	}
	return all < TRACKED_MAX &&
	       (n < TRACKED_SHARE || uid == fs->access.uid);
}

static int
add(struct snapfs *fs, struct proc_id id, uid_t uid)
{
	struct tracked *t;

	if (find(fs, id) != NULL)
		return 0;
	if (!has_room(fs, uid))
		return -EDQUOT;
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return -ENOMEM;
	t->id = id;
	t->uid = uid;
	t->processes = 1;
	t->tracker = snap_tracker_new();
	if (t->tracker == NULL) {
		free(t);
		return -ENOMEM;
	}
	LIST_INSERT_HEAD(&fs->tracked, t, link);
	fs->ntracked++;
	return 0;
}

/* ---- the same, without the lock ---- */

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

static void
drop(struct snapfs *fs, struct proc_id id)
{
	struct tracked *t;

	pthread_mutex_lock(&fs->lock);
	t = find(fs, id);
	if (t != NULL) {
		LIST_REMOVE(t, link);
		fs->ntracked--;
	}
	pthread_mutex_unlock(&fs->lock);
	if (t != NULL)
		snap_tracker_stop(t->tracker);
	free(t);
}

/* A copy of the table, with references; NULL if there is no memory. */
static struct tracked *
copy(struct snapfs *fs, size_t *n)
{
	struct tracked *t, *v;

	*n = 0;
	pthread_mutex_lock(&fs->lock);
	v = calloc(fs->ntracked + 1, sizeof(*v));
	LIST_FOREACH (t, &fs->tracked, link)
		if (v != NULL) {
			v[*n] = *t;
			snap_tracker_get(v[(*n)++].tracker);
		}
	pthread_mutex_unlock(&fs->lock);
	return v;
}

static void
free_copy(struct tracked *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		snap_tracker_put(v[i].tracker);
	free(v);
}

static bool
has_ended(const struct snapfs *fs, struct proc_id id)
{
	struct procinfo_stat st;

	return procinfo_stat(fs->proc, id.pid, &st) < 0 ||
	       !proc_id_equal(id, (struct proc_id){ st.pid, st.start });
}

static void
drop_ended(struct snapfs *fs)
{
	size_t n;
	struct tracked *v = copy(fs, &n);

	for (size_t i = 0; i < n; i++)
		if (has_ended(fs, v[i].id))
			drop(fs, v[i].id);
	free_copy(v, n);
}

/* ---- on and off ---- */

static int
turn_on(struct snapfs *fs, struct proc_id id, const struct log_job *log,
    uid_t uid, enum snap_level level)
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
	drop_ended(fs);
	pthread_mutex_lock(&fs->lock);
	err = add(fs, id, uid);
	pthread_mutex_unlock(&fs->lock);
	if (err == -EDQUOT)
		log_put_job(log, level,
		    "process %d is not tracked: there are %u that are for user "
		    "%u, or %u in all",
		    id.pid, TRACKED_SHARE, uid, TRACKED_MAX);
	return err;
}

static size_t
less(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

/* How many more there may be below it, by what the others have. */
static void
limit(struct snapfs *fs, struct proc_id id, struct snap_tracker *tracker)
{
	struct tracked *t, *self;
	size_t n = 0, all = 0, room;

	pthread_mutex_lock(&fs->lock);
	self = find(fs, id);
	LIST_FOREACH (t, &fs->tracked, link) {
		all += t == self ? 0 : t->processes;
		if (self != NULL && t != self && t->uid == self->uid)
			n += t->processes;
	}
	room = less(TRACKED_MAX, all);
	if (self != NULL && self->uid != fs->access.uid &&
	    less(TRACKED_SHARE, n) < room)
		room = less(TRACKED_SHARE, n);
	pthread_mutex_unlock(&fs->lock);
	snap_tracker_limit(tracker, room);
}

struct snap_tracker *
track_for_checkpoint(
    struct snapfs *fs, struct proc_id id, const struct log_job *log, uid_t uid)
{
	struct snap_tracker *tracker = track_find(fs, id);

	if (tracker == NULL && fs->opts.track &&
	    turn_on(fs, id, log, uid, SNAP_NOTICE) == 0)
		tracker = track_find(fs, id);
	if (tracker != NULL)
		limit(fs, id, tracker);
	return tracker;
}

void
track_counted(
    struct snapfs *fs, struct proc_id id, struct snap_tracker *tracker)
{
	struct snap_tracker_info info;
	struct tracked *t;

	snap_tracker_info(tracker, &info);
	pthread_mutex_lock(&fs->lock);
	t = find(fs, id);
	if (t != NULL && t->tracker == tracker)
		t->processes = info.processes;
	pthread_mutex_unlock(&fs->lock);
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

	if (is_word(buf, size, "on"))
		return turn_on(fs, id, &log, who->creds.uid, SNAP_ERROR);
	if (!is_word(buf, size, "off"))
		return -EINVAL;
	drop(fs, id);
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
	    " copied %" PRIu64 " processes %zu%s%s",
	    i.parent[0] != '\0' ? i.parent : "none", i.scans, i.scan_us,
	    i.pages, i.copied, i.processes, i.why[0] != '\0' ? " failed: " : "",
	    i.why);
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
	size_t n;
	struct tracked *v = copy(fs, &n);

	for (size_t i = 0; i < n; i++) {
		if (has_ended(fs, v[i].id)) {
			drop(fs, v[i].id);
		} else if (all || v[i].uid == uid) {
			fprintf(f, "track: pid %d ", v[i].id.pid);
			print_info(f, v[i].tracker);
			fprintf(f, "\n");
		}
	}
	free_copy(v, n);
}
