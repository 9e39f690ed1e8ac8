#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_LINES 2048u
#define LOG_LINE_MAX 1400u

struct line {
	struct timespec time;
	uid_t uid;
	enum snap_level level;
	char *text;
};

struct log {
	pthread_mutex_t lock; /* of all that follows but level and echo_fd */
	enum snap_level level;
	int echo_fd;
	size_t next; /* where the next line goes; before it the newest */
	struct line ring[LOG_LINES];
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
	pthread_mutex_init(&log->lock, NULL);
	log->level = level;
	log->echo_fd = echo_fd;
	return log;
}

void
log_free(struct log *log)
{
	size_t i;

	if (log == NULL)
		return;
	for (i = 0; i < LOG_LINES; i++)
		free(log->ring[i].text);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

/* ---- writing ---- */

static void
print_line(FILE *f, const struct line *l)
{
	char when[32];
	struct tm tm;

	localtime_r(&l->time.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(f, "%s.%06ld %-6s %s\n", when, l->time.tv_nsec / 1000,
	    level_names[l->level], l->text);
}

/* One write(2), so that lines of several threads do not mix. */
static void
echo(int fd, const struct line *l)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	ssize_t n;

	if (f == NULL)
		return;
	print_line(f, l);
	if (fclose(f) == 0) {
		n = write(fd, text, len);
		(void)n; /* there is nowhere to say that this failed */
	}
	free(text);
}

/* What comes from elsewhere (names, paths) must stay on its line. */
static void
make_printable(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
}

void
log_line(struct log *log, uid_t uid, enum snap_level level, const char *text)
{
	struct line l = { .uid = uid, .level = level };
	char *old;

	if (level > log->level)
		return;
	clock_gettime(CLOCK_REALTIME, &l.time);
	l.text = strndup(text, LOG_LINE_MAX);
	if (l.text == NULL)
		return;
	make_printable(l.text);
	if (log->echo_fd >= 0)
		echo(log->echo_fd, &l);

	pthread_mutex_lock(&log->lock);
	old = log->ring[log->next].text;
	log->ring[log->next] = l;
	log->next = (log->next + 1) % LOG_LINES;
	pthread_mutex_unlock(&log->lock);
	free(old);
}

void
log_put(struct log *log, uid_t uid, enum snap_level level, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_line(log, uid, level, text);
}

void
log_sink(void *arg, enum snap_level level, const char *line)
{
	struct log_job *job = arg;

	log_put(job->log, job->uid, level, "%s%s", job->prefix, line);
}

/* ---- reading ---- */

static bool
readable(const struct line *l, uid_t uid, bool all)
{
	return l->text != NULL &&
	       (all || l->uid == uid || l->uid == LOG_ANYONE);
}

char *
log_text(struct log *log, uid_t uid, bool all, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);
	const struct line *l;
	size_t i;

	if (f == NULL)
		return NULL;
	pthread_mutex_lock(&log->lock);
	for (i = 0; i < LOG_LINES; i++) {
		l = &log->ring[(log->next + i) % LOG_LINES];
		if (readable(l, uid, all))
			print_line(f, l);
	}
	pthread_mutex_unlock(&log->lock);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

char *
log_errors(struct log *log, uid_t uid, bool all, const char *key, size_t max,
    size_t *len)
{
	const struct line *l, *v[LOG_LINES];
	size_t i, n = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	if (f == NULL)
		return NULL;
	pthread_mutex_lock(&log->lock);
	for (i = 0; i < LOG_LINES; i++) {
		l = &log->ring[(log->next + i) % LOG_LINES];
		if (readable(l, uid, all) && l->level == SNAP_ERROR)
			v[n++] = l;
	}
	for (i = n > max ? n - max : 0; i < n; i++) {
		fprintf(f, "%s: ", key);
		print_line(f, v[i]);
	}
	pthread_mutex_unlock(&log->lock);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
