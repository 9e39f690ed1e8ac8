/*
 * sweep.c - clear away what a program that was killed has left in processes:
 * dead twins, code in the tail of a vDSO, scratch areas, options of sockets.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctx.h"
#include "freeze.h"
#include "heal.h"
#include "leftover.h"
#include "memory.h"
#include "proc.h"
#include "proc_task.h"
#include "process.h"
#include "snap.h"
#include "sock_record.h"
#include "tracee.h"
#include "twin.h"
#include "vma.h"

#define PAGE 4096u

/*
 * Threads that were in our code leave it a moment after the death of their
 * tracer.
 */
#define TRIES 20
#define TRY_AGAIN_NS 25000000

/* So often a dead twin is looked at before nobody else reaps it. */
#define TWIN_LOOKS 4

static void
wait_a_moment(void)
{
	const struct timespec t = { 0, TRY_AGAIN_NS };

	nanosleep(&t, NULL);
}

/* ---- dead twins ---- */

/* The original of which this is a dead twin, to judge by its name; or 0. */
static pid_t
original_of_dead(pid_t pid)
{
	struct proc_stat st;
	long original;
	char *end;

	if (proc_task_stat(pid, 0, &st) != 0 || st.state != 'Z' ||
	    strncmp(st.comm, TWIN_NAME, strlen(TWIN_NAME)) != 0)
		return 0;
	original = strtol(st.comm + strlen(TWIN_NAME), &end, 10);
	return *end == '\0' && original == st.ppid ? st.ppid : 0;
}

/*
 * Another daemon, that has ended its twin or has the original, reaps it in a
 * moment.
 */
static bool
is_in_hands(pid_t pid, pid_t original)
{
	return tracee_tracer(pid) != 0 || tracee_tracer(original) != 0;
}

static bool
was_left(pid_t pid, pid_t original)
{
	for (unsigned i = 0; i < TWIN_LOOKS; i++) {
		if (i > 0)
			wait_a_moment();
		if (original_of_dead(pid) != original ||
		    is_in_hands(pid, original))
			return false;
	}
	return true;
}

static void
sweep_twin(struct snap_ctx *cx, pid_t pid)
{
	pid_t original = original_of_dead(pid);

	if (original != 0 && was_left(pid, original) &&
	    twin_reap_in_original(cx, original, pid) == 0)
		snap_logf(cx, SNAP_NOTICE,
		    "process %d: a twin that was left, %d, is gone",
		    (int)original, (int)pid);
}

/* ---- code and memory ---- */

/* A place where something of ours may be, by its line of /proc/PID/maps. */
static bool
is_marked(struct frozen *z, const char *line, const char *end)
{
	uint64_t start, stop, page[PAGE / 8];
	size_t len = (size_t)(end - line);
	char *s;

	start = strtoull(line, &s, 16);
	stop = *s == '-' ? strtoull(s + 1, &s, 16) : 0;
	if (stop < start + PAGE)
		return false;
	if (strncmp(s, " rwxs ", 6) == 0)
		return frozen_read(z, page, sizeof(*page), start) &&
		       page[0] == HEAL_MAGIC;
	if (memmem(line, len, "[vdso]", 6) == NULL ||
	    !frozen_read(z, page, PAGE, stop - PAGE))
		return false;
	return memmem(page, PAGE, &(uint64_t){ HEAL_MAGIC }, 8) != NULL;
}

/* Seen from outside, while it runs. */
static bool
has_leftovers(pid_t pid)
{
	struct frozen z = { .pid = pid, .mem = -1 };
	char *text, *line, *end;
	bool yes = false;

	if (proc_try(pid, "maps", &text, NULL) != 0)
		return false;
	for (line = text; !yes && (end = strchr(line, '\n')) != NULL;
	     line = end + 1)
		yes = is_marked(&z, line, end);
	free(text);
	return yes;
}

/* Frozen, it is looked at again: another checkpoint may have had it. */
static int
clear_frozen(
    struct snap_ctx *cx, struct frozen *z, struct process *p, bool *cleared)
{
	int err;

	err = memory_collect_vmas(cx, z->pid, p);
	if (err != 0 || !has_leftovers(z->pid))
		return err;
	err = heal_open(cx, z, p, NULL);
	if (err == 0)
		err = heal_close(cx, z);
	*cleared = err == 0;
	return err;
}

static int
clear(struct snap_ctx *cx, pid_t pid, bool *cleared)
{
	struct process *p = process_new();
	struct frozen *z = NULL;
	int err;

	if (p == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	err = freeze(cx, pid, &z);
	if (err == 0)
		err = clear_frozen(cx, z, p, cleared);
	thaw(cx, z);
	process_free(p);
	return err;
}

/*
 * What is in a process that is traced is its tracer's: of another daemon, say,
 * which takes a checkpoint of it and takes all away when it lets go.  So it is
 * not frozen but where it is free, and marked all the same.
 */
static int
clear_if_free(struct snap_ctx *cx, pid_t pid, bool *cleared)
{
	if (tracee_tracer(pid) == 0) {
		if (!has_leftovers(pid))
			return 0;
		if (tracee_tracer(pid) == 0)
			return clear(cx, pid, cleared);
	}
	return snap_fail(cx, -EBUSY, "it is traced");
}

/*
 * In a context of its own, without a log: only what comes of it in the end is
 * told.  *cleared: something was there.
 */
static int
try_clear(struct snap_ctx *quiet, pid_t pid, bool *cleared)
{
	int err;

	for (unsigned tries = 0; tries < TRIES; tries++) {
		if (tries > 0)
			wait_a_moment();
		snap_clear(quiet);
		err = clear_if_free(quiet, pid, cleared);
		if (err == -ESRCH || err == -EPERM)
			return err;
		if (!has_leftovers(pid))
			return 0;
	}
	return err != 0 ? err : snap_fail(quiet, -EBUSY, "a thread is in it");
}

/* A twin of another daemon's, which has what its original had. */
static bool
is_live_twin(pid_t pid)
{
	char *comm;
	bool yes;

	if (tracee_tracer(pid) == 0 || proc_try(pid, "comm", &comm, NULL) != 0)
		return false;
	yes = strncmp(comm, TWIN_NAME, strlen(TWIN_NAME)) == 0;
	free(comm);
	return yes;
}

static void
sweep_process(struct snap_ctx *cx, pid_t pid)
{
	struct snap_options opt = cx->opt;
	struct snap_ctx quiet;
	bool cleared = false;
	int err;

	if (!has_leftovers(pid) || is_live_twin(pid))
		return;
	opt.log = NULL;
	ctx_init(&quiet, &opt);
	err = try_clear(&quiet, pid, &cleared);
	if (err == -ESRCH)
		return;
	if (err != 0)
		snap_logf(cx, SNAP_NOTICE,
		    "process %d: code of ours that was left stays until the "
		    "next checkpoint: %s",
		    (int)pid, snap_error(&quiet));
	else if (cleared)
		snap_logf(cx, SNAP_NOTICE,
		    "process %d: code of ours that was left is gone", (int)pid);
}

/* ---- all ---- */

void
snap_sweep(struct snap_ctx *cx)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	pid_t pid;

	/* First, since somebody waits for these. */
	sock_record_sweep(cx);
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		pid = (pid_t)strtol(e->d_name, NULL, 10);
		if (pid <= 0)
			continue;
		sweep_twin(cx, pid);
		snap_clear(cx);
		sweep_process(cx, pid);
		snap_clear(cx);
	}
	closedir(d);
}
