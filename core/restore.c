/*
 * restore.c - the order of a restore and nothing else.
 */
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "image.h"
#include "pager.h"
#include "resource.h"

#define KSIGSET 8

void
restore_note(struct restore *r, const char *fmt, ...)
{
	char *note = r->res->note, text[256];
	size_t n = strlen(note);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(note + n, sizeof(r->res->note) - n, "%s%s", n > 0 ? "; " : "",
	    text);
}

/* What the plan could not do and went on without, each thing once. */
static void
note_operations(struct restore *r)
{
	const struct plan *pl = r->plan;
	uint32_t last = UINT32_MAX;

	if (r->area->note[0] != '\0')
		restore_note(
		    r, "%.*s", (int)sizeof(r->area->note) - 1, r->area->note);
	for (size_t i = 0; i < pl->nops; i++) {
		int64_t ret = r->area->ops[i].ret;

		if (pl->ops[i].check != CHECK_NOTE || ret >= 0 ||
		    pl->ops[i].what == last)
			continue;
		last = pl->ops[i].what;
		restore_note(r, "%s: %s", pl->text + last, strerror((int)-ret));
	}
}

/*
 * From the clone on every signal is blocked: the new process inherits that,
 * and nobody must be able to run a handler of ours in it.
 */
static void
block_signals(struct restore *r)
{
	uint64_t all = ~0ull;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &r->saved_mask, KSIGSET);
}

static void
unblock_signals(struct restore *r)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &r->saved_mask, NULL, KSIGSET);
}

static int
open_pipes(struct restore *r)
{
	if (pipe2(r->go, O_CLOEXEC) < 0 || pipe2(r->end, O_CLOEXEC) < 0)
		return snap_fail(r->cx, -errno, "pipe: %s", strerror(errno));
	return 0;
}

/* Everything that can be known to fail is known before a process is made. */
static int
prepare(struct restore *r)
{
	int err;

	err = fds_check(r->cx, r->p);
	if (err == 0)
		err = restore_stdio(r);
	if (err == 0)
		err = restore_ignore(r);
	if (err == 0)
		err = restore_check(r);
	if (err == 0)
		err = open_pipes(r);
	if (err == 0)
		restore_pager_probe(r);
	if (err == 0)
		err = restore_open(r);
	if (err == 0)
		err = plan_make(r->cx, r->p, &r->host, &r->plan);
	if (err == 0)
		err = restore_area(r);
	if (err == 0)
		snap_logf(r->cx, SNAP_STEP,
		    "files opened, %zu operations planned", r->plan->nops);
	return err;
}

/* The pages are verified while the new process reads them. */
static int
bring_up(struct restore *r)
{
	int err = restore_rights(r, true);

	if (err == 0 && r->opt->replace && !r->opt->new_pid)
		err = restore_free_pids(r);
	if (err == 0 && !r->opt->new_pid)
		err = restore_check_tids(r);
	if (err == 0)
		err = restore_spawn(r);
	if (err == 0)
		snap_logf(r->cx, SNAP_STEP, "process %d made", (int)r->pid);
	if (err == 0 && r->host.paged)
		err = restore_pager_start(r);
	if (err == 0 && r->sums != NULL)
		err = image_verify(r->cx, r->p, r->sums, r->host.paged);
	if (err == 0)
		snap_logf(r->cx, SNAP_STEP, "pages verified");
	if (err == 0)
		err = restore_wait(r);
	if (err == 0 && r->pager != NULL)
		err = restore_pager_settle(r);
	if (err == 0)
		snap_logf(r->cx, SNAP_STEP, "memory and threads made");
	if (err == 0)
		err = restore_finish(r);
	return err;
}

/* What a pager could not bring is why the process died, not that it did. */
static int
undo(struct restore *r, int err)
{
	int why = 0;

	restore_kill(r);
	if (r->pager != NULL)
		why = pager_error(r->cx, r->pager);
	pager_free(r->pager);
	return why < 0 ? why : err;
}

static void
close_pipes(struct restore *r)
{
	for (int i = 0; i < 2; i++) {
		if (r->go[i] >= 0)
			close(r->go[i]);
		if (r->end[i] >= 0)
			close(r->end[i]);
	}
}

int
restore_process(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct process *p, const struct image_sums *sums,
    struct snap_restore_result *res)
{
	struct restore r = {
		.cx = cx,
		.opt = opt,
		.res = res,
		.p = p,
		.sums = sums,
		.go = { -1, -1 },
		.end = { -1, -1 },
	};
	int err;

	/*
	 * Our ids were changed on the way here: /proc/self must be ours, and
	 * the new process one that we may trace.  What we were lent keeps
	 * others of our uid from tracing us (ptrace(2): all capabilities of
	 * the tracee).
	 */
	prctl(PR_SET_DUMPABLE, 1);
	block_signals(&r);
	err = restore_rights(&r, false);
	if (err == 0)
		err = prepare(&r);
	if (err == 0)
		err = bring_up(&r);
	if (err == 0) {
		res->pid = r.pid;
		res->pager = r.pager;
		note_operations(&r);
		snap_logf(cx, SNAP_STEP, "process %d goes on", (int)r.pid);
	} else {
		err = undo(&r, err);
	}
	unblock_signals(&r);
	close_pipes(&r);
	restore_area_free(&r);
	restore_close(&r);
	plan_free(r.plan);
	layout_fini(&r.self);
	free(r.host.creds.groups);
	for (size_t i = 0; i < r.host.npatches; i++)
		free(r.host.patches[i].bytes);
	free(r.host.patches);
	return err;
}

int
snap_restore(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct snap_restore_result *res)
{
	struct process *p = NULL;
	struct image_sums *sums = NULL;
	int err;

	memset(res, 0, sizeof(*res));
	err = image_read(cx, opt->dir, &p, &sums);
	if (err == 0)
		snap_logf(cx, SNAP_STEP,
		    "image of %d read: %zu VMAs, %llu bytes of pages",
		    (int)p->pid, p->nvmas, (unsigned long long)p->pages_size);
	if (err == 0)
		err = restore_process(cx, opt, p, sums, res);
	image_sums_free(sums);
	process_free(p);
	return err;
}
