/*
 * hold_symbol.c - run a program to a function of its.
 *
 * A breakpoint of the CPU, which the kernel keeps for each thread and which
 * changes nothing in the program.  Where the function is is not known before
 * its file is mapped: so the first breakpoint is at the program's entry, where
 * the libraries are there that it was linked with, and then, if none of them
 * has it, at the function of the dynamic linker that debuggers wait for.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "hold.h"
#include "proc.h"
#include "process.h"
#include "text.h"
#include "vma.h"

#define LOADED "_dl_debug_state"
#define EVENT(st) ((st) >> 16)
#define LOOK_NS 2000000

enum { AT_POINT, AT_START, AT_LOADED, NBREAKS };

struct hunted {
	pid_t tid;
	unsigned armed; /* the generation of breakpoints that it has */
	int signo;	/* that it is stopped with, at the end */
	bool stands;	/* at the point */
};

struct hunt {
	struct hold *h;
	struct hunted *v;
	size_t n;
	uint64_t at[NBREAKS]; /* 0: none */
	unsigned generation;
	char **searched; /* files that do not have it */
	size_t nsearched;
};

/* ---- threads and their breakpoints ---- */

static struct hunted *
find(struct hunt *u, pid_t tid)
{
	struct hunted *t;

	for (size_t i = 0; i < u->n; i++)
		if (u->v[i].tid == tid)
			return &u->v[i];
	t = process_grow(&u->v, &u->n, sizeof(*t));
	if (t != NULL)
		t->tid = tid;
	return t;
}

static void
forget(struct hunt *u, pid_t tid)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->v[i].tid == tid)
			u->v[i--] = u->v[--u->n];
}

static bool
poke(pid_t tid, unsigned reg, uint64_t value)
{
	return ptrace(PTRACE_POKEUSER, tid,
		   offsetof(struct user, u_debugreg[0]) + 8 * reg, value) == 0;
}

/* Execution at an address is type 0 and length 0: only the enabling bit. */
static bool
arm(struct hunt *u, struct hunted *t)
{
	uint64_t control = 0;
	bool ok;

	if (t->armed == u->generation)
		return true;
	ok = poke(t->tid, 7, 0);
	for (unsigned i = 0; i < NBREAKS && ok; i++) {
		if (u->at[i] == 0)
			continue;
		ok = poke(t->tid, i, u->at[i]);
		control |= 1u << (2 * i);
	}
	ok = ok && poke(t->tid, 7, control);
	t->armed = u->generation;
	return ok;
}

/* The others get the new ones as soon as they stop. */
static void
renew(struct hunt *u, pid_t tid)
{
	u->generation++;
	for (size_t i = 0; i < u->n; i++)
		if (u->v[i].tid != tid)
			(void)ptrace(PTRACE_INTERRUPT, u->v[i].tid, 0, 0);
}

/* ---- where it is ---- */

static bool
was_searched(struct hunt *u, const char *path)
{
	char **p;

	for (size_t i = 0; i < u->nsearched; i++)
		if (strcmp(u->searched[i], path) == 0)
			return true;
	p = process_grow(&u->searched, &u->nsearched, sizeof(*p));
	if (p == NULL)
		return false;
	*p = strdup(path);
	if (*p == NULL)
		u->nsearched--;
	return false;
}

static void
forget_searched(struct hunt *u)
{
	while (u->nsearched > 0)
		free(u->searched[--u->nsearched]);
}

/* The mapping's file may be gone from its path: its link in /proc is not. */
static uint64_t
search_file(struct hunt *u, const struct vma *v, const char *name)
{
	uint64_t address, lowest;
	char path[96];
	bool found;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx",
	    (int)u->h->pid, (unsigned long long)v->start,
	    (unsigned long long)v->end);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = open(v->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return 0;
	found = hold_elf_symbol(fd, name, &address, &lowest);
	close(fd);
	return found ? v->start + (address - lowest) : 0;
}

/* `once`: files that were searched before need not be again. */
static uint64_t
search(struct hunt *u, const char *name, bool once)
{
	struct process *p = process_new();
	uint64_t at = 0;
	char *text = NULL;
	struct lines l;
	size_t len;

	if (p != NULL && proc_try(u->h->pid, "maps", &text, &len) == 0) {
		lines_init(&l, u->h->cx, "maps", text, len);
		(void)vma_parse_maps(&l, p);
	}
	for (size_t i = 0; p != NULL && i < p->nvmas && at == 0; i++) {
		const struct vma *v = &p->vmas[i];

		if (v->ino != 0 && v->offset == 0 && !v->shared &&
		    v->path[0] == '/' && !(once && was_searched(u, v->path)))
			at = search_file(u, v, name);
	}
	process_free(p);
	free(text);
	return at;
}

static uint64_t
entry_of(struct hunt *u)
{
	uint64_t entry = 0;
	Elf64_auxv_t *a;
	char *text;
	size_t len;

	if (proc_try(u->h->pid, "auxv", &text, &len) < 0)
		return 0;
	a = (Elf64_auxv_t *)text;
	for (size_t i = 0; i < len / sizeof(*a); i++)
		if (a[i].a_type == AT_ENTRY)
			entry = a[i].a_un.a_val;
	free(text);
	return entry;
}

/* ---- what happens ---- */

static void
on_exec(struct hunt *u, pid_t tid)
{
	u->h->executed = true;
	u->n = 0;
	u->generation++;
	forget_searched(u);
	memset(u->at, 0, sizeof(u->at));
	u->at[AT_START] = entry_of(u);
	(void)find(u, tid);
}

static void
on_loaded(struct hunt *u, pid_t tid)
{
	u->at[AT_POINT] = search(u, u->h->opt->point.symbol, true);
	if (u->at[AT_START] != 0)
		u->at[AT_LOADED] = search(u, LOADED, false);
	u->at[AT_START] = 0;
	if (u->at[AT_POINT] != 0)
		u->at[AT_LOADED] = 0;
	renew(u, tid);
}

static bool
on_trap(struct hunt *u, pid_t tid, int *signo)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, 0, &regs) < 0)
		return false;
	if (u->at[AT_POINT] != 0 && regs.rip == u->at[AT_POINT])
		return true;
	if (regs.rip != 0 &&
	    (regs.rip == u->at[AT_START] || regs.rip == u->at[AT_LOADED]))
		on_loaded(u, tid);
	else
		*signo = SIGTRAP; /* its own */
	return false;
}

/* A stop of one thread; true if it is at the point. */
static bool
on_stop(struct hunt *u, pid_t tid, int st, int *err)
{
	int how = PTRACE_CONT, signo = 0;
	struct hunted *t;

	if (EVENT(st) == PTRACE_EVENT_EXEC)
		on_exec(u, tid);
	else if (EVENT(st) == PTRACE_EVENT_STOP && WSTOPSIG(st) != SIGTRAP)
		how = PTRACE_LISTEN;
	else if (EVENT(st) == 0 && WSTOPSIG(st) == SIGTRAP) {
		if (on_trap(u, tid, &signo))
			return true;
	} else if (EVENT(st) == 0)
		signo = WSTOPSIG(st);
	t = find(u, tid);
	if (t == NULL || !arm(u, t))
		*err = t != NULL && errno == ESRCH
			   ? 0
			   : snap_fail(u->h->cx, -ENOTSUP,
				 "a breakpoint cannot be set: %s",
				 strerror(errno));
	if (ptrace(how, tid, 0, signo) < 0 && errno != ESRCH)
		*err = snap_fail(u->h->cx, -errno, "tracing the program: %s",
		    strerror(errno));
	return false;
}

/* ---- letting go ---- */

static void
await_stop(struct hunted *t)
{
	int st;

	while (waitpid(t->tid, &st, __WALL) < 0)
		if (errno != EINTR)
			return;
	if (WIFSTOPPED(st) && EVENT(st) == 0 && WSTOPSIG(st) != SIGTRAP)
		t->signo = WSTOPSIG(st);
}

/* Those that are born traced but have not been heard of: true if any. */
static bool
list_threads(struct hunt *u)
{
	size_t before = u->n;
	struct dirent *de;
	char path[64];
	pid_t tid;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)u->h->pid);
	dir = opendir(path);
	while (dir != NULL && (de = readdir(dir)) != NULL) {
		tid = (pid_t)strtol(de->d_name, NULL, 10);
		if (tid > 0)
			(void)find(u, tid);
	}
	if (dir != NULL)
		closedir(dir);
	return u->n > before;
}

/*
 * All others are stopped first, so that none is left with a breakpoint, or
 * traced.  The signal that a thread may be stopped with goes on to it.
 */
static void
let_go(struct hunt *u)
{
	size_t i = 0;

	do {
		for (; i < u->n; i++)
			if (!u->v[i].stands &&
			    ptrace(PTRACE_INTERRUPT, u->v[i].tid, 0, 0) == 0)
				await_stop(&u->v[i]);
	} while (list_threads(u));
	kill(u->h->pid, SIGSTOP);
	for (i = 0; i < u->n; i++) {
		poke(u->v[i].tid, 7, 0);
		(void)ptrace(PTRACE_DETACH, u->v[i].tid, 0, u->v[i].signo);
	}
}

enum { AT_IT, ENDED, NOTHING, OTHER };

/* What happened to one thread, or -errno; `flags` of waitid(2) besides. */
static int
take(struct hunt *u, int flags)
{
	siginfo_t si = { .si_pid = 0 };
	struct hunted *t;
	int st, err = 0;

	flags |= WEXITED | WSTOPPED | __WALL | WNOWAIT;
	if (waitid(P_ALL, 0, &si, flags) < 0)
		return errno == EINTR ? OTHER : -errno;
	if (si.si_pid == 0)
		return NOTHING;
	if (si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED) {
		if (si.si_pid == u->h->pid)
			return ENDED;
		(void)waitpid(si.si_pid, &st, __WALL);
		forget(u, si.si_pid);
		return OTHER;
	}
	if (waitpid(si.si_pid, &st, __WALL) != si.si_pid || !WIFSTOPPED(st))
		return OTHER;
	if (!on_stop(u, si.si_pid, st, &err))
		return err < 0 ? err : OTHER;
	t = find(u, si.si_pid);
	if (t == NULL)
		return -ENOMEM;
	t->stands = true;
	return AT_IT;
}

/* The others come to rest, if they do: as in hold.c.  ENDED, -errno, or 0. */
static int
settle(struct hunt *u)
{
	struct timespec look = { 0, LOOK_NS };
	int n;

	hold_settle_begin(u->h);
	do {
		nanosleep(&look, NULL);
		while ((n = take(u, WNOHANG)) != NOTHING)
			if (n < 0 || n == ENDED)
				return n;
	} while (!hold_has_settled(u->h, hold_all_asleep(u->h)));
	return 0;
}

/* 1 at the point, 0 it has ended, -errno. */
static int
hunt(struct hunt *u)
{
	int n;

	do
		n = take(u, 0);
	while (n == OTHER);
	if (n == AT_IT)
		n = settle(u);
	if (n != 0)
		return n == ENDED ? 0 : n;
	let_go(u);
	return 1;
}

int
hold_symbol(struct hold *h, struct hold_birth *b)
{
	struct hunt u = { .h = h, .generation = 1 };
	int n = hold_breakpoints(h->cx);

	if (n < 0)
		return n;
	if (ptrace(PTRACE_SEIZE, h->pid, 0,
		PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE) < 0)
		return snap_fail(
		    h->cx, -errno, "tracing the program: %s", strerror(errno));
	hold_go(b);
	n = hunt(&u);
	if (n == 0 && !h->executed && hold_birth_error(b) != 0)
		n = snap_fail(h->cx, hold_birth_error(b), "%s: %s",
		    h->opt->argv[0], strerror(-hold_birth_error(b)));
	forget_searched(&u);
	free(u.searched);
	free(u.v);
	return n;
}
