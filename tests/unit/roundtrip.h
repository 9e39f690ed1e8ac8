/*
 * roundtrip.h - descriptors, the way round: one process sets some up and
 * stops, they are collected, and another process, in which they were restored,
 * looks at them.
 */
#ifndef ROUNDTRIP_H
#define ROUNDTRIP_H

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "img.h"
#include "process.h"
#include "resource.h"
#include "restore.h"
#include "unit.h"

#pragma GCC diagnostic ignored "-Wunused-function"

#define BASE 2000

/* What the two processes tell the test, and one another. */
struct board {
	int line; /* of the check that failed, 0: none */
	int error;
	char text[1024];
	char note[FD_NOTE_SIZE];
	int64_t word[8];
};

static struct board *board;
static char dir[320]; /* for files, empty at the start of each test */

#define OK(cond) \
	do { \
		if (!(cond)) { \
			board->line = __LINE__; \
			board->error = errno; \
			_exit(1); \
		} \
	} while (0)

static void
set_up(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(board != MAP_FAILED);
	snprintf(dir, sizeof(dir), "%s/XXXXXX", unit_dir());
	ck_assert(mkdtemp(dir) != NULL);
}

static void
tear_down(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(dir);
}

static const char *
in_dir(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* A process that has what `prepare` opened, and nothing else, and stands. */
static pid_t
start(void (*prepare)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		syscall(SYS_close_range, 0, ~0u, 0);
		prepare();
		raise(SIGSTOP);
		_exit(2);
	}
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert_msg(WIFSTOPPED(status), "prepare: line %d: %s", board->line,
	    strerror(board->error));
	return pid;
}

static void
end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* As an image has it: everything through the text of fdinfo/N, and back. */
static void
through_text(struct snap_ctx *cx, struct process *p)
{
	struct process *q = process_new(), t;

	for (size_t i = 0; i < p->nfds; i++) {
		const struct fdent *e = &p->fds[i];
		struct text text = { 0 };
		struct lines l;
		size_t len;
		char *s;

		img_fdinfo_write(&text, p, e);
		s = text_take(&text, &len);
		lines_init(&l, cx, "fdinfo", s, len);
		ck_assert_msg(img_fdinfo_read(
				  &l, q, e->fd, p->files[e->file].target) == 0,
		    "%s", snap_error(cx));
		free(s);
	}
	ck_assert_int_eq(img_fdinfo_finish(cx, q), 0);
	ck_assert_uint_eq(p->nfiles, q->nfiles);
	ck_assert_uint_eq(p->nfds, q->nfds);
	for (size_t i = 0; i < p->nfds; i++)
		ck_assert_uint_eq(p->fds[i].file, q->fds[i].file);
	t = *p;
	p->files = q->files;
	p->fds = q->fds;
	q->files = t.files;
	q->fds = t.fds;
	process_free(q);
}

static struct process *
collect(void (*prepare)(void))
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = process_new();
	pid_t pid = start(prepare);
	int err;

	p->pid = pid;
	p->pgid = getpgid(pid);
	err = fds_collect(cx, &p, 1);
	ck_assert_msg(err == 0, "collect: %d %s", err, snap_error(cx));
	end(pid);
	through_text(cx, p);
	err = fds_check(cx, p);
	ck_assert_msg(err == 0, "check: %d %s", err, snap_error(cx));
	snap_ctx_free(cx);
	return p;
}

static int tty = -1;

/* Restore in a new process and let `verify` look; 0 or what failed. */
static int
restore(const struct process *p, void (*verify)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct snap_ctx *cx = snap_ctx_new(NULL);
		struct fd_restore r = {
			.p = p,
			.tty = tty,
			.base = BASE,
			.note = board->note,
		};
		int err;

		/* As a restore has it: ours are above all of those. */
		restore_raise_limit();
		for (size_t i = 0; i < p->ncontents; i++)
			p->contents[i].fd =
			    fcntl(p->contents[i].fd, F_DUPFD, 2 * BASE);
		err = fds_open(cx, &r);
		if (err == 0)
			err = fds_place(cx, &r, NULL);

		strcpy(board->text, snap_error(cx));
		if (err != 0) {
			board->error = err;
			_exit(3);
		}
		for (int fd = BASE; fd < BASE + (int)p->nfiles; fd++)
			OK(fcntl(fd, F_GETFD) < 0);
		if (verify != NULL)
			verify();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == 3)
		return board->error;
	ck_assert_msg(WEXITSTATUS(status) == 0, "verify: line %d: %s",
	    board->line, strerror(board->error));
	return 0;
}

static void
round_trip(void (*prepare)(void), void (*verify)(void))
{
	struct process *p = collect(prepare);
	int err;

	ck_assert_msg(p->nunsupported == 0, "%s: %s",
	    p->nunsupported == 0 ? "" : p->unsupported[0].what,
	    p->nunsupported == 0 ? "" : p->unsupported[0].why);
	err = restore(p, verify);
	ck_assert_msg(err == 0, "restore: %d %s", err, board->text);
	process_free(p);
}

static void
nothing(void)
{
}

/* What is said of the one descriptor that is not supported. */
static void
refused(void (*prepare)(void), const char *what, const char *why)
{
	struct process *p = collect(prepare);

	ck_assert_uint_eq(p->nunsupported, 1);
	ck_assert_str_eq(p->unsupported[0].what, what);
	ck_assert_msg(strstr(p->unsupported[0].why, why) != NULL, "%s",
	    p->unsupported[0].why);
	ck_assert_int_eq(restore(p, nothing), -ENOTSUP);
	ck_assert_msg(strstr(board->text, why) != NULL, "%s", board->text);
	process_free(p);
}

static struct openfile *
file_of(struct process *p, int fd)
{
	for (size_t i = 0; i < p->nfds; i++)
		if (p->fds[i].fd == fd)
			return &p->files[p->fds[i].file];
	ck_abort_msg("no fd %d", fd);
	return NULL;
}

/* Put the new descriptor at a number of our choice. */
static void
at(int fd, int number)
{
	OK(fd >= 0);
	if (fd == number)
		return;
	OK(dup3(fd, number, fcntl(fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0) ==
	    number);
	close(fd);
}

static bool
same_text(int fd, const char *text, off_t from)
{
	char buf[256];
	ssize_t n = pread(fd, buf, sizeof(buf), from);

	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static int
flags_of(int fd)
{
	return fcntl(fd, F_GETFL) & ~0100000;
}

/* ---- what an image may say ---- */

struct bad {
	const char *kind, *target;
	uint32_t flags;
	const char *kv[20];
	const char *says; /* NULL: it is good */
};

static struct process *
one_file(const struct bad *b)
{
	struct process *p = process_new();
	struct openfile *f = process_grow(&p->files, &p->nfiles, sizeof(*f));
	struct fdent *e = process_grow(&p->fds, &p->nfds, sizeof(*e));

	(void)e;
	snprintf(f->kind, sizeof(f->kind), "%s", b->kind);
	f->target = strdup(b->target);
	f->flags = b->flags;
	for (int i = 0; i < 20 && b->kv[i] != NULL; i += 2)
		openfile_put(f, b->kv[i], "%s", b->kv[i + 1]);
	return p;
}

static void
check_bad(const struct bad *b)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = one_file(b);
	int err = fds_check(cx, p);

	if (b->says == NULL)
		ck_assert_msg(err == 0, "%s", snap_error(cx));
	else {
		ck_assert_int_eq(err, -EBADMSG);
		ck_assert_msg(strstr(snap_error(cx), b->says) != NULL, "%s",
		    snap_error(cx));
		ck_assert(strstr(snap_error(cx), "/0: ") != NULL);
	}
	process_free(p);
	snap_ctx_free(cx);
}

#endif
