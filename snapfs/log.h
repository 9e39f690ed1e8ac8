/*
 * log.h - what happened, kept in a ring that .log shows.
 *
 * Thread-safe.  Every line belongs to the user for whom the work was done: a
 * sentence may name another user's files, so only he and root read it.
 */
#ifndef LOG_H
#define LOG_H

#include "snap.h"

struct log;

/* `echo_fd` gets every line at once too, -1: none.  NULL: no memory. */
struct log *log_new(enum snap_level level, int echo_fd);
void log_free(struct log *log);

#define LOG_ANYONE ((uid_t)-1) /* a line that anyone may read */

void log_line(
    struct log *log, uid_t uid, enum snap_level level, const char *line);
void log_put(struct log *log, uid_t uid, enum snap_level level, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));

/*
 * The lines that `uid` may read (all of them if `all`), oldest first, to be
 * freed; NULL: no memory.
 */
char *log_text(struct log *log, uid_t uid, bool all, size_t *len);

/* Only those of SNAP_ERROR, each after `key: `; at most `max`, the last. */
char *log_errors(struct log *log, uid_t uid, bool all, const char *key,
    size_t max, size_t *len);

bool log_level_named(const char *name, enum snap_level *level);
const char *log_level_name(enum snap_level level);

/*
 * One job's share of the log: its user, and what each line begins with.  Its
 * address is snap_options.log_arg, log_sink() is .log.
 */
struct log_job {
	struct log *log;
	uid_t uid;
	char prefix[48];
};

void log_sink(void *log_job, enum snap_level level, const char *line);

#endif
