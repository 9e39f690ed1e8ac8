/*
 * subject.c - the protocol between a subject and the harness.
 *
 * Nothing here allocates memory, and no descriptor is held, so that a subject
 * is made of what it set up itself.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "../subject.h"
#include "snapshot.h"

#define MS 1000000ll
/* In a longer silence than this between two looks we may have been dead. */
#define GAP (60 * MS)

static char dir[512], check_path[600];
static char report[8192];
static size_t report_len;
static unsigned allowed;
static bool forgotten;
static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;
static struct snapshot before, after;

static volatile sig_atomic_t noticed[65];
static int64_t alive, last_look;
static uint64_t born; /* clock ticks since boot; 0: not known yet */

static void
notice(int signo)
{
	noticed[signo] = 1;
}

static void
put_file(const char *name, const char *text, size_t len)
{
	char tmp[600], path[600];
	int fd;

	snprintf(tmp, sizeof(tmp), "%s/%s.new", dir, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len || close(fd) != 0 ||
	    rename(tmp, path) != 0)
		_exit(3);
}

void
subject_init(int argc, char **argv)
{
	/* Ignored by default: without a handler nobody would notice. */
	static const int quiet[] = { SIGCHLD, SIGCONT, SIGURG, SIGWINCH };
	struct sigaction sa = { .sa_handler = notice };
	size_t i;

	if (argc < 2 || argv[1][0] != '/') {
		fprintf(stderr, "usage: %s /DIR [ARG...]\n", argv[0]);
		exit(2);
	}
	snprintf(dir, sizeof(dir), "%s", argv[1]);
	snprintf(check_path, sizeof(check_path), "%s/check", dir);
	for (i = 0; i < sizeof(quiet) / sizeof(quiet[0]) &&
		    getenv("SUBJECT_DEAF") == NULL;
	     i++)
		must(sigaction(quiet[i], &sa, NULL) == 0);
	last_look = subject_now(CLOCK_MONOTONIC);
}

const char *
subject_path(const char *name)
{
	static char path[8][600];
	static unsigned next;
	char *p = path[next++ % 8];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

const char *
subject_file(const char *name, size_t len, unsigned seed)
{
	const char *path = subject_path(name);
	static unsigned char block[4096];
	size_t done, part;
	int fd;

	must((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644)) >= 0);
	for (done = 0; done < len; done += part) {
		part = len - done < sizeof(block) ? len - done : sizeof(block);
		subject_fill(block, part, seed + (unsigned)(done / 4096));
		must(write(fd, block, part) == (ssize_t)part);
	}
	must(close(fd) == 0);
	return path;
}

void
subject_allow(unsigned what)
{
	allowed |= what;
}

/* Field 22 of /proc/self/stat, of which the second may have anything in it. */
static uint64_t
start_time(void)
{
	char text[1024], *s;
	ssize_t n;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	s = strrchr(text, ')');
	for (int i = 2; s != NULL && i < 22; i++)
		s = strchr(s + 1, ' ');
	return s == NULL ? 0 : strtoull(s, NULL, 10);
}

void
subject_ready(void)
{
	char text[32];
	int n;

	if (report_len > 0)
		subject_die("already wrong when it was set up");
	born = start_time();
	snapshot_take(&before, allowed);
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	put_file("ready", text, (size_t)n);
}

/* A machine that stood still is no death: another process is. */
static bool
was_dead(void)
{
	uint64_t now = start_time(), before;

	before = __atomic_exchange_n(&born, now, __ATOMIC_SEQ_CST);
	return now == 0 || now != before;
}

void
subject_rest(void)
{
	struct timespec ts = { 0, 3 * MS };
	int64_t seen, now;

	if (nanosleep(&ts, NULL) != 0)
		subject_fail("nanosleep: %s", strerror(errno));
	/* Other threads look, too: what one has seen is before what comes now. */
	seen = __atomic_load_n(&last_look, __ATOMIC_SEQ_CST);
	now = subject_now(CLOCK_MONOTONIC);
	if (now < seen)
		subject_fail("CLOCK_MONOTONIC went back by %lld ns",
		    (long long)(seen - now));
	if (__atomic_compare_exchange_n(&last_look, &seen, now, false,
		__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) &&
	    (now - seen < GAP || !was_dead()))
		__atomic_add_fetch(&alive, now - seen, __ATOMIC_SEQ_CST);
}

int64_t
subject_alive(void)
{
	return alive;
}

bool
subject_told(void)
{
	if (access(check_path, F_OK) == 0)
		return true;
	subject_rest();
	return false;
}

void
subject_wait(void)
{
	subject_ready();
	while (!subject_told())
		;
}

/* What the harness has written. */
static bool
check_says(const char *word)
{
	char text[32] = "";
	int fd;

	fd = open(check_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strncmp(text, word, strlen(word)) == 0;
}

bool
subject_restored(void)
{
	return check_says("restored");
}

void
subject_blocked(pid_t tid, long nr)
{
	char name[64], text[256];
	struct timespec ts = { 0, MS };
	int i;

	snprintf(name, sizeof(name), "task/%d/syscall", (int)tid);
	for (i = 0; i < 5000; i++) {
		subject_proc(name, text, sizeof(text));
		if (text[0] >= '0' && text[0] <= '9' && atol(text) == nr)
			return;
		nanosleep(&ts, NULL);
	}
	subject_die(
	    "thread %d does not block in call %ld: %s", (int)tid, nr, text);
}

static void
add_report(const char *fmt, va_list ap)
{
	int n;

	pthread_mutex_lock(&report_lock);
	n = vsnprintf(
	    report + report_len, sizeof(report) - report_len - 1, fmt, ap);
	if (n > 0) {
		report_len += (size_t)n;
		if (report_len > sizeof(report) - 2)
			report_len = sizeof(report) - 2;
		report[report_len++] = '\n';
	}
	pthread_mutex_unlock(&report_lock);
}

void
subject_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_report(fmt, ap);
	va_end(ap);
}

void
subject_skip(const char *fmt, ...)
{
	va_list ap;

	report_len = 0;
	va_start(ap, fmt);
	add_report(fmt, ap);
	va_end(ap);
	memmove(report + 5, report, report_len);
	memcpy(report, "skip ", 5);
	put_file("result", report, report_len + 5);
	_exit(77);
}

void
subject_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_report(fmt, ap);
	va_end(ap);
	put_file("result", report, report_len);
	_exit(1);
}

void
subject_forget(void)
{
	forgotten = true;
}

int
subject_done(void)
{
	int i;

	/* A clone has another pid. */
	if (!forgotten && !check_says("cloned") &&
	    !check_says("restored-cloned")) {
		snapshot_take(&after, allowed);
		snapshot_compare(&before, &after);
	}
	for (i = 1; i <= 64; i++)
		if (noticed[i] && !(allowed & SUBJECT_SIGNALS))
			subject_fail("got signal %d (%s)", i, strsignal(i));
	if (report_len == 0) {
		put_file("result", "ok\n", 3);
		return 0;
	}
	put_file("result", report, report_len);
	return 1;
}

/* ---- small things ---- */

static unsigned char
pattern(size_t i, unsigned seed)
{
	uint32_t x = (uint32_t)i * 2654435761u + seed * 40503u + 12345u;

	return (unsigned char)(x >> 24 ^ x >> 11);
}

void
subject_fill(void *p, size_t len, unsigned seed)
{
	unsigned char *b = p;
	size_t i;

	for (i = 0; i < len; i++)
		b[i] = pattern(i, seed);
}

void
subject_filled(const char *what, const void *p, size_t len, unsigned seed)
{
	const unsigned char *b = p;
	size_t i;

	for (i = 0; i < len; i++) {
		if (b[i] == pattern(i, seed))
			continue;
		subject_fail("%s: byte %zu of %zu is %02x, not %02x", what, i,
		    len, b[i], pattern(i, seed));
		return;
	}
}

void
subject_zero(const char *what, const void *p, size_t len)
{
	const unsigned char *b = p;
	size_t i;

	for (i = 0; i < len; i++) {
		if (b[i] == 0)
			continue;
		subject_fail(
		    "%s: byte %zu of %zu is %02x, not 0", what, i, len, b[i]);
		return;
	}
}

bool
subject_readable(const void *p)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)(uintptr_t)p, 1 };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

struct cookie {
	void *arg;
	volatile pid_t tid;
};

void *
subject_thread_begin(void *cookie)
{
	struct cookie *c = cookie;
	void *arg = c->arg;

	__atomic_store_n(&c->tid, subject_tid(), __ATOMIC_SEQ_CST);
	return arg;
}

pthread_t
subject_thread(void *(*fn)(void *), void *arg, pid_t *tid)
{
	struct cookie c = { arg, 0 };
	pthread_t t;
	int err;

	if ((err = pthread_create(&t, NULL, fn, &c)) != 0)
		subject_die("pthread_create: %s", strerror(err));
	while (__atomic_load_n(&c.tid, __ATOMIC_SEQ_CST) == 0)
		sched_yield();
	if (tid != NULL)
		*tid = c.tid;
	return t;
}

pid_t
subject_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

int64_t
subject_now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

const char *
subject_proc(const char *name, char *buf, size_t size)
{
	char path[128];
	size_t len = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && len < size - 1 &&
	       (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	if (fd >= 0)
		close(fd);
	buf[len] = '\0';
	return buf;
}

long
subject_stat(pid_t pid, int n)
{
	char name[32], text[1024], *p;

	snprintf(name, sizeof(name), "../%d/stat", (int)pid);
	subject_proc(name, text, sizeof(text));
	p = strrchr(text, ')');
	for (int i = 0; p != NULL && i < n; i++)
		p = strchr(p + 1, ' ');
	return p == NULL ? -1 : n == 1 ? p[1] : strtol(p, NULL, 10);
}
