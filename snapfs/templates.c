#include "templates.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include <xxhash.h>

void
templates_init(struct templates *t)
{
	TAILQ_INIT(&t->list);
	LIST_INIT(&t->making);
}

static bool
same_image(const struct identity *a, const struct identity *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->sum[0] == b->sum[0] &&
	       a->sum[1] == b->sum[1];
}

/* ---- the end of one ---- */

/*
 * It ends when nobody has its socket; but it may be stopped, so it is killed
 * if nobody is at work with it.
 */
static void
release(struct template *v)
{
	close(v->t.control);
	if (v->keeper > 0)
		close(v->keeper);
	if (v->nuse == 0)
		pidfd_send_signal(v->t.pidfd, SIGKILL, NULL, 0);
	close(v->t.pidfd);
	free(v->place);
	free(v->path);
	free(v);
}

/* It has none now. */
static void
uncount_spare(struct templates *t, uint64_t bytes)
{
	t->nspares--;
	t->bytes -= bytes;
}

static bool
drop_spare(struct templates *t, struct template *v)
{
	if (v->spare.sock <= 0)
		return false;
	uncount_spare(t, v->spare.bytes);
	spare_end(&v->spare);
	return true;
}

static void
drop(struct templates *t, struct template *v)
{
	drop_spare(t, v);
	TAILQ_REMOVE(&t->list, v, by_use);
	t->n--;
	t->bytes -= v->image.bytes;
	t->dropped++;
	v->gone = true;
	if (v->nuse == 0)
		release(v);
}

void
templates_drop(struct templates *t, struct template *v)
{
	if (v != NULL && !v->gone)
		drop(t, v);
}

bool
templates_drop_one(struct templates *t)
{
	struct template *v = TAILQ_FIRST(&t->list);

	if (v == NULL)
		return false;
	drop(t, v);
	return true;
}

void
templates_drop_all(struct templates *t)
{
	while (templates_drop_one(t))
		;
}

static bool
has_ended(const struct template *v)
{
	struct pollfd p = { .fd = v->t.pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void
look_at_spare(struct templates *t, struct template *v)
{
	uint64_t bytes = v->spare.bytes;

	if (v->spare.sock > 0 && !spare_look(&v->spare, t->proc, v->uid))
		uncount_spare(t, bytes);
}

void
templates_sweep(struct templates *t)
{
	struct template *v, *next;

	for (v = TAILQ_FIRST(&t->list); v != NULL; v = next) {
		next = TAILQ_NEXT(v, by_use);
		if (has_ended(v))
			drop(t, v);
		else
			look_at_spare(t, v);
	}
}

/* ---- spares ---- */

static bool
drop_one_spare(struct templates *t)
{
	struct template *v;

	TAILQ_FOREACH (v, &t->list, by_use)
		if (drop_spare(t, v))
			return true;
	return false;
}

bool
templates_drop_spares(struct templates *t)
{
	bool any = false;

	while (drop_one_spare(t))
		any = true;
	return any;
}

/* That of a template which was used longer ago gives way to it. */
static void
bear_one(struct templates *t, struct template *v)
{
	uint64_t bytes = spare_cost(v->image.bytes);

	if (t->max_spares == 0 || t->bytes + bytes > t->max_bytes)
		return;
	if (t->nspares >= t->max_spares)
		drop_one_spare(t);
	spare_order(&v->spare, &v->t, bytes);
	if (v->spare.sock <= 0)
		return;
	t->nspares++;
	t->bytes += bytes;
}

void
templates_bear(struct templates *t)
{
	struct template *v;

	TAILQ_FOREACH (v, &t->list, by_use) {
		if (v->due && v->spare.sock <= 0)
			bear_one(t, v);
		v->due = false;
	}
}

struct spare
templates_take_spare(struct templates *t, struct template *v)
{
	if (spare_is_deaf(&v->spare, t->proc))
		drop_spare(t, v);
	if (v->spare.sock > 0) {
		uncount_spare(t, v->spare.bytes);
		t->spares_used++;
	}
	return spare_take(&v->spare);
}

/* ---- finding ---- */

static void
use(struct templates *t, struct template *v, uint64_t now)
{
	v->nuse++;
	v->used = now;
	TAILQ_REMOVE(&t->list, v, by_use);
	TAILQ_INSERT_TAIL(&t->list, v, by_use);
}

struct template *
templates_get(struct templates *t, const struct identity *image,
    const char *place, uint64_t now)
{
	struct template *v, *next, *found = NULL;

	templates_sweep(t);
	for (v = TAILQ_FIRST(&t->list); v != NULL; v = next) {
		next = TAILQ_NEXT(v, by_use);
		if (v->image.dev != image->dev || v->image.ino != image->ino)
			continue;
		if (!same_image(&v->image, image))
			drop(t, v);
		else if (strcmp(v->place, place) == 0)
			found = v;
	}
	if (found != NULL)
		use(t, found, now);
	return found;
}

void
templates_put(struct templates *t, struct template *v)
{
	(void)t;
	if (v != NULL && --v->nuse == 0 && v->gone)
		release(v);
}

static uint64_t
hash_of(const char *place)
{
	return place == NULL ? 0 : XXH3_64bits(place, strlen(place)) | 1;
}

/* Its place in `seen`, or TEMPLATES_SEEN. */
static unsigned
seen_at(const struct templates *t, const struct identity *image,
    const char *place, uid_t uid)
{
	uint64_t hash = hash_of(place);
	unsigned i;

	for (i = 0; i < TEMPLATES_SEEN; i++)
		if (t->seen[i].uid == uid && t->seen[i].place == hash &&
		    t->seen[i].image.ino != 0 &&
		    same_image(&t->seen[i].image, image))
			break;
	return i;
}

bool
templates_worth(const struct templates *t, const struct identity *image,
    const char *place, uid_t uid, bool wanted)
{
	if (t->max == 0 || image->bytes > t->max_bytes)
		return false;
	return wanted || seen_at(t, image, place, uid) < TEMPLATES_SEEN;
}

void
templates_see(struct templates *t, const struct identity *image,
    const char *place, uid_t uid)
{
	if (t->max == 0 || seen_at(t, image, place, uid) < TEMPLATES_SEEN)
		return;
	t->seen[t->next_seen].image = *image;
	t->seen[t->next_seen].place = hash_of(place);
	t->seen[t->next_seen].uid = uid;
	t->next_seen = (t->next_seen + 1) % TEMPLATES_SEEN;
}

void
templates_unsee(struct templates *t, const struct identity *image,
    const char *place, uid_t uid)
{
	unsigned i = seen_at(t, image, place, uid);

	if (i < TEMPLATES_SEEN)
		t->seen[i].image.ino = 0;
}

bool
templates_has(struct templates *t, pid_t pid)
{
	struct template *v;

	TAILQ_FOREACH (v, &t->list, by_use) {
		if (v->spare.sock > 0 && v->spare.pid == 0)
			look_at_spare(t, v);
		if (v->pid == pid || v->spare.pid == pid)
			return true;
	}
	return false;
}

/* ---- a new one ---- */

void
templates_begin(struct templates *t, struct template_making *m,
    const struct identity *image, const char *place)
{
	m->image = image;
	m->place = place;
	LIST_INSERT_HEAD(&t->making, m, entry);
}

void
templates_end(struct template_making *m)
{
	if (m->place != NULL)
		LIST_REMOVE(m, entry);
	m->place = NULL;
}

bool
templates_is_made(
    const struct templates *t, const struct identity *image, const char *place)
{
	const struct template_making *m;

	LIST_FOREACH (m, &t->making, entry)
		if (same_image(m->image, image) && strcmp(m->place, place) == 0)
			return true;
	return false;
}

/* Two may have been made of one image at the same time. */
static bool
is_there(const struct templates *t, const struct template *made)
{
	const struct template *v;

	TAILQ_FOREACH (v, &t->list, by_use)
		if (same_image(&v->image, &made->image) &&
		    strcmp(v->place, made->place) == 0)
			return true;
	return false;
}

struct template *
templates_add(struct templates *t, const struct template *made, uint64_t now)
{
	struct template *v = malloc(sizeof(*v));

	if (v != NULL) {
		*v = *made;
		v->place = strdup(made->place);
		v->path = strdup(made->path);
	}
	if (v == NULL || v->place == NULL || v->path == NULL ||
	    is_there(t, made) || t->max == 0 ||
	    made->image.bytes > t->max_bytes) {
		/* Whoever made it has the other copy, and needs it still. */
		close(made->t.control);
		close(made->t.pidfd);
		if (made->keeper > 0)
			close(made->keeper);
		if (v != NULL) {
			free(v->place);
			free(v->path);
		}
		free(v);
		return NULL;
	}
	while (t->bytes + v->image.bytes > t->max_bytes && drop_one_spare(t))
		;
	while (t->n > 0 &&
	       (t->n >= t->max || t->bytes + v->image.bytes > t->max_bytes))
		templates_drop_one(t);
	v->nuse = 1;
	v->due = false;
	v->spare = (struct spare){ 0 };
	v->gone = false;
	v->since = v->used = now;
	TAILQ_INSERT_TAIL(&t->list, v, by_use);
	t->n++;
	t->bytes += v->image.bytes;
	return v;
}
