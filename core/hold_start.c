/*
 * hold_start.c - the program's process, from its fork to its execve(2).
 *
 * After the filter is in force no call may be relied upon: it may be the point.
 * So the two talk through a page of memory that both have, and wait by looking.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "hold.h"

#define LOOK_NS 200000
#define PATIENCE 50000 /* looks */

struct page {
	int state; /* 0; 1 the child has its filter; 2 go */
	int listener;
	int error; /* -errno of what failed in the child */
	const char *what;
};

struct hold_birth {
	struct page *page;
	int end; /* the read end of a pipe, closed by execve(2) */
};

/* ---- the child ---- */

static void __attribute__((noreturn)) fail(struct page *g, const char *what)
{
	g->error = -errno;
	g->what = what;
	_exit(127);
}

/* Without the capability, only who can gain no rights may filter his calls. */
static int
install(const struct snap_point *point)
{
	struct sock_filter v[HOLD_FILTER_MAX];
	struct sock_fprog prog = { .filter = v };
	int fd;

	prog.len = (unsigned short)hold_filter(point, v);
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	    SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
	if (fd >= 0 || errno != EACCES)
		return fd;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	    SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

static void __attribute__((noreturn))
be_program(const struct hold *h, struct page *g, pid_t parent)
{
	g->listener = -1;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail(g, "PR_SET_PDEATHSIG");
	if (getppid() != parent)
		_exit(127);
	if (h->opt->point.kind != SNAP_POINT_SYMBOL) {
		g->listener = install(&h->opt->point);
		if (g->listener < 0)
			fail(g, "a seccomp filter with a listener");
	}
	__atomic_store_n(&g->state, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&g->state, __ATOMIC_ACQUIRE) != 2)
		__builtin_ia32_pause();
	execvp(h->opt->argv[0], h->opt->argv);
	fail(g, "");
}

/* ---- the keeper ---- */

static int
await_filter(struct hold *h, struct hold_birth *b)
{
	const struct timespec ts = { 0, LOOK_NS };
	struct page *g = b->page;

	for (int i = 0; i < PATIENCE; i++) {
		if (__atomic_load_n(&g->state, __ATOMIC_ACQUIRE) == 1)
			return 0;
		if (g->error != 0)
			return snap_fail(h->cx, g->error, "%s: %s", g->what,
			    strerror(-g->error));
		nanosleep(&ts, NULL);
	}
	return snap_fail(
	    h->cx, -ETIMEDOUT, "the new process does not get started");
}

static int
get_listener(struct hold *h, struct hold_birth *b)
{
	int err = await_filter(h, b);

	if (err < 0 || b->page->listener < 0)
		return err;
	h->listener = pidfd_getfd(h->pidfd, b->page->listener, 0);
	if (h->listener < 0)
		return snap_fail(h->cx, -errno, "the filter's listener: %s",
		    strerror(errno));
	return 0;
}

static void
note_input(struct hold *h)
{
	struct stat st;

	if (fstat(0, &st) < 0)
		return;
	h->in_dev = st.st_dev;
	h->in_ino = st.st_ino;
}

int
hold_start(struct hold *h, struct hold_birth **birth)
{
	struct hold_birth *b = calloc(1, sizeof(*b));
	pid_t self = getpid();
	int end[2];

	*birth = b;
	if (b == NULL)
		return snap_fail(h->cx, -ENOMEM, "no memory");
	b->end = -1;
	b->page = mmap(NULL, sizeof(*b->page), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->page == MAP_FAILED) {
		b->page = NULL;
		return snap_fail(h->cx, -ENOMEM, "no memory");
	}
	if (pipe2(end, O_CLOEXEC) < 0)
		return snap_fail(h->cx, -errno, "pipe: %s", strerror(errno));
	note_input(h);
	b->end = end[0];
	h->pid = fork();
	if (h->pid == 0)
		be_program(h, b->page, self);
	close(end[1]);
	if (h->pid < 0)
		return snap_fail(h->cx, -errno, "fork: %s", strerror(errno));
	h->pidfd = pidfd_open(h->pid, 0);
	if (h->pidfd < 0)
		return snap_fail(
		    h->cx, -errno, "pidfd_open: %s", strerror(errno));
	return get_listener(h, b);
}

void
hold_go(struct hold_birth *b)
{
	__atomic_store_n(&b->page->state, 2, __ATOMIC_RELEASE);
}

int
hold_birth_fd(const struct hold_birth *b)
{
	return b->end;
}

int
hold_birth_error(const struct hold_birth *b)
{
	return b->page->error;
}

void
hold_birth_free(struct hold_birth *b)
{
	if (b == NULL)
		return;
	if (b->end >= 0)
		close(b->end);
	if (b->page != NULL)
		munmap(b->page, sizeof(*b->page));
	free(b);
}
