#include "view.h"

#include "tree.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

/* An idle checkpoint of another reader may be ended after so many ms. */
#define IDLE_MS 1000

/* One that would not freeze is tried again after so many ms. */
#define RETRY_MS 1000

static unsigned
bucket(struct proc_id id)
{
	return (unsigned)id.pid % VIEW_BUCKETS;
}

void
view_table_init(struct view_table *t)
{
	unsigned i;

	t->ntaken = 0;
	t->nviews = 0;
	t->last_gen = 0;
	TAILQ_INIT(&t->views);
	TAILQ_INIT(&t->named);
	for (i = 0; i < VIEW_BUCKETS; i++) {
		LIST_INIT(&t->by_gen[i]);
		LIST_INIT(&t->readers[i]);
	}
}

/* ---- finding ---- */

static struct reader *
reader_find(struct view_table *t, struct proc_id id)
{
	struct reader *r;

	LIST_FOREACH (r, &t->readers[bucket(id)], link)
		if (proc_id_equal(r->id, id) && !r->gone)
			return r;
	return NULL;
}

struct view *
view_find(struct view_table *t, struct proc_id reader, struct proc_id target)
{
	struct reader *r = reader_find(t, reader);
	struct view *v;

	if (r == NULL)
		return NULL;
	LIST_FOREACH (v, &r->views, of_reader)
		if (proc_id_equal(v->target, target))
			return v;
	return NULL;
}

struct view *
view_find_pid(struct view_table *t, struct proc_id reader, pid_t pid)
{
	struct reader *r = reader_find(t, reader);
	struct view *v;

	if (r == NULL)
		return NULL;
	LIST_FOREACH (v, &r->views, of_reader)
		if (v->target.pid == pid && v->state == VIEW_TAKEN)
			return v;
	return NULL;
}

struct view *
view_find_gen(struct view_table *t, uint32_t gen)
{
	struct view *v;

	LIST_FOREACH (v, &t->by_gen[gen % VIEW_BUCKETS], by_gen)
		if (v->gen == gen)
			return v;
	return NULL;
}

/* ---- beginning ---- */

static struct reader *
reader_get(struct view_table *t, struct proc_id id)
{
	struct reader *r = reader_find(t, id);

	if (r != NULL)
		return r;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return NULL;
	r->id = id;
	r->pidfd = -1;
	LIST_INIT(&r->views);
	LIST_INSERT_HEAD(&t->readers[bucket(id)], r, link);
	return r;
}

static void
reader_put(struct view_table *t, struct reader *r)
{
	if (!LIST_EMPTY(&r->views))
		return;
	if (t->reader_unused != NULL)
		t->reader_unused(t->arg, r);
	LIST_REMOVE(r, link);
	free(r);
}

/* A number that no view has; they come round after 2^29. */
static uint32_t
next_gen(struct view_table *t)
{
	do {
		t->last_gen = t->last_gen % NODE_MAX_GEN + 1;
	} while (view_find_gen(t, t->last_gen) != NULL);
	return t->last_gen;
}

static struct view *
view_new(struct view_table *t, struct proc_id reader, struct proc_id target,
    uint64_t now)
{
	struct view *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	v->reader = reader_get(t, reader);
	if (v->reader == NULL) {
		free(v);
		return NULL;
	}
	v->gen = next_gen(t);
	v->target = target;
	v->used = now;
	LIST_INSERT_HEAD(&v->reader->views, v, of_reader);
	LIST_INSERT_HEAD(&t->by_gen[v->gen % VIEW_BUCKETS], v, by_gen);
	TAILQ_INSERT_TAIL(&t->views, v, by_use);
	t->nviews++;
	return v;
}

struct view *
view_get(struct view_table *t, struct proc_id reader, struct proc_id target,
    uint64_t now)
{
	struct view *v = view_find(t, reader, target);

	if (v == NULL)
		return view_new(t, reader, target, now);
	view_touch(t, v, now);
	return v;
}

/* ---- with a name ---- */

static struct view *
named(const struct view_table *t, const char *name)
{
	struct view *v;

	TAILQ_FOREACH (v, &t->named, by_use)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

static bool
has_too_many(const struct view_table *t, uid_t uid)
{
	const struct view *v;
	unsigned n = 0;

	TAILQ_FOREACH (v, &t->named, by_use)
		n += v->creds.uid == uid;
	return n >= t->max_named;
}

int
view_named_new(struct view_table *t, const char *name, struct proc_id target,
    const struct view_creds *creds, uint64_t now, struct view **out)
{
	struct view *v;

	if (named(t, name) != NULL)
		return -EEXIST;
	if (has_too_many(t, creds->uid))
		return -EDQUOT;
	v = calloc(1, sizeof(*v));
	if (v == NULL || (v->name = strdup(name)) == NULL) {
		free(v);
		return -ENOMEM;
	}
	v->gen = next_gen(t);
	v->target = target;
	v->creds = *creds;
	v->used = now;
	LIST_INSERT_HEAD(&t->by_gen[v->gen % VIEW_BUCKETS], v, by_gen);
	TAILQ_INSERT_TAIL(&t->named, v, by_use);
	*out = v;
	return 0;
}

struct view *
view_named_find(struct view_table *t, const char *name)
{
	struct view *v = named(t, name);

	return v != NULL && v->state == VIEW_TAKEN ? v : NULL;
}

int
view_named_rename(
    struct view_table *t, struct view *v, const char *name, bool noreplace)
{
	const struct view *other = named(t, name);
	char *copy;

	if (other != NULL && other != v)
		return noreplace ? -EEXIST : -ENOTEMPTY;
	copy = strdup(name);
	if (copy == NULL)
		return -ENOMEM;
	free(v->name);
	v->name = copy;
	return 0;
}

/* ---- using ---- */

static struct view_list *
list_of(struct view_table *t, const struct view *v)
{
	return v->name != NULL ? &t->named : &t->views;
}

struct proc_id
view_owner(const struct view *v)
{
	return v->name != NULL ? TREE_OWN : v->target;
}

void
view_touch(struct view_table *t, struct view *v, uint64_t now)
{
	v->used = now;
	if (v->state == VIEW_ENDED)
		return;
	TAILQ_REMOVE(list_of(t, v), v, by_use);
	TAILQ_INSERT_TAIL(list_of(t, v), v, by_use);
}

void
view_open(struct view_table *t, struct view *v, uint64_t now)
{
	v->nopen++;
	view_touch(t, v, now);
}

static bool
idle(const struct view *v)
{
	return v->state != VIEW_TAKING && v->nopen == 0 && v->nuse == 0;
}

/* An ended view goes with its last user; what it has is dropped first. */
static void
put(struct view_table *t, struct view *v)
{
	if (v->state != VIEW_ENDED || v->nopen > 0 || v->nuse > 0)
		return;
	if (v->job != NULL) {
		t->drop(t->arg, v);
	} else {
		free(v->name);
		free(v);
	}
}

static void
done_with(struct view_table *t, struct view *v)
{
	if (v->state == VIEW_ENDED)
		put(t, v);
	else if (v->reader != NULL && v->reader->gone && idle(v))
		view_end(t, v);
}

void
view_close(struct view_table *t, struct view *v, uint64_t now)
{
	v->nopen--;
	view_touch(t, v, now);
	done_with(t, v);
}

void
view_closing(struct view *v)
{
	v->nclosing++;
}

void
view_not_closing(struct view *v)
{
	v->nclosing--;
}

void
view_use(struct view *v)
{
	v->nuse++;
}

void
view_unuse(struct view_table *t, struct view *v)
{
	v->nuse--;
	done_with(t, v);
}

struct view *
view_list_top(struct view_table *t, struct view *v, uint64_t now)
{
	struct proc_id reader, target = v->target;
	struct view *fresh;

	if (v->state != VIEW_TAKEN || v->nopen - v->nclosing > 1 ||
	    v->nuse > 0 || v->reader->gone)
		return v;
	reader = v->reader->id;
	view_end(t, v);
	fresh = view_new(t, reader, target, now);
	if (fresh != NULL)
		view_open(t, fresh, now);
	view_close(t, v, now);
	return fresh;
}

/* ---- taking ---- */

static struct view *
evictable(struct view_table *t, const struct view *for_view, uint64_t now)
{
	struct view *v;

	TAILQ_FOREACH (v, &t->views, by_use)
		if (v->state == VIEW_TAKEN && idle(v) &&
		    v->reader == for_view->reader)
			return v;
	TAILQ_FOREACH (v, &t->views, by_use)
		if (v->state == VIEW_TAKEN && idle(v) &&
		    now - v->used >= IDLE_MS)
			return v;
	return NULL;
}

bool
view_make_room(struct view_table *t, struct view *v, uint64_t now)
{
	struct view *victim;

	if (t->ntaken < t->max)
		return true;
	victim = evictable(t, v, now);
	if (victim == NULL)
		return false;
	view_end(t, victim);
	return true;
}

void
view_taking(struct view_table *t, struct view *v,
    const struct view_creds *creds, uint64_t now)
{
	v->state = VIEW_TAKING;
	v->creds = *creds;
	v->counted = v->name == NULL;
	t->ntaken += v->counted;
	view_touch(t, v, now);
}

static void
uncount(struct view_table *t, struct view *v)
{
	if (v->counted)
		t->ntaken--;
	v->counted = false;
}

void
view_taken(struct view_table *t, struct view *v, struct snap_checkpoint *cp,
    const struct snap_checkpoint_info *info, uint64_t now)
{
	v->cp = cp;
	v->info = *info;
	v->taken = now;
	v->error = 0;
	if (v->state != VIEW_ENDED)
		v->state = VIEW_TAKEN;
	view_touch(t, v, now);
	done_with(t, v);
}

void
view_failed(struct view_table *t, struct view *v, int err, uint64_t now)
{
	v->job = NULL;
	v->error = err;
	v->failed = now;
	uncount(t, v);
	if (v->state == VIEW_ENDED) {
		put(t, v);
	} else if (v->name != NULL) {
		view_end(t, v);
	} else {
		v->state = VIEW_RESERVED;
		view_touch(t, v, now);
		done_with(t, v);
	}
}

int
view_recent_error(const struct view *v, uint64_t now)
{
	return v->error == -ETIMEDOUT && now - v->failed < RETRY_MS ? v->error
								    : 0;
}

void
view_dropped(struct view_table *t, struct view *v)
{
	v->job = NULL;
	v->cp = NULL;
	put(t, v);
}

/* ---- ending ---- */

void
view_end(struct view_table *t, struct view *v)
{
	struct reader *r = v->reader;

	if (v->state == VIEW_ENDED)
		return;
	v->state = VIEW_ENDED;
	uncount(t, v);
	TAILQ_REMOVE(list_of(t, v), v, by_use);
	LIST_REMOVE(v, by_gen);
	if (r != NULL) {
		LIST_REMOVE(v, of_reader);
		v->reader = NULL;
		reader_put(t, r);
		t->nviews--;
	}
	put(t, v);
}

void
view_end_all(struct view_table *t)
{
	struct view *v;

	while ((v = TAILQ_FIRST(&t->views)) != NULL ||
	       (v = TAILQ_FIRST(&t->named)) != NULL)
		view_end(t, v);
}

void
view_reader_gone(struct view_table *t, struct reader *r)
{
	struct view *v, *next;
	bool last;

	r->gone = true;
	for (v = LIST_FIRST(&r->views); v != NULL; v = next) {
		next = LIST_NEXT(v, of_reader);
		last = next == NULL;
		if (idle(v))
			view_end(t, v); /* frees `r` with its last view */
		if (last)
			break;
	}
}

int
view_expire(struct view_table *t, uint64_t now)
{
	struct view *v, *next;
	uint64_t wait = UINT64_MAX, age;

	/* In order of use: the first that is young enough ends the search. */
	for (v = TAILQ_FIRST(&t->views); v != NULL; v = next) {
		next = TAILQ_NEXT(v, by_use);
		age = now - v->used;
		if (age < t->linger_ms) {
			wait = t->linger_ms - age;
			break;
		}
		if (idle(v))
			view_end(t, v);
		else
			wait = t->linger_ms;
	}
	if (wait == UINT64_MAX)
		return -1;
	return wait > 60000 ? 60000 : (int)wait + 1;
}

bool
view_creds_cover(
    const struct view_creds *caller, const struct view_creds *taken)
{
	const uint64_t ptrace = UINT64_C(1) << CAP_SYS_PTRACE;

	/* From another pid namespace only what is of that one is seen. */
	if (caller->pidns != 0 && caller->pidns != taken->pidns)
		return false;
	if (caller->caps & ptrace)
		return true;
	return caller->uid == taken->uid && caller->gid == taken->gid &&
	       caller->userns == taken->userns && !(taken->caps & ptrace) &&
	       !(taken->ns_eff & ~caller->ns_eff & ptrace);
}
