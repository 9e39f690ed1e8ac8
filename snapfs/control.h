/*
 * control.h - what is written into .restore, and what is answered there.
 *
 * A request is the path of a checkpoint's directory on a line of its own, and
 * options on lines before or after it; the last newline may be missing.  The
 * options before it may be written separately: bash's printf writes each line
 * with a write(2) of its own.  Options after it may be so too where the path is
 * one in this mount (control_is_below): a running process cannot be restored
 * beside itself without one.  (A directory called "stopped" is ./stopped.)
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONTROL_MAX (3u * PATH_MAX + 256) /* the longest request, bytes */
#define CONTROL_IGNORE 4096u
#define CONTROL_PARENTS (2u * PATH_MAX)

#define CONTROL_INSTANCES_MAX 500u /* so many pids go into an answer */

struct restore_request {
	char path[PATH_MAX]; /* "": not given yet */
	bool new_pid;	     /* pid=new */
	bool stopped;
	bool wait;
	bool replace;
	bool inherit;	    /* stdio=inherit */
	bool eager;	    /* lazy=no */
	bool own_cgroup;    /* cgroup=writer */
	unsigned instances; /* instances=N, 0 if not given */
	unsigned broker;    /* broker=FD, 0 if not given */
	enum { TEMPLATE_AUTO, TEMPLATE_YES, TEMPLATE_NO } template;
	char ignore[CONTROL_IGNORE];   /* ignore=WHAT, each on a line */
	char tty[PATH_MAX];	       /* tty=PATH, "" if not given */
	char parents[CONTROL_PARENTS]; /* parent=DIR, each on a line */
};

/*
 * Add what `text` says to `out`, which begins zeroed.  0, or -errno with a
 * sentence in `why`.  While out->path is "", the path is still to come.  Pure;
 * `text` need not be terminated and may hold anything.
 */
int control_parse(const char *text, size_t len, struct restore_request *out,
    char *why, size_t whysize);

/*
 * Is `path`, seen from the directory `cwd`, below the directory `mountpoint`,
 * by name?  Pure; nothing is resolved.
 */
bool control_is_below(
    const char *path, const char *cwd, const char *mountpoint);

/*
 * The last answer that each user got, so that .restore can be read later.
 * Those of the users who asked least recently are forgotten.
 */
#define CONTROL_ANSWER_MAX 6144u
#define CONTROL_USERS 64u

struct control_answers {
	struct {
		bool used;
		uid_t uid;
		unsigned long when;
		char text[CONTROL_ANSWER_MAX];
	} v[CONTROL_USERS];
	unsigned long clock;
};

void control_answer_put(struct control_answers *a, uid_t uid, const char *text);
/* "" if there is none; owned by `a`. */
const char *control_answer_get(const struct control_answers *a, uid_t uid);

#endif
