/*
 * late.c - a program that uses its memory as soon as it is let.
 *
 *	late DIR MIB ACTION
 *
 * Fills memory with a pattern, makes DIR/ready, and waits until DIR/go is
 * there: made while it is dead, that is its first instruction of a new life.
 * Then it does ACTION, checks all its memory, and checks it once more when
 * nothing is to come any more.  DIR/result then is "ok", or what was wrong, as
 * DIR/wrong, which no other life of it replaces.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define WORDS (PAGE / 8)
#define THREADS 64
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static const char *dir, *self;
static uint64_t *mem;
static size_t npages;

static void
path(char *out, const char *name)
{
	snprintf(out, 512, "%s/%s", dir, name);
}

static void
say(const char *file, const char *text)
{
	char to[512], tmp[512];
	int fd;

	path(to, file);
	snprintf(tmp, sizeof(tmp), "%s/%s.new", dir, file);
	fd = open(tmp, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(3);
	close(fd);
	rename(tmp, to);
}

static void __attribute__((noreturn, format(printf, 1, 2)))
wrong(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("wrong", text);
	say("result", text);
	_exit(1);
}

static void
nap(long us)
{
	struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

/* ---- the pattern ---- */

static uint64_t
value(size_t page, size_t word)
{
	return page * 0x9e3779b97f4a7c15ull + word * 31 + 1;
}

static void
fill(void)
{
	for (size_t p = 0; p < npages; p++)
		for (size_t w = 0; w < WORDS; w++)
			mem[p * WORDS + w] = value(p, w);
}

/* Pages [from, to) of the pattern, found at `at`. */
static void
check(const uint64_t *at, size_t from, size_t to, const char *when)
{
	for (size_t p = from; p < to; p++, at += WORDS)
		for (size_t w = 0; w < WORDS; w++)
			if (at[w] != value(p, w))
				wrong("%s: page %zu word %zu is %#lx", when, p,
				    w, at[w]);
}

static void
check_zero(const uint64_t *at, size_t n, const char *when)
{
	for (size_t i = 0; i < n * WORDS; i++)
		if (at[i] != 0)
			wrong("%s: zero page %zu has %#lx", when, i / WORDS,
			    at[i]);
}

static int
is_filling(void)
{
	static char text[1 << 20];
	int fd = open("/proc/self/smaps", O_RDONLY), um;
	size_t n = 0;
	ssize_t r;

	while ((r = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)r;
	close(fd);
	text[n] = '\0';
	um = strstr(text, " um ") != NULL || strstr(text, " um\n") != NULL;
	return um;
}

static void
all_is_there(void)
{
	while (is_filling())
		nap(2000);
}

/* ---- actions ---- */

static void
action_none(void)
{
	check(mem, 0, npages, "at once");
	all_is_there();
	check(mem, 0, npages, "later");
}

static void *
toucher(void *arg)
{
	size_t self_nr = (size_t)arg, p = self_nr * npages / THREADS;

	for (size_t i = 0; i < npages; i++) {
		p = self_nr % 2 ? (p + 1) % npages : (p + npages - 1) % npages;
		if (mem[p * WORDS + self_nr] != value(p, self_nr))
			wrong("thread %zu: page %zu is wrong", self_nr, p);
	}
	return NULL;
}

static void
action_touch(void)
{
	pthread_t t[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, toucher, (void *)i) != 0)
			wrong("pthread_create");
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	action_none();
}

static void
action_madvise(void)
{
	size_t half = npages / 2;

	if (madvise(mem + half * WORDS, half * PAGE, MADV_DONTNEED) < 0)
		wrong("madvise");
	check_zero(mem + (npages - 8) * WORDS, 8, "dropped");
	all_is_there();
	check(mem, 0, half, "kept");
	check_zero(mem + half * WORDS, npages - half, "dropped, later");
}

/* What may be freed is as it was, or zero, each page as a whole. */
static void
check_freed(size_t from, size_t to, const char *when)
{
	for (size_t p = from; p < to; p++) {
		const uint64_t *at = mem + p * WORDS;

		if (at[0] == 0)
			check_zero(at, 1, when);
		else
			check(at, p, p + 1, when);
	}
}

/*
 * Of memory that may be freed some is there, most is not, and some is written to
 * again, which keeps it.
 */
static void
action_free(void)
{
	size_t half = npages / 2;

	check(mem + half * WORDS, half, half + 8, "before it may be freed");
	if (madvise(mem + half * WORDS, half * PAGE, MADV_FREE) < 0)
		wrong("madvise: %s", strerror(errno));
	for (size_t p = half; p < npages; p += 8)
		mem[p * WORDS] = 7;
	check_freed(half + 1, half + 8, "freed");
	all_is_there();
	check(mem, 0, half, "kept");
	for (size_t p = half; p < npages; p += 8) {
		if (mem[p * WORDS] != 7)
			wrong("what was written to page %zu is gone", p);
		mem[p * WORDS] = mem[p * WORDS + 1] == 0 ? 0 : value(p, 0);
	}
	check_freed(half, npages, "freed, later");
	npages = half;
}

/* Where it installs guard pages there is nothing, and nothing comes. */
static void
action_guard(void)
{
	size_t half = npages / 2;
	int p[2];

	if (pipe(p) < 0)
		wrong("pipe: %s", strerror(errno));
	for (size_t i = half; i < npages; i += 8)
		if (madvise(mem + i * WORDS, 4 * PAGE, MADV_GUARD_INSTALL) < 0)
			wrong("madvise: %s", strerror(errno));
	check(mem, 0, half, "before the guards");
	all_is_there();
	for (size_t i = half; i < npages; i++) {
		bool guard = (i - half) % 8 < 4;

		if ((write(p[1], mem + i * WORDS, 1) == 1) == guard)
			wrong("page %zu is %s guard", i, guard ? "no" : "a");
		if (!guard)
			check(mem + i * WORDS, i, i + 1, "beside a guard");
	}
	if (madvise(mem + half * WORDS, (npages - half) * PAGE,
		MADV_GUARD_REMOVE) < 0)
		wrong("madvise: %s", strerror(errno));
	for (size_t i = half; i + 4 <= npages; i += 8)
		check_zero(mem + i * WORDS, 4, "a guard that was removed");
	npages = half;
}

static void
action_mremap(void)
{
	size_t len = npages * PAGE;
	uint64_t *to, *old = mem;

	to = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mremap(mem, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		wrong("mremap");
	if (mmap(old, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		0) != old)
		wrong("mmap where it was");
	check_zero(old, npages, "where it was");
	check(to, 0, npages, "where it is");
	/* And back, in part, on top of what has come to lie there. */
	if (mremap(to, len / 2, len / 2, MREMAP_MAYMOVE | MREMAP_FIXED, old) !=
	    old)
		wrong("mremap back");
	check(old, 0, npages / 2, "back");
	all_is_there();
	check(old, 0, npages / 2, "back, later");
	check(to + npages / 2 * WORDS, npages / 2, npages, "the rest, later");
	check_zero(old + npages / 2 * WORDS, npages / 2, "where it was, later");
}

static void
action_munmap(void)
{
	size_t quarter = npages / 4;
	uint64_t *at = mem + quarter * WORDS;

	if (munmap(at, 2 * quarter * PAGE) < 0)
		wrong("munmap");
	if (mmap(at, 2 * quarter * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
		wrong("mmap");
	check_zero(at, 2 * quarter, "mapped anew");
	all_is_there();
	check(mem, 0, quarter, "before it");
	check_zero(at, 2 * quarter, "mapped anew, later");
	check(mem + 3 * quarter * WORDS, 3 * quarter, npages, "behind it");
}

static void
action_mprotect(void)
{
	for (size_t p = 0; p + 3 < npages; p += npages / 16)
		if (mprotect(mem + p * WORDS, 3 * PAGE, PROT_READ) < 0)
			wrong("mprotect");
	action_none();
}

/* One that is told by a SIGBUS that its memory is missing has seen nothing. */
static void
expect_child(pid_t pid, const char *what)
{
	int st;

	if (pid < 0 || waitpid(pid, &st, 0) != pid)
		wrong("%s: %s", what, strerror(errno));
	if (WIFSIGNALED(st) && WTERMSIG(st) == SIGBUS)
		raise(SIGBUS);
	if (!WIFEXITED(st) || WEXITSTATUS(st) != 0)
		wrong("%s ended with %#x", what, st);
}

/* Children of a child, each of which changes what the others must not see. */
static void
action_fork(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pid_t second = fork();

		if (second == 0) {
			check(mem, 0, npages, "the child's child");
			memset(mem, 1, npages * PAGE);
			_exit(0);
		}
		expect_child(second, "the child's child");
		madvise(mem, npages / 2 * PAGE, MADV_DONTNEED);
		check_zero(mem, npages / 2, "the child's dropped half");
		check(mem + npages / 2 * WORDS, npages / 2, npages,
		    "the child's other half");
		_exit(0);
	}
	mem[0] = 7;
	expect_child(pid, "the child");
	if (mem[0] != 7)
		wrong("what was written is gone");
	mem[0] = value(0, 0);
	action_none();
}

/* Many forks, while it is filled. */
static void
action_forks(void)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		size_t p = (size_t)i * npages / 20;

		if (pid == 0) {
			check(mem + p * WORDS, p, p + 1, "a child");
			_exit(0);
		}
		expect_child(pid, "a child");
	}
	action_none();
}

/* More than its pager may have descriptors. */
static void
action_crowd(void)
{
	for (int i = 0; i < 400; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			if (i % 20 == 19)
				check(mem + (npages - 1) * WORDS, npages - 1,
				    npages, "a child");
			_exit(0);
		}
		expect_child(pid, "a child");
	}
	action_none();
}

static void
action_spawn(void)
{
	char *argv[] = { (char[]){ "true" }, NULL }, *envp[] = { NULL };
	pid_t pid;

	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, envp) != 0)
		wrong("posix_spawn");
	expect_child(pid, "/bin/true");
	action_none();
}

static void
action_exec(void)
{
	execl(self, self, dir, "0", "said", NULL);
	wrong("exec: %s", strerror(errno));
}

/* The kernel reads what is not there, and writes to it. */
static void
action_syscalls(void)
{
	uint64_t got[WORDS];
	int p[2];

	if (pipe(p) < 0)
		wrong("pipe");
	for (size_t i = 1; i < npages; i += 97) {
		if (write(p[1], mem + i * WORDS, PAGE) != (ssize_t)PAGE)
			wrong("write: %s", strerror(errno));
		if (read(p[0], got, PAGE) != (ssize_t)PAGE)
			wrong("read: %s", strerror(errno));
		check(got, i, i + 1, "written to a pipe");
		if (write(p[1], got, 8) != 8 ||
		    read(p[0], mem + (i - 1) * WORDS, 8) != 8)
			wrong("read into it: %s", strerror(errno));
		if (mem[(i - 1) * WORDS] != value(i, 0))
			wrong("read(2) wrote something else");
		mem[(i - 1) * WORDS] = value(i - 1, 0);
	}
	action_none();
}

/* Until it is killed, or DIR/check is there. */
static void
action_watch(void)
{
	unsigned long r = 1;
	char end[512];

	path(end, "check");
	while (access(end, F_OK) < 0) {
		for (int i = 0; i < 64; i++) {
			size_t p;

			r = r * 6364136223846793005ul + 1442695040888963407ul;
			p = (r >> 33) % npages;
			if (mem[p * WORDS + r % WORDS] != value(p, r % WORDS))
				wrong("page %zu is not as it was", p);
		}
		nap(100);
	}
	action_none();
}

static const struct {
	const char *name;
	void (*act)(void);
} actions[] = {
	{ "none", action_none },
	{ "touch", action_touch },
	{ "madvise", action_madvise },
	{ "free", action_free },
	{ "guard", action_guard },
	{ "mremap", action_mremap },
	{ "munmap", action_munmap },
	{ "mprotect", action_mprotect },
	{ "fork", action_fork },
	{ "forks", action_forks },
	{ "crowd", action_crowd },
	{ "spawn", action_spawn },
	{ "exec", action_exec },
	{ "syscalls", action_syscalls },
	{ "watch", action_watch },
};

int
main(int argc, char **argv)
{
	void (*act)(void) = NULL;
	char go[512];

	if (argc != 4)
		errx(2, "usage: late DIR MIB ACTION");
	dir = argv[1];
	self = argv[0];
	if (strcmp(argv[3], "said") == 0) {
		say("result", "ok");
		return 0;
	}
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(argv[3], actions[i].name) == 0)
			act = actions[i].act;
	if (act == NULL)
		errx(2, "%s: no such action", argv[3]);
	npages = (size_t)atoi(argv[2]) * 256;
	mem = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		err(1, "mmap");
	fill();
	path(go, "go");
	say("ready", "");
	while (access(go, F_OK) < 0)
		nap(500);
	act();
	say("result", "ok");
	return 0;
}
