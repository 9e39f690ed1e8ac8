/*
 * log.h - what happened, kept in a ring that .log shows.
 *
 * Thread-safe, and nobody waits for another.  Every record belongs to the user
 * for whom the work was done: a sentence may name another user's files, so only
 * he and root read it.
 */
#ifndef LOG_H
#define LOG_H

#include "log_ring.h"

#include <stdio.h>

struct log;

/* `echo_fd` gets every line at once too, -1: none.  NULL: no memory. */
struct log *log_new(enum snap_level level, int echo_fd);
void log_free(struct log *log);

enum snap_level log_level(const struct log *log);

#define LOG_ANYONE ((uid_t)-1) /* what anyone may read */

/* One job's share of the log.  Its address is snap_options.log_arg. */
struct log_job {
	struct log *log;
	struct ring_owner owner;
};

struct log_job log_job(
    struct log *log, uid_t uid, enum ring_kind kind, pid_t pid);

/* snap_options.log */
void log_sink(void *log_job, const struct snap_log_record *record);

/*
 * What another process says is its record; what is wrong with it, or finer than
 * is wanted, is left out.
 */
void log_received(const struct log_job *job, const void *packed, size_t size);

void log_record(
    const struct log_job *job, const struct snap_log_record *record);

/* A record of the front end's own, of a job or of none (snap_log.h). */
/* clang-format off */
#define log_put_job(job, lvl, fmt, ...) \
	do { \
		const struct log_job *log_put_j = (job); \
		if ((lvl) <= log_level(log_put_j->log)) \
			SNAP_LOG(log_record(log_put_j, &snap_log_record), \
			    lvl, fmt, ##__VA_ARGS__); \
	} while (0)
#define log_put(log, uid, lvl, fmt, ...) \
	do { \
		const struct log_job log_put_plain = \
		    log_job(log, uid, RING_PLAIN, 0); \
		log_put_job(&log_put_plain, lvl, fmt, ##__VA_ARGS__); \
	} while (0)
/* clang-format on */

/*
 * What `uid` may read (everything if `all`), oldest first, as lines or as a ring
 * that snapfs-log(1) reads; to be freed.  NULL: no memory.
 */
char *log_text(struct log *log, uid_t uid, bool all, size_t *len);
char *log_raw(struct log *log, uid_t uid, bool all, size_t *len);

/* Only lines of SNAP_ERROR, each after `key: `; at most `max`, the last. */
char *log_errors(struct log *log, uid_t uid, bool all, const char *key,
    size_t max, size_t *len);

bool log_level_named(const char *name, enum snap_level *level);
const char *log_level_name(enum snap_level level);

/*
 * Every line of a ring, and a last one if records were lost.  The number of
 * entries that are damaged or were made with other formats, which are left out.
 */
size_t log_print_ring(
    FILE *f, const struct ring *r, const struct snap_log_table *t);

#endif
