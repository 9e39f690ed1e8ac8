/*
 * templates.h - the templates that the daemon keeps: which there are, which is
 * whose, and when one goes.
 *
 * A template is a process that has the memory of an image and never runs.  It
 * serves whoever has its socket; we keep one end, and give copies to agents.
 * It is for restores of the same image, by a process with the same rights in
 * the same place as the one that it was made for, and for no others.
 *
 * The next clone of it may be made ahead, when there is room (spare.h).
 *
 * This file decides and keeps; it closes descriptors, and makes no process.
 * All of it is under one lock of the caller's.
 */
#ifndef TEMPLATES_H
#define TEMPLATES_H

#include "snap.h"
#include "spare.h"

#include <sys/queue.h>

/* What an image is, as far as memory goes: identity.h. */
struct identity {
	uint64_t dev, ino; /* its directory */
	uint64_t sum[2];   /* of all that its memory comes from */
	uint64_t bytes;	   /* of `pages` */
};

struct template
{
	struct identity image;
	char *place; /* owned */
	char *path;  /* owned, for people */
	uid_t uid;
	pid_t pid;
	struct snap_template t;
	/*
	 * Of one that snapfs-run(1) made: the session that it is in, and the
	 * socket of its keeper, owned, which is the parent of what is cloned
	 * from it.  0: an agent made it.
	 */
	pid_t session;
	int keeper;
	struct spare spare;
	bool due;	/* it was used, and is to have another */
	unsigned nuse;	/* agents at work with it */
	bool gone;	/* not in the list any more */
	uint64_t made;	/* instances */
	uint64_t since; /* ms */
	uint64_t used;	/* ms */
	TAILQ_ENTRY(template) by_use;
};

#define TEMPLATES_SEEN 64u

struct templates {
	unsigned max;	     /* 0: none is made */
	uint64_t max_bytes;  /* of `pages`, of all together */
	unsigned max_spares; /* likewise */
	int proc;	     /* /proc, borrowed */
	unsigned n, nspares;
	uint64_t bytes;		       /* with what spares cost */
	uint64_t dropped, spares_used; /* so far */
	TAILQ_HEAD(, template) list;   /* the least recently used first */
	struct {
		struct identity image;
		uint64_t place; /* 0, or a hash of it */
		uid_t uid;
	} seen[TEMPLATES_SEEN]; /* restored lately, without one */
	unsigned next_seen;
	LIST_HEAD(, template_making) making;
};

/* One that is being made, for those who wait for it. */
struct template_making {
	const struct identity *image;
	const char *place;
	LIST_ENTRY(template_making) entry;
};

void templates_init(struct templates *t);

/*
 * The template for this image in this place, in use until templates_put(); NULL
 * if there is none.  Others of the same directory, which has changed, go.
 */
struct template *templates_get(struct templates *t,
    const struct identity *image, const char *place, uint64_t now);
void templates_put(struct templates *t, struct template *v);

/*
 * Shall one be made?  Yes if it is `wanted`, or the same user restored this
 * image before, in this place unless that is NULL: templates_see().
 */
bool templates_worth(const struct templates *t, const struct identity *image,
    const char *place, uid_t uid, bool wanted);
/* It is restored, without one; or it was not, after all. */
void templates_see(struct templates *t, const struct identity *image,
    const char *place, uid_t uid);
void templates_unsee(struct templates *t, const struct identity *image,
    const char *place, uid_t uid);

/* One is being made, from begin to end, which takes one that has not begun. */
void templates_begin(struct templates *t, struct template_making *m,
    const struct identity *image, const char *place);
void templates_end(struct template_making *m);
bool templates_is_made(
    const struct templates *t, const struct identity *image, const char *place);

/*
 * Keep one that was made, and make room for it; the descriptors are taken
 * over, the texts are copied.  In use, as by templates_get().  NULL: it is not
 * kept.
 */
struct template *templates_add(
    struct templates *t, const struct template *made, uint64_t now);

/* This one goes, once it is not in use; NULL: nothing. */
void templates_drop(struct templates *t, struct template *v);
/* The least recently used one goes; false if there is none. */
bool templates_drop_one(struct templates *t);
void templates_drop_all(struct templates *t);
/* Those that have ended. */
void templates_sweep(struct templates *t);

/* Is this process a template, or the spare of one? */
bool templates_has(struct templates *t, pid_t pid);

/* Those that are to have a spare get it, where there is room. */
void templates_bear(struct templates *t);
/* The spare of v, if any that hears, as of spare_take(). */
struct spare templates_take_spare(struct templates *t, struct template *v);
/* All spares go; false if there is none. */
bool templates_drop_spares(struct templates *t);

#endif
