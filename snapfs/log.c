#include "log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048u

/* A clock that is further off is not believed. */
#define LATE_NS (60ull * 1000000000u)

struct log {
	enum snap_level level;
	int echo_fd;
	struct ring *ring;
	struct snap_log_table table;
};

static const char *const level_names[] = {
	[SNAP_ERROR] = "error",
	[SNAP_NOTICE] = "notice",
	[SNAP_STEP] = "step",
	[SNAP_DEBUG] = "debug",
};

bool
log_level_named(const char *name, enum snap_level *level)
{
	size_t i;

	for (i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(level_names[i], name) == 0) {
			*level = (enum snap_level)i;
			return true;
		}
	}
	return false;
}

const char *
log_level_name(enum snap_level level)
{
	return level_names[level];
}

struct log *
log_new(enum snap_level level, int echo_fd)
{
	struct log *log = calloc(1, sizeof(*log));

	if (log == NULL)
		return NULL;
	log->level = level;
	log->echo_fd = echo_fd;
	log->ring = ring_new();
	snap_log_table_own(&log->table);
	if (log->ring != NULL)
		return log;
	free(log);
	return NULL;
}

void
log_free(struct log *log)
{
	if (log == NULL)
		return;
	ring_free(log->ring);
	free(log);
}

enum snap_level
log_level(const struct log *log)
{
	return log->level;
}

/* ---- lines ---- */

static void
print_prefix(FILE *f, struct ring_owner owner)
{
	if (owner.kind == RING_CHECKPOINT)
		fprintf(f, "%u: ", owner.pid);
	else if (owner.kind == RING_RESTORE)
		fprintf(f, "restore by %u: ", owner.pid);
}

/* False, and nothing printed, if it was not made with one of the formats. */
static bool
print(FILE *f, const char *before, const struct snap_log_table *t,
    struct ring_owner owner, const struct snap_log_record *r)
{
	char text[LINE_MAX_BYTES], when[32];
	time_t s = (time_t)(r->time / 1000000000u);
	struct tm tm;

	if (snap_log_text(t, r, text, sizeof(text)) < 0 ||
	    localtime_r(&s, &tm) == NULL)
		return false;
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(f, "%s%s.%06" PRIu64 " %-6s ", before, when,
	    r->time % 1000000000u / 1000, level_names[r->level]);
	print_prefix(f, owner);
	fputs(text, f);
	return true;
}

static bool
print_line(FILE *f, const char *before, const struct snap_log_table *t,
    struct ring_owner owner, const struct snap_log_record *r)
{
	if (!print(f, before, t, owner, r))
		return false;
	fputc('\n', f);
	return true;
}

/* ---- writing ---- */

/* One write(2), so that lines of several threads do not mix. */
static void
echo(const struct log *log, struct ring_owner owner,
    const struct snap_log_record *r)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	ssize_t n;

	if (f == NULL)
		return;
	print_line(f, "", &log->table, owner, r);
	if (fclose(f) == 0) {
		n = write(log->echo_fd, text, len);
		(void)n; /* there is nowhere to say that this failed */
	}
	free(text);
}

struct log_job
log_job(struct log *log, uid_t uid, enum ring_kind kind, pid_t pid)
{
	return (struct log_job){
		.log = log,
		.owner = { .uid = uid, .pid = (uint32_t)pid, .kind = kind },
	};
}

void
log_record(const struct log_job *job, const struct snap_log_record *record)
{
	if (record->level > job->log->level)
		return;
	ring_put(job->log->ring, job->owner, record);
	if (job->log->echo_fd >= 0)
		echo(job->log, job->owner, record);
}

void
log_sink(void *log_job, const struct snap_log_record *record)
{
	log_record(log_job, record);
}

void
log_received(const struct log_job *job, const void *packed, size_t size)
{
	struct snap_log_record r;
	uint64_t now = snap_log_now();
	char text[LINE_MAX_BYTES];

	if (snap_log_unpack(&r, packed, size) < 0 ||
	    snap_log_text(&job->log->table, &r, text, sizeof(text)) < 0)
		return;
	if (r.time > now || now - r.time > LATE_NS)
		r.time = now;
	log_record(job, &r);
}

/* ---- reading ---- */

struct who {
	uid_t uid;
	bool all;
};

static bool
readable(void *arg, const struct ring_entry *e)
{
	const struct who *w = arg;

	return w->all || e->owner.uid == w->uid || e->owner.uid == LOG_ANYONE;
}

static char *
text_of(FILE *f, char **text)
{
	if (fclose(f) == 0)
		return *text;
	free(*text);
	return NULL;
}

char *
log_text(struct log *log, uid_t uid, bool all, size_t *len)
{
	struct who who = { uid, all };
	struct ring_entry e;
	uint64_t at = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, len);
	int one;

	if (f == NULL)
		return NULL;
	while ((one = ring_next(log->ring, &at, &e)) != 0)
		if (one > 0 && readable(&who, &e))
			print_line(f, "", &log->table, e.owner, &e.record);
	return text_of(f, &text);
}

char *
log_raw(struct log *log, uid_t uid, bool all, size_t *len)
{
	struct who who = { uid, all };
	char *buf;

	*len = ring_size(log->ring);
	buf = malloc(*len);
	if (buf != NULL)
		ring_copy(log->ring, readable, &who, buf);
	return buf;
}

/* The last errors of a kind: the newest of them, and how many there were. */
struct last_errors {
	uint64_t newest[16], times[16];
	size_t n, max;
	struct ring_owner owner; /* of the last */
	char text[LINE_MAX_BYTES];
};

/* One that says what the one before it said makes no line of its own. */
static void
note_error(struct last_errors *l, const struct snap_log_table *t,
    const struct ring_entry *e)
{
	char text[LINE_MAX_BYTES];
	bool same;

	if (snap_log_text(t, &e->record, text, sizeof(text)) < 0)
		return;
	same = l->n > 0 && strcmp(text, l->text) == 0 &&
	       l->owner.uid == e->owner.uid && l->owner.pid == e->owner.pid &&
	       l->owner.kind == e->owner.kind;
	if (!same)
		l->times[l->n++ % l->max] = 0;
	l->newest[(l->n - 1) % l->max] = e->number;
	l->times[(l->n - 1) % l->max]++;
	l->owner = e->owner;
	memcpy(l->text, text, sizeof(text));
}

static void
print_errors(FILE *f, const struct log *log, const char *key,
    const struct last_errors *l)
{
	struct ring_entry e;
	char before[32];
	uint64_t at;

	snprintf(before, sizeof(before), "%s: ", key);
	for (size_t i = l->n > l->max ? l->n - l->max : 0; i < l->n; i++) {
		at = l->newest[i % l->max];
		/* It may have been overwritten by now. */
		if (ring_next(log->ring, &at, &e) <= 0 ||
		    e.number != l->newest[i % l->max] ||
		    !print(f, before, &log->table, e.owner, &e.record))
			continue;
		if (l->times[i % l->max] > 1)
			fprintf(
			    f, " (%" PRIu64 " times)", l->times[i % l->max]);
		fputc('\n', f);
	}
}

char *
log_errors(struct log *log, uid_t uid, bool all, const char *key, size_t max,
    size_t *len)
{
	struct who who = { uid, all };
	struct last_errors l = { .max = max };
	struct ring_entry e;
	uint64_t at = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, len);
	int one;

	if (f == NULL)
		return NULL;
	if (max > sizeof(l.newest) / sizeof(l.newest[0]))
		l.max = sizeof(l.newest) / sizeof(l.newest[0]);
	while ((one = ring_next(log->ring, &at, &e)) != 0)
		if (one > 0 && readable(&who, &e) &&
		    e.record.level == SNAP_ERROR)
			note_error(&l, &log->table, &e);
	print_errors(f, log, key, &l);
	return text_of(f, &text);
}

size_t
log_print_ring(FILE *f, const struct ring *r, const struct snap_log_table *t)
{
	struct ring_entry e;
	uint64_t at = 0;
	size_t bad = 0;
	int one;

	while ((one = ring_next(r, &at, &e)) != 0)
		if (one < 0 || !print_line(f, "", t, e.owner, &e.record))
			bad++;
	if (ring_lost(r) != 0)
		fprintf(f, "%" PRIu64 " records were lost\n", ring_lost(r));
	return bad;
}
