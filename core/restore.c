/*
 * restore.c - the order of a restore and nothing else.
 */
#include "restore_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "chain.h"
#include "ctx.h"
#include "image.h"
#include "pager.h"
#include "resource.h"
#include "restore_seccomp.h"

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
	snap_printable(text);
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
 * Everything that can be known to fail is known before a process is made.  Each
 * area takes its place, so the layout is looked at anew.
 */
static int
prepare_process(struct restore *r)
{
	const struct snap_template *tmpl = r->opt->tmpl;
	int err;

	r->host.group = restore_keeps_session(r) ? getpgrp() : 0;
	r->host.mortal = r->opt->child;
	layout_fini(&r->self);
	err = layout_self(r->cx, &r->self);
	if (err == 0 && tmpl != NULL &&
	    layout_add(&r->self, (struct range){ tmpl->start, tmpl->end }) < 0)
		err = snap_fail(r->cx, -ENOMEM, "no memory");
	if (err == 0)
		err = plan_make(r->cx, r->p, &r->host, &r->plan);
	if (err == 0)
		err = restore_plan_inherited(r);
	if (err == 0)
		err = restore_area(r);
	return err == 0 ? restore_seccomp_check(r) : err;
}

static int
check(struct restore *r)
{
	return fds_check(r->cx, r->p);
}

static int
open_process(struct restore *r)
{
	int err = restore_check(r);

	return err == 0 ? restore_open(r) : err;
}

/* Sentences say whose it is. */
static int
for_each(struct restore_tree *t, int (*step)(struct restore *r))
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->n; i++) {
		t->cx->where = t->v[i].where;
		err = step(&t->v[i]);
	}
	t->cx->where = NULL;
	return err;
}

static int
open_pipes(struct restore_tree *t)
{
	if (pipe2(t->go, O_CLOEXEC) < 0 || pipe2(t->end, O_CLOEXEC) < 0)
		return snap_fail(t->cx, -errno, "pipe: %s", strerror(errno));
	return 0;
}

/* Of what no template is made; and the socket of one. */
static int
prepare_template(struct restore_tree *t)
{
	if (t->ninfants > 1)
		return snap_fail(t->cx, -ENOTSUP,
		    "instances share the memory of one process only, and this "
		    "is a tree of them");
	/* Nobody would see that that image has changed. */
	if (t->family->nabove > 0)
		return snap_fail(t->cx, -ENOTSUP,
		    "instances share the memory of one process only, and part "
		    "of this is in the image of its parent%s",
		    t->family->v[0]->parent_id[0] != '\0'
			? ": it is an increment, snapfs-merge(1) it"
			: "");
	if (t->template == NULL)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, t->control) <
	    0)
		return snap_fail(t->cx, -errno, "socket: %s", strerror(errno));
	return 0;
}

static int
make_nursery(struct restore_tree *t)
{
	size_t len = sizeof(*t->nursery) + t->ninfants * sizeof(pid_t);
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return snap_fail(t->cx, -errno, "mmap: %s", strerror(errno));
	t->nursery = at;
	t->nursery_len = len;
	t->born = calloc(restore_births(t) + 1, sizeof(*t->born));
	return t->born == NULL ? snap_fail(t->cx, -ENOMEM, "no memory") : 0;
}

static int
prepare(struct restore_tree *t)
{
	int err;

	err = restore_infants(t);
	if (err == 0)
		err = make_nursery(t);
	if (err == 0)
		err = open_pipes(t);
	if (err == 0 && (t->template != NULL || t->opt->tmpl != NULL))
		err = prepare_template(t);
	if (err == 0)
		err = for_each(t, check);
	if (err == 0)
		err = restore_ipc_check(t);
	if (err == 0)
		err = restore_stdio(&t->v[0]);
	if (err == 0)
		err = for_each(t, restore_ignore);
	if (err == 0)
		err = restore_merge(t);
	if (err == 0)
		err = restore_terminal_ask(t);
	if (err == 0)
		restore_pager_probe(t);
	if (err == 0)
		err = for_each(t, open_process);
	if (err < 0)
		return err;
	restore_number(t);
	err = restore_seccomp_probe(t);
	if (err == 0)
		err = restore_inherit(t);
	if (err == 0)
		err = restore_pager_divide(t);
	if (err == 0)
		err = for_each(t, prepare_process);
	if (err == 0)
		snap_logf(t->cx, SNAP_STEP,
		    "files opened, %zu operations planned", t->v[0].plan->nops);
	return err;
}

/*
 * Of all: nobody's ids are looked at while another's may still be in use.  Who
 * is replaced is killed only for an image that is whole, and for files that are
 * there.
 */
static int
free_pids(struct restore_tree *t)
{
	int err = t->opt->replace ? restore_verify(t) : 0;

	if (err == 0 && t->opt->replace)
		err = restore_try_files(t);
	if (err == 0 && t->opt->replace)
		err = restore_replace(t);
	for (size_t i = 0; err == 0 && i < t->n; i++)
		err = restore_check_tids(&t->v[i]);
	return err;
}

/*
 * What is read is verified while the new processes read it; a pager verifies
 * what it brings.
 */
static int
bring_up(struct restore_tree *t)
{
	int err = restore_rights(&t->v[0], true);

	if (err == 0 && t->template != NULL)
		return restore_template(t);
	if (err == 0 && !t->opt->new_pid)
		err = free_pids(t);
	if (err == 0)
		err = restore_segments_settle(t);
	if (err == 0)
		err = restore_ipc_settle(t);
	if (err == 0)
		err = t->opt->tmpl != NULL ? restore_instance(t)
					   : restore_spawn(t);
	if (err == 0)
		snap_logf(
		    t->cx, SNAP_STEP, "process %d made", (int)t->v[0].pid);
	if (err == 0 && t->npaged > 0)
		err = restore_pager_start(t);
	if (err == 0)
		err = restore_verify(t);
	if (err == 0)
		err = restore_wait(t);
	if (err == 0 && t->pager != NULL)
		err = restore_pager_settle(t);
	if (err == 0)
		restore_huge(&t->v[0]);
	if (err == 0)
		err = restore_ipc_give(t);
	if (err == 0)
		snap_logf(t->cx, SNAP_STEP, "memory and threads made");
	if (err == 0)
		err = restore_finish(t);
	if (err == 0 && t->pager != NULL)
		pager_let_go(t->pager);
	return err;
}

/* What a pager could not bring is why the process died, not that it did. */
static int
undo(struct restore_tree *t, int err)
{
	struct snap_pager *pager = t->pager;
	int why = 0;

	restore_kill(t);
	restore_segments_undo(t);
	if (pager != NULL)
		why = pager_error(t->cx, pager);
	pager_free(pager);
	return why < 0 ? why : err;
}

/*
 * From the clone on every signal is blocked: the new process inherits that,
 * and nobody must be able to run a handler of ours in it.
 */
static int
restore_blocked(struct restore_tree *t)
{
	uint64_t all = ~0ull, saved;
	int err;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &saved, KSIGSET);
	err = restore_rights(&t->v[0], false);
	if (err == 0)
		err = prepare(t);
	/* What a process lacks is said of each instance. */
	if (t->template != NULL)
		t->res->note[0] = '\0';
	if (err == 0)
		err = bring_up(t);
	if (err == 0) {
		t->res->pid = t->v[0].pid;
		t->res->pager = t->pager;
		t->res->tree = t->n > 1;
		snap_logf(
		    t->cx, SNAP_STEP, "process %d goes on", (int)t->v[0].pid);
		for (size_t i = 0; i < t->n; i++)
			note_operations(&t->v[i]);
	} else {
		err = undo(t, err);
	}
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &saved, NULL, KSIGSET);
	return err;
}

static void
process_fini(struct restore *r)
{
	restore_area_free(r);
	if (r->area_fd >= 0)
		close(r->area_fd);
	restore_close(r);
	plan_free(r->plan);
	plan_free(r->inherited);
	layout_fini(&r->self);
	free(r->host.creds.groups);
	for (size_t i = 0; i < r->host.npatches; i++)
		free(r->host.patches[i].bytes);
	free(r->host.patches);
	free(r->where);
}

static void
tree_fini(struct restore_tree *t)
{
	for (int i = 0; i < 2; i++) {
		if (t->control[i] >= 0)
			close(t->control[i]);
		if (t->fds[i] >= 0)
			close(t->fds[i]);
		if (t->go[i] >= 0)
			close(t->go[i]);
		if (t->end[i] >= 0)
			close(t->end[i]);
	}
	for (size_t i = 0; t->v != NULL && i < t->n; i++)
		process_fini(&t->v[i]);
	for (size_t i = 0; i < t->nsaved; i++)
		close(t->saved[i].fd);
	if (t->nursery != NULL)
		munmap(t->nursery, t->nursery_len);
	restore_inherit_free(t);
	restore_merge_free(t);
	restore_infants_free(t);
	free(t->born);
	free(t->made);
	free(t->joined);
	free(t->saved);
	free(t->v);
}

static int
tree_init(struct restore_tree *t)
{
	t->v = calloc(t->n, sizeof(*t->v));
	if (t->v == NULL)
		return snap_fail(t->cx, -ENOMEM, "no memory");
	for (size_t i = 0; i < t->n; i++) {
		struct restore *r = &t->v[i];

		r->cx = t->cx;
		r->opt = t->opt;
		r->res = t->res;
		r->tree = t;
		r->index = i;
		r->p = t->family->v[i];
		r->host.part = t->template != NULL    ? PLAN_TEMPLATE
			       : t->opt->tmpl != NULL ? PLAN_INSTANCE
						      : PLAN_WHOLE;
		r->host.control_fd = r->host.tty_fd = r->area_fd = -1;
		if (i > 0 &&
		    asprintf(&r->where, "process %d: ", (int)r->p->pid) < 0)
			return snap_fail(t->cx, -ENOMEM, "no memory");
	}
	return 0;
}

int
restore_family(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct family *family, struct snap_restore_result *res,
    struct snap_template *template)
{
	struct restore_tree t = {
		.cx = cx,
		.own_opt = *opt,
		.res = res,
		.family = family,
		.n = family->n,
		.template = template,
		.control = { -1, -1 },
		.fds = { -1, -1 },
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
	t.opt = &t.own_opt;
	err = tree_init(&t);
	if (err == 0)
		err = restore_blocked(&t);
	restore_ipc_end(&t, err != 0);
	restore_take_end(&t, err != 0);
	tree_fini(&t);
	return err;
}

/* An increment is read with its parents. */
static int
read_image(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct family *family)
{
	int err = image_read_tree(cx, opt->dir, family);

	if (err < 0 || family->v[0]->parent_id[0] == '\0')
		return err;
	restore_raise_limit();
	err = chain_resolve(cx, opt->dir, opt->parents, opt->nparents, family);
	if (err == 0)
		snap_logf(cx, SNAP_STEP, "%zu parents of the increment read",
		    family->nabove);
	return err;
}

int
snap_restore(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct snap_restore_result *res)
{
	struct family family = { 0 };
	int err;

	memset(res, 0, sizeof(*res));
	err = read_image(cx, opt, &family);
	if (err == 0)
		snap_logf(cx, SNAP_STEP,
		    "image of %d read: %zu processes, %zu VMAs, %llu bytes "
		    "of pages",
		    (int)family.v[0]->pid, family.n, family.v[0]->nvmas,
		    (unsigned long long)family.v[0]->pages_size);
	if (err == 0)
		err = restore_family(cx, opt, &family, res, NULL);
	family_fini(&family);
	return err;
}

int
snap_template_make(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct snap_template *out)
{
	struct snap_restore_options o = {
		.dir = opt->dir,
		.parents = opt->parents,
		.nparents = opt->nparents,
		.new_pid = true,
		.tty = -1,
		.cwd = -1,
		.ignore = opt->ignore,
		.lent_caps = opt->lent_caps,
		.child = opt->child,
	};
	struct snap_restore_result res = { 0 };
	struct family family = { 0 };
	int err;

	*out = (struct snap_template){ .control = -1, .pidfd = -1 };
	err = read_image(cx, &o, &family);
	if (err == 0)
		err = restore_family(cx, &o, &family, &res, out);
	if (err == 0) {
		out->pid = res.pid;
		memcpy(out->note, res.note, sizeof(out->note));
	}
	family_fini(&family);
	return err;
}
