#include "gather_ipc.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "family.h"
#include "freeze_tree.h"
#include "stubs.h"
#include "sysv.h"

#define READ 4u
#define INTERRUPTED(rax) ((int64_t)(rax) <= -512 && (int64_t)(rax) >= -516)

/* ---- who waits ---- */

static int
find_waits(struct ipc_look *l, struct frozen *z, size_t i, const long two[2])
{
	struct user_regs_struct r;
	struct ipc_wait *w;

	for (size_t k = 0; k < z->n; k++) {
		stubs_home(z, &z->v[k], &r);
		if (((long)r.orig_rax != two[0] &&
			(long)r.orig_rax != two[1]) ||
		    !INTERRUPTED(r.rax))
			continue;
		w = process_grow(&l->waits, &l->nwaits, sizeof(*w));
		if (w == NULL)
			return -ENOMEM;
		*w = (struct ipc_wait){ i, (int32_t)r.rdi };
	}
	return 0;
}

static int
begin(struct ipc_look *l, struct frozen_tree *ft, struct family *t,
    const long two[2])
{
	int err = 0;

	*l = (struct ipc_look){ .t = t,
		.here = calloc(t->n, sizeof(*l->here)),
		.uses = calloc(t->n, sizeof(*l->uses)) };
	if (l->here == NULL || l->uses == NULL)
		return -ENOMEM;
	for (size_t i = 0; err == 0 && i < t->n; i++) {
		l->here[i] = sysv_same_namespace(t->v[i]->pid);
		err = find_waits(l, ft->v[i], i, two);
	}
	return err;
}

int
ipc_look(struct snap_ctx *cx, struct frozen_tree *ft, struct family *t,
    const struct ipc_look_kind *k)
{
	struct ipc_look l = { 0 };
	char *text = NULL;
	int err = sysv_read(cx, k->file, &text);

	if (err == 0 && sysv_any(text)) {
		err = begin(&l, ft, t, k->calls);
		if (err == 0)
			err = k->collect(&l, strchr(text, '\n'));
		frozen_step(cx, ft->v[0], k->name);
	}
	free(l.here);
	free(l.uses);
	free(l.waits);
	free(text);
	return err == 0 ? 0
			: snap_fail(cx, err, "%s: %s", k->name, strerror(-err));
}

/* ---- who uses one ---- */

void
ipc_look_at(struct ipc_look *l, int32_t id)
{
	memset(l->uses, 0, l->t->n * sizeof(*l->uses));
	for (size_t i = 0; i < l->nwaits; i++)
		if (l->waits[i].id == id)
			l->uses[l->waits[i].i] = true;
}

void
ipc_look_used(struct ipc_look *l, pid_t pid)
{
	const struct process *p = pid > 0 ? family_find(l->t, pid) : NULL;

	if (p != NULL)
		l->uses[p->index] = true;
}

size_t
ipc_look_first(const struct ipc_look *l)
{
	size_t first = 0;

	while (first < l->t->n && !(l->uses[first] && l->here[first]))
		first++;
	return first;
}

/* ---- who may read it ---- */

static bool
is_in_group(const struct creds *c, gid_t gid)
{
	if (c->fsgid == gid)
		return true;
	for (size_t i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

static bool
same_users(pid_t pid)
{
	char ours[64] = "", its[64] = "", path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return readlink("/proc/self/ns/user", ours, sizeof(ours) - 1) > 0 &&
	       readlink(path, its, sizeof(its) - 1) > 0 &&
	       strcmp(ours, its) == 0;
}

static bool
may_read(const struct process *p, const struct ipc *o)
{
	const struct creds *c = &p->threads[0].creds;
	uint32_t mode = o->mode;

	if (c->euid == o->uid || c->euid == o->cuid)
		mode >>= 6;
	else if (is_in_group(c, o->gid) || is_in_group(c, o->cgid))
		mode >>= 3;
	return mode & READ ||
	       (c->cap_eff & 1ull << CAP_IPC_OWNER && same_users(p->pid));
}

struct process *
ipc_look_reader(const struct ipc_look *l, const struct ipc *o)
{
	for (size_t i = 0; i < l->t->n; i++)
		if (l->uses[i] && l->here[i] && may_read(l->t->v[i], o))
			return l->t->v[i];
	return NULL;
}
