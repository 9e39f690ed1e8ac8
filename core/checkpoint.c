/*
 * checkpoint.c - the order of a checkpoint, and nothing else.
 */
#include "checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint_tracked.h"
#include "copytime.h"
#include "cow.h"
#include "ctx.h"
#include "family.h"
#include "filling.h"
#include "freeze_tree.h"
#include "gather.h"
#include "heal.h"
#include "look_ahead.h"
#include "memory.h"
#include "numa_areas.h"
#include "resource.h"
#include "secret.h"
#include "sharers.h"
#include "sysv.h"
#include "twin.h"
#include "unseen.h"

/* A checkpoint that something was changed under is taken again. */
#define TRIES 5

/* A process for each that is frozen. */
static int
make_tree(
    struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp)
{
	struct zombie *zombie;

	cp->twins = calloc(ft->n, sizeof(struct twin *));
	if (cp->twins == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	for (size_t i = 0; i < ft->n; i++) {
		struct process *p = family_add(&cp->tree, ft->parent[i]);

		if (p == NULL)
			return snap_fail(cx, -ENOMEM, "no memory");
		if (p->depth > FAMILY_DEPTH_MAX)
			return snap_fail(cx, -E2BIG,
			    "process %d is more than %d levels below %d",
			    (int)ft->v[i]->pid, FAMILY_DEPTH_MAX,
			    (int)ft->v[0]->pid);
		p->pid = ft->v[i]->pid;
	}
	for (size_t i = 0; i < ft->nzombies; i++) {
		struct process *p = cp->tree.v[ft->zombies[i].parent];

		zombie =
		    process_grow(&p->zombies, &p->nzombies, sizeof(*zombie));
		if (zombie == NULL)
			return snap_fail(cx, -ENOMEM, "no memory");
		*zombie = ft->zombies[i].zombie;
	}
	return 0;
}

static int
note_hidden(
    struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp)
{
	char what[32];

	for (size_t i = 0; i < ft->nhidden; i++) {
		const struct left_out *l = &ft->hidden[i];

		snprintf(what, sizeof(what), "child %d", (int)l->pid);
		if (process_unsupported(cp->tree.v[l->parent], what,
			"\"%s\", which whoever reads this may not see: it "
			"comes back without this child",
			l->comm) != 0)
			return snap_fail(cx, -ENOMEM, "no memory");
	}
	return 0;
}

/* Without a twin: all of it is copied, or only what was written was. */
static int
take_without_twin(
    struct snap_ctx *cx, struct frozen *z, struct process *p, bool copied)
{
	int err = 0;

	if (!copied)
		err = memory_collect_frozen(cx, z->pid, 0, p);
	if (err == 0)
		err = gather_twin(cx, z->pid, p);
	if (err == 0 && !copied)
		err = numa_areas_collect_frozen(cx, p);
	return err;
}

/*
 * One process, while all are frozen.  What must be seen before anything is run
 * in the process comes first; the twin comes last, so that it shows the latest.
 * The scratch area is unmapped after memory has compared the twin with its
 * original, which both have it then.
 */
static int
take_member(struct snap_ctx *cx, struct frozen_tree *ft, size_t i,
    struct snap_checkpoint *cp)
{
	struct process *p = cp->tree.v[i];
	struct frozen *z = ft->v[i];
	int err;

	z->deadline = now_ns() + (uint64_t)cx->opt.freeze_timeout_ms * 1000000u;
	err = memory_collect_vmas(cx, z->pid, p);
	frozen_step(cx, z, "VMAs read");
	if (err == 0)
		err = gather_inside(cx, z, p);
	if (err == 0)
		err = memory_collect_locked(cx, z, p);
	for (size_t k = i + 1; err == 0 && k < ft->n; k++)
		if (ft->parent[k] == i && cp->tree.v[k]->group_stopped)
			err = gather_stop_told(
			    cx, z, ft->v[k]->pid, &cp->tree.v[k]->stop_told);
	/* A twin is a fork, and these have nothing to undo. */
	if (err == 0)
		err = gather_undo(cx, z, i > 0 ? twin_pid(cp->twins[0]) : 0, p);
	for (size_t k = 0; err == 0 && k < ft->ndead; k++)
		if (ft->dead[k].parent == i)
			twin_reap_dead(cx, z, ft->dead[k].pid);
	/* Its twin, an orphan, would come to one above it that adopts. */
	z->adopts |= ft->v[ft->parent[i]]->adopts;
	if (err == 0)
		err = tracked_scan(cx, ft, i, cp);
	if (err == 0 && !tracked_is_copied(cp, i))
		err = twin_fork(cx, z, p, &cp->twins[i]);
	if (err == 0 && !tracked_is_copied(cp, i))
		err = secret_collect(cx, z, cp->twins[i], p);
	if (err == 0 && cp->twins[i] == NULL)
		err = take_without_twin(cx, z, p, tracked_is_copied(cp, i));
	else if (err == 0)
		err = memory_collect_frozen(
		    cx, z->pid, twin_pid(cp->twins[i]), p);
	frozen_step(cx, z, "memory read");
	tracked_forget_ours(cp, i);
	if (err == 0)
		err = heal_close(cx, z);
	return err;
}

static int
take_frozen(
    struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp)
{
	int err;

	err = make_tree(cx, ft, cp);
	if (err == 0)
		err = tracked_begin(cx, ft, cp);
	copytime_limit(&cp->tree, cx->opt.freeze_timeout_ms);
	for (size_t i = 0; err == 0 && i < ft->n; i++)
		err = gather_outside(cx, ft->v[i], cp->tree.v[i]);
	if (err == 0)
		err = gather_shared(cx, cp->tree.v, cp->tree.n);
	if (err == 0)
		err = fds_collect(cx, cp->tree.v, cp->tree.n);
	frozen_step(cx, ft->v[0], "descriptors read");
	for (size_t i = 0; err == 0 && i < ft->n; i++)
		err = take_member(cx, ft, i, cp);
	if (err == 0)
		err = gather_shared_undos(cx, &cp->tree);
	if (err == 0)
		err = gather_semsets(cx, ft, &cp->tree);
	if (err == 0)
		err = gather_msgqueues(cx, ft, &cp->tree);
	return err == 0 ? note_hidden(cx, ft, cp) : err;
}

/* From the twin, at leisure. */
static int
take_late(struct snap_ctx *cx, struct twin *t, struct process *p)
{
	pid_t twin = twin_pid(t);
	int err = 0;

	if (twin != 0 && sysv_attached(p))
		err = memory_collect_flags(cx, twin, p);
	if (err == 0 && twin != 0)
		err = numa_areas_collect(cx, t, p);
	if (err == 0 && twin != 0)
		err = unseen_collect(cx, t, p);
	if (err == 0 && twin != 0)
		err = twin_settle(cx, t, p);
	if (err == 0 && twin != 0)
		snap_logf(cx, SNAP_STEP, "process %d: its twin %d is settled",
		    (int)p->pid, (int)twin);
	if (err == 0 && twin != 0)
		err = gather_twin(cx, twin, p);
	if (err == 0 && twin != 0)
		twin_forget_cpu(cx, t, p);
	return err == 0 ? memory_collect_late(cx, twin, p) : err;
}

static int
find_former(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	bool *but = calloc(cp->tree.n, sizeof(*but));
	int err;

	if (but == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	for (size_t i = 0; i < cp->tree.n; i++)
		but[i] = tracked_is_copied(cp, i);
	err = cow_find_former(cx, &cp->tree, cp->twins, but);
	free(but);
	return err;
}

static int
take_all_late(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	int err = tracked_settle(cx, cp);

	for (size_t i = 0; err == 0 && i < cp->tree.n; i++)
		err = take_late(cx, cp->twins[i], cp->tree.v[i]);
	if (err == 0)
		err = cow_find(cx, &cp->tree, cp->twins);
	if (err == 0)
		err = find_former(cx, cp);
	if (err == 0)
		err = sharers_list(cx, &cp->tree, cp->twins);
	if (err == 0)
		err = gather_msgqueues_waited(cx, &cp->tree);
	if (err == 0 && family_settle_contents(&cp->tree) != 0)
		err = snap_fail(cx, -ENOMEM, "no memory");
	if (err == 0)
		err = served_init(cx, &cp->files, cp->tree.v[0], cp->copied);
	if (err == 0)
		tracked_remember(cp);
	return err == 0 ? tracked_increment(cx, cp) : err;
}

static void
checkpoint_free(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	if (cp == NULL)
		return;
	/* First of all; and to end a twin it may be frozen again. */
	snap_checkpoint_release(cx, cp);
	tracked_drop(cp);
	aheads_free(&cp->aheads);
	for (size_t i = cp->tree.n; i-- > 0;)
		twin_free(cx, cp->twins[i]);
	checkpoint_files_fini(cp);
	family_fini(&cp->tree);
	free(cp->twins);
	free(cp);
}

static uint64_t
ticks_since_boot(void)
{
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * hz +
	       (uint64_t)now.tv_nsec * hz / 1000000000u;
}

/*
 * Thaw all, unless they are to be held; what was read of them before must be so
 * still.
 */
static int
let_go(struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp,
    bool hold, int err)
{
	size_t n = ft->n;
	struct earlies *early = calloc(n, sizeof(*early));
	uint64_t *us = calloc(n, sizeof(*us));

	for (size_t i = 0; early != NULL && i < n; i++) {
		early[i] = ft->v[i]->early;
		ft->v[i]->early = (struct earlies){ 0 };
	}
	cp->tree.thawed = ticks_since_boot();
	copytime_free(&cp->tree);
	if (hold && err == 0 && us != NULL) {
		for (size_t i = 0; i < n; i++)
			us[i] = (now_ns() - ft->v[i]->begun) / 1000;
		cp->held = ft;
	} else {
		thaw_tree(cx, ft, us);
	}
	if (err == 0 && (early == NULL || us == NULL))
		err = snap_fail(cx, -ENOMEM, "no memory");
	for (size_t i = 0; err == 0 && i < n; i++) {
		cp->tree.v[i]->frozen_us = us[i];
		err = early_confirm(&early[i], cp->tree.v[i]->pid);
	}
	for (size_t i = 0; early != NULL && i < n; i++)
		early_free(&early[i]);
	free(early);
	free(us);
	return err;
}

static int
take(struct snap_ctx *cx, pid_t pid, const struct snap_take_options *opt,
    struct snap_checkpoint **out)
{
	struct snap_checkpoint *cp = calloc(1, sizeof(*cp));
	struct frozen_tree *ft = NULL;
	int err;

	*out = cp;
	if (cp == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	pthread_mutex_init(&cp->lock, NULL);
	cp->tracker = snap_tracker_get(opt->tracker);
	tracked_look_before(cx, pid, opt->delta ? opt->copy_max : 0, cp);
	err = freeze_tree(cx, pid, opt, &ft);
	if (err != 0)
		return err;
	err = take_frozen(cx, ft, cp);
	err = let_go(cx, ft, cp, opt->hold, err);
	if (err == 0)
		err = take_all_late(cx, cp);
	aheads_free(&cp->aheads);
	return err;
}

/*
 * Memory that is still being brought can be the reason of any failure, but that
 * somebody else traces it: what is missing cannot be read from outside.
 */
static bool
is_worth_another(struct snap_ctx *cx, const pid_t *pids, size_t n,
    uint64_t deadline, int *err, int *tries)
{
	int filled;

	if (*err == -EBUSY ||
	    (*err == -EAGAIN && cx->error == 0 && ++*tries >= TRIES))
		return false;
	filled = filling_wait(cx, pids, n, deadline);
	if (filled < 0) {
		*err = filled;
		return false;
	}
	if (filled > 0)
		snap_clear(cx);
	return filled > 0 || (*err == -EAGAIN && cx->error == 0);
}

/* Whatever went wrong where one has no twin: next time all have one. */
static bool
has_missed(struct snap_ctx *cx, pid_t pid, const struct snap_checkpoint *cp,
    struct snap_take_options *opt)
{
	if (cp == NULL || !cp->copied)
		return false;
	snap_logf(cx, SNAP_STEP, "process %d: once more, with a twin: %s",
	    (int)pid, snap_error(cx));
	tracked_missed(cp);
	snap_clear(cx);
	opt->delta = false;
	return true;
}

/* It has failed; once its twins are gone, is it to be taken again? */
static bool
give_up_or_wait(struct snap_ctx *cx, struct snap_checkpoint *cp, pid_t pid,
    uint64_t deadline, int *err, int *tries)
{
	size_t n = cp == NULL ? 0 : cp->tree.n;
	pid_t *pids = calloc(n + 1, sizeof(*pids));
	bool again;

	for (size_t i = 0; pids != NULL && i < n; i++)
		pids[i] = cp->tree.v[i]->pid;
	checkpoint_free(cx, cp);
	if (pids == NULL)
		return false;
	if (n == 0)
		pids[n++] = pid;
	again = is_worth_another(cx, pids, n, deadline, err, tries);
	free(pids);
	return again;
}

int
snap_checkpoint_take(struct snap_ctx *cx, pid_t pid,
    const struct snap_take_options *wanted, struct snap_checkpoint **out)
{
	uint64_t deadline =
	    now_ns() + (uint64_t)cx->opt.freeze_timeout_ms * 1000000u;
	struct snap_take_options opt = { 0 };
	struct snap_checkpoint *cp;
	const struct process *p;
	bool missed = false;
	int err, tries = 0;

	*out = NULL;
	if (wanted != NULL)
		opt = *wanted;
	do {
		err = take(cx, pid, &opt, &cp);
		missed = err != 0 && has_missed(cx, pid, cp, &opt);
		if (missed)
			checkpoint_free(cx, cp);
	} while (missed || (err != 0 && give_up_or_wait(cx, cp, pid, deadline,
					    &err, &tries)));
	if (err == -EAGAIN)
		err = snap_fail(cx, -EBUSY,
		    "process %d: its threads changed their credentials, or "
		    "went on too early, %d times in a row",
		    (int)pid, TRIES);
	/* Where nothing better was said: no memory, mostly. */
	if (err != 0)
		return snap_fail(
		    cx, err, "process %d: %s", (int)pid, strerror(-err));
	p = cp->tree.v[0];
	snap_logf(cx, SNAP_STEP,
	    "process %d: checkpoint %s complete: held %llu us, %zu processes, "
	    "%zu VMAs, %llu bytes of pages",
	    (int)pid, p->id, (unsigned long long)p->frozen_us, cp->tree.n,
	    p->nvmas, (unsigned long long)p->pages_size);
	*out = cp;
	return 0;
}

bool
snap_checkpoint_tend(struct snap_checkpoint *cp)
{
	bool again = false;

	for (size_t i = 0; i < cp->tree.n; i++)
		again = twin_tend(cp->twins[i]) || again;
	return again;
}

void
snap_checkpoint_drop(struct snap_checkpoint *cp)
{
	struct snap_ctx cx;

	if (cp == NULL)
		return;
	/* Ending a twin may need a freeze, which needs a context. */
	ctx_init(&cx, NULL);
	checkpoint_free(&cx, cp);
}
