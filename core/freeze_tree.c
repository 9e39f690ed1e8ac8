#include "freeze_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "proc_task.h"
#include "twin.h"

struct search {
	struct snap_ctx *cx;
	const struct snap_take_options *opt;
	struct frozen_tree *ft;
	bool more; /* something was new in this pass */
};

static bool
is_member(const struct frozen_tree *ft, pid_t pid)
{
	for (size_t i = 0; i < ft->n; i++)
		if (ft->v[i]->pid == pid)
			return true;
	return false;
}

static bool
is_known(const struct frozen_tree *ft, pid_t pid)
{
	for (size_t i = 0; i < ft->nskip; i++)
		if (ft->skip[i] == pid)
			return true;
	for (size_t i = 0; i < ft->nzombies; i++)
		if (ft->zombies[i].zombie.pid == pid)
			return true;
	return is_member(ft, pid);
}

static bool
is_excluded(const struct snap_take_options *opt, pid_t pid)
{
	if (pid == getpid())
		return true;
	for (size_t i = 0; opt != NULL && i < opt->nexclude; i++)
		if (opt->exclude[i] == pid)
			return true;
	return false;
}

/* ---- one child ---- */

static int
skip(struct search *s, pid_t pid)
{
	pid_t *slot = process_grow(&s->ft->skip, &s->ft->nskip, sizeof(*slot));

	if (slot == NULL)
		return -ENOMEM;
	*slot = pid;
	return 0;
}

static int
list(struct left_out **v, size_t *n, size_t parent, pid_t pid, const char *comm)
{
	struct left_out *l = process_grow(v, n, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->parent = parent;
	l->pid = pid;
	snprintf(l->comm, sizeof(l->comm), "%s", comm);
	return 0;
}

/* A main thread that has ended looks like a zombie, but others go on. */
static bool
has_threads(pid_t pid)
{
	struct proc_status st;

	return proc_task_status(pid, 0, &st) == 0 && st.threads > 1;
}

static int
add_zombie(
    struct search *s, size_t parent, pid_t pid, const struct proc_stat *st)
{
	struct frozen_tree *ft = s->ft;
	struct frozen_child *c;
	bool dead;

	if (twin_is(pid, ft->v[parent]->pid, &dead)) {
		if (skip(s, pid) != 0)
			return -ENOMEM;
		return list(&ft->dead, &ft->ndead, parent, pid, st->comm);
	}
	c = process_grow(&ft->zombies, &ft->nzombies, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->parent = parent;
	c->zombie = (struct zombie){
		.pid = pid,
		.pgid = st->pgid,
		.sid = st->sid,
		.status = st->exit_code,
		.exit_signal = st->exit_signal > 0 ? st->exit_signal : 0,
	};
	snprintf(c->zombie.comm, sizeof(c->zombie.comm), "%.15s", st->comm);
	return 0;
}

/* It could not be frozen: if it has ended meanwhile, that is no error. */
static int
not_frozen(struct search *s, size_t parent, pid_t pid, int err)
{
	struct proc_stat st;

	if (err != -ESRCH)
		return err;
	if (proc_task_stat(pid, 0, &st) != 0) {
		snap_clear(s->cx);
		return 0;
	}
	if (st.state != 'Z' || has_threads(pid))
		return err;
	snap_clear(s->cx);
	return add_zombie(s, parent, pid, &st);
}

static int
keep(struct search *s, size_t parent, struct frozen *z)
{
	struct frozen_tree *ft = s->ft;
	size_t n = ft->n;
	struct frozen **slot;
	size_t *up;

	if (n >= FAMILY_MAX)
		return snap_fail(s->cx, -E2BIG,
		    "process %d has more than %d processes below it",
		    (int)ft->v[0]->pid, FAMILY_MAX);
	up = process_grow(&ft->parent, &n, sizeof(*up));
	slot = up == NULL
		   ? NULL
		   : process_grow(&ft->v, &ft->n, sizeof(struct frozen *));
	if (slot == NULL)
		return -ENOMEM;
	*up = parent;
	*slot = z;
	return 0;
}

/*
 * Asked when it is frozen, so that it cannot become another's (by executing a
 * set-user-ID program) after the answer.
 */
static int
freeze_child(struct search *s, size_t parent, pid_t pid)
{
	const struct snap_take_options *opt = s->opt;
	struct frozen_tree *ft = s->ft;
	struct frozen *z = NULL;
	struct proc_stat st = { 0 };
	int err;

	err = freeze(s->cx, pid, &z);
	if (err != 0)
		return not_frozen(s, parent, pid, err);
	if (opt != NULL && opt->may != NULL && !opt->may(opt->may_arg, pid)) {
		thaw(s->cx, z);
		proc_task_stat(pid, 0, &st);
		err = list(&ft->hidden, &ft->nhidden, parent, pid, st.comm);
		return err == 0 ? skip(s, pid) : err;
	}
	err = keep(s, parent, z);
	if (err != 0)
		thaw(s->cx, z);
	return err;
}

static int
look_at(struct search *s, size_t parent, pid_t pid)
{
	struct proc_stat st;

	if (is_known(s->ft, pid))
		return 0;
	if (is_excluded(s->opt, pid) || twin_is_ours(pid))
		return skip(s, pid);
	s->more = true;
	if (proc_task_stat(pid, 0, &st) != 0)
		return 0;
	if (st.state == 'Z' && !has_threads(pid))
		return add_zombie(s, parent, pid, &st);
	return freeze_child(s, parent, pid);
}

/* ---- all of them ---- */

static int
look_at_list(struct search *s, size_t parent, const char *text)
{
	const char *at = text;
	int err = 0;
	char *end;

	while (err == 0) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		at = end;
		err = look_at(s, parent, (pid_t)pid);
		if (err == 0 && s->more && now_ns() > s->ft->deadline)
			err = snap_fail(s->cx, -ETIMEDOUT,
			    "process %d would not freeze: the processes below "
			    "it come and go",
			    (int)s->ft->v[0]->pid);
	}
	return err;
}

/* Each thread has the list of the children that it made. */
static int
look_below(struct search *s, size_t parent)
{
	const struct frozen *z = s->ft->v[parent];
	char name[48], *text;
	int err = 0;

	for (size_t i = 0; i < z->n && err == 0; i++) {
		snprintf(
		    name, sizeof(name), "task/%d/children", (int)z->v[i].tid);
		err = proc_read(s->cx, z->pid, name, &text, NULL);
		if (err != 0)
			return err;
		err = look_at_list(s, parent, text);
		free(text);
	}
	return err;
}

/*
 * A frozen process without a child gets none, unless it adopts one, of a
 * process that is not frozen: so until a pass finds nothing.
 */
static int
search(struct search *s)
{
	int err = 0;

	do {
		s->more = false;
		for (size_t i = 0; err == 0 && i < s->ft->n; i++)
			err = look_below(s, i);
	} while (err == 0 && s->more);
	return err;
}

/* Each is to know who else is held by us. */
static int
introduce(struct frozen_tree *ft)
{
	ft->members = calloc(ft->n, sizeof(*ft->members));
	if (ft->members == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < ft->n; i++) {
		ft->members[i] = ft->v[i]->pid;
		ft->v[i]->members = ft->members;
		ft->v[i]->nmembers = ft->n;
	}
	return 0;
}

int
freeze_tree(struct snap_ctx *cx, pid_t pid, const struct snap_take_options *opt,
    struct frozen_tree **out)
{
	struct frozen_tree *ft = calloc(1, sizeof(*ft));
	struct search s = { .cx = cx, .opt = opt, .ft = ft };
	struct frozen *z = NULL;
	int err;

	if (ft == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	ft->deadline =
	    now_ns() + (uint64_t)cx->opt.freeze_timeout_ms * 1000000u;
	err = freeze(cx, pid, &z);
	if (err == 0) {
		err = keep(&s, 0, z);
		if (err != 0)
			thaw(cx, z);
	}
	if (err == 0)
		err = search(&s);
	if (err == 0)
		err = introduce(ft);
	if (err == -ENOMEM)
		snap_fail(cx, err, "no memory");
	if (err != 0) {
		thaw_tree(cx, ft, NULL);
		return err;
	}
	if (ft->n > 1)
		snap_logf(cx, SNAP_STEP, "process %d: frozen: %zu processes",
		    (int)pid, ft->n);
	*out = ft;
	return 0;
}

/* From the last, so that each puts back what it found when it began. */
void
thaw_tree(struct snap_ctx *cx, struct frozen_tree *ft, uint64_t *us)
{
	uint64_t held;

	if (ft == NULL)
		return;
	for (size_t i = ft->n; i-- > 0;) {
		held = thaw(cx, ft->v[i]);
		if (us != NULL)
			us[i] = held;
	}
	free(ft->v);
	free(ft->parent);
	free(ft->zombies);
	free(ft->dead);
	free(ft->hidden);
	free(ft->skip);
	free(ft->members);
	free(ft);
}
