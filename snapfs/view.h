/*
 * view.h - readers and the checkpoints they see.
 *
 * A view is what one reader (a process, all its threads) sees of one target,
 * and has a generation number that appears in its inodes.  It begins reserved,
 * without a checkpoint, when the names are listed; it is taken by the first
 * look-up of a file; it ends when
 *
 *	its reader has exited and nothing of it is open,
 *	its reader lists the top again and nothing of it is open,
 *	nothing of it is open or was used for the linger time, or
 *	it is idle and another needs its place.
 *
 * A *named* view (PID@NAME) has no reader of its own: it is taken at once, is
 * seen by all whose rights are enough, and ends when it is asked to.
 *
 * This file decides; it starts nothing, knows no time but what it is told, and
 * is tested without a mount.  All of it is under one lock of the caller's.
 */
#ifndef VIEW_H
#define VIEW_H

#include "node.h"
#include "snap.h"

#include <sys/queue.h>

enum view_state {
	VIEW_RESERVED, /* no checkpoint (yet, or the last try failed) */
	VIEW_TAKING,
	VIEW_TAKEN,
	VIEW_ENDED, /* not in the table any more */
};

/* With whose rights a checkpoint was taken. */
struct view_creds {
	uid_t uid; /* those of the file system */
	gid_t gid;
	uint64_t caps; /* effective; none in another user namespace */
	/* For access.c, and where they are not 0 nobody else's: */
	uid_t ruid; /* the real ones */
	gid_t rgid;
	pid_t tid;		 /* who has them */
	uint64_t pidns, userns;	 /* 0: the daemon's own */
	uint64_t ns_eff, ns_prm; /* capabilities in another user namespace */
};

struct reader;

struct view {
	uint32_t gen;
	enum view_state state;
	struct proc_id target;
	struct reader *reader; /* NULL: it has a name, or has ended */
	char *name;	       /* the whole of PID@NAME, owned; else NULL */
	struct view_creds creds;
	unsigned nopen;	   /* open files and directories */
	unsigned nclosing; /* of them, closed by close(2), not yet released */
	unsigned nuse;	 /* calls at work in it, whoever may end it meanwhile */
	bool counted;	 /* in ntaken */
	uint64_t used;	 /* ms, when it was last used */
	uint64_t taken;	 /* ms, when the checkpoint was there */
	int error;	 /* of the last try, 0 or -errno */
	uint64_t failed; /* ms, and when that was */
	struct job *job; /* of VIEW_TAKING and VIEW_TAKEN; see job.h */
	struct snap_checkpoint *cp; /* VIEW_TAKEN, and ENDED until dropped */
	struct snap_checkpoint_info info;
	LIST_ENTRY(view) of_reader;
	TAILQ_ENTRY(view) by_use; /* the least recently used first */
	LIST_ENTRY(view) by_gen;
};

struct reader {
	struct proc_id id;
	int pidfd; /* says when it exits; the front end's, -1: none */
	bool gone;
	LIST_HEAD(, view) views;
	LIST_ENTRY(reader) link;
};

#define VIEW_BUCKETS 256u

struct view_table {
	unsigned max;	    /* checkpoints at once */
	uint64_t linger_ms; /* how long an unused one is kept */
	unsigned ntaken;    /* being taken, or taken and not ended */
	unsigned nviews;    /* without the named ones */
	unsigned max_named; /* of one user */
	uint32_t last_gen;
	TAILQ_HEAD(view_list, view) views;
	struct view_list named;
	LIST_HEAD(, view) by_gen[VIEW_BUCKETS];
	LIST_HEAD(, reader) readers[VIEW_BUCKETS];
	/*
	 * Called for a view that has ended, is not in use, and has a job: drop
	 * the checkpoint, then view_dropped().  It still names its target, its
	 * reader no more.
	 */
	void (*drop)(void *arg, struct view *v);
	/* Called before a reader is freed, to close its pidfd. */
	void (*reader_unused)(void *arg, struct reader *r);
	void *arg;
};

void view_table_init(struct view_table *t);

/* What `reader` sees of `target` (VIEW_RESERVED, if it is new), NULL: ENOMEM.
 */
struct view *view_get(struct view_table *t, struct proc_id reader,
    struct proc_id target, uint64_t now);

/* The same if there is one, else NULL. */
struct view *view_find(
    struct view_table *t, struct proc_id reader, struct proc_id target);

/* The reader's view of a process with this pid that has a checkpoint. */
struct view *view_find_pid(
    struct view_table *t, struct proc_id reader, pid_t pid);

struct view *view_find_gen(struct view_table *t, uint32_t gen);

/* ---- with a name ---- */

/*
 * A new one of `target`, to be taken with view_taking().  0, or -EEXIST,
 * -EDQUOT if this user has too many, -ENOMEM.  `name` is copied.
 */
int view_named_new(struct view_table *t, const char *name,
    struct proc_id target, const struct view_creds *creds, uint64_t now,
    struct view **out);

/* The one with that name that has its checkpoint, NULL if there is none. */
struct view *view_named_find(struct view_table *t, const char *name);

/*
 * Give it another name.  If that is another's: -ENOTEMPTY, since a checkpoint
 * is a directory that is not empty, or -EEXIST with `noreplace`.
 */
int view_named_rename(
    struct view_table *t, struct view *v, const char *name, bool noreplace);

/* ---- all ---- */

/* Has it, with its checkpoint, nothing but `delta`, which is not wanted? */
static inline bool
view_lacks(const struct view *v, bool delta_wanted)
{
	return v->info.only_delta && !delta_wanted;
}

/* Whose its directories are: the target's, or TREE_OWN. */
struct proc_id view_owner(const struct view *v);

/* Something was asked of it. */
void view_touch(struct view_table *t, struct view *v, uint64_t now);

/* A file or a directory of it is opened, or was closed. */
void view_open(struct view_table *t, struct view *v, uint64_t now);
void view_close(struct view_table *t, struct view *v, uint64_t now);

/*
 * A file of it had close(2) called on it, and is most likely to be released
 * soon; it was read again (another descriptor of it is open), or is released.
 */
void view_closing(struct view *v);
void view_not_closing(struct view *v);

/* A call works with it: if it ends, it is not dropped before view_unuse(). */
void view_use(struct view *v);
void view_unuse(struct view_table *t, struct view *v);

/*
 * Its reader lists the top of the directory, with a handle that is open in `v`.
 * If nothing else is, and there is a checkpoint, a new view begins, and the
 * handle is open in that.  Returns the handle's view; NULL: no memory, and the
 * handle is closed.
 */
struct view *view_list_top(struct view_table *t, struct view *v, uint64_t now);

/*
 * May a checkpoint be taken for `v`?  Ends an idle one if there is need of its
 * place: first one of the same reader, since that has gone on to another
 * process; then another's, but not in the middle of a copy, which would go on
 * with a checkpoint of another instant.  False: there is no place.
 */
bool view_make_room(struct view_table *t, struct view *v, uint64_t now);

void view_taking(struct view_table *t, struct view *v,
    const struct view_creds *creds, uint64_t now);

/*
 * The checkpoint is there.  If the view has ended meanwhile, it is dropped when
 * it is used no more.
 */
void view_taken(struct view_table *t, struct view *v,
    struct snap_checkpoint *cp, const struct snap_checkpoint_info *info,
    uint64_t now);

/* It failed with `err`, and the job is gone.  A named one ends. */
void view_failed(struct view_table *t, struct view *v, int err, uint64_t now);

/*
 * The error to answer without another try: of a process that would not freeze
 * a moment ago, lest a copy waits anew for each of its files.  0: try.
 */
int view_recent_error(const struct view *v, uint64_t now);

/* The checkpoint was dropped, and the job is gone.  Frees the view. */
void view_dropped(struct view_table *t, struct view *v);

void view_reader_gone(struct view_table *t, struct reader *r);

/*
 * End what has been unused for too long.  Returns when to call again, in ms
 * from now, -1 if there is nothing to wait for.
 */
int view_expire(struct view_table *t, uint64_t now);

void view_end(struct view_table *t, struct view *v);
void view_end_all(struct view_table *t);

/* Are a caller's rights enough for what was taken with these? */
bool view_creds_cover(
    const struct view_creds *caller, const struct view_creds *taken);

#endif
