/*
 * checkpoint.c - the order of a checkpoint, and nothing else.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cow.h"
#include "ctx.h"
#include "family.h"
#include "filling.h"
#include "freeze_tree.h"
#include "gather.h"
#include "heal.h"
#include "image.h"
#include "memory.h"
#include "resource.h"
#include "sharers.h"
#include "snap.h"
#include "twin.h"

/* A checkpoint that something was changed under is taken again. */
#define TRIES 5

struct snap_checkpoint {
	struct family tree;
	struct twin **twins; /* of each; NULL: it was copied while frozen */
	struct image_tree image;
	struct image_hasher *hasher;
	pthread_mutex_t lock;	 /* of all below */
	char **sums, **pagesums; /* the texts, by process */
	int sums_error, pagesums_error;
};

/* ---- taking one ---- */

/* A process for each that is frozen. */
static int
make_tree(
    struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp)
{
	struct zombie *zombie;

	cp->twins = calloc(ft->n, sizeof(struct twin *));
	cp->sums = calloc(ft->n, sizeof(char *));
	cp->pagesums = calloc(ft->n, sizeof(char *));
	if (cp->twins == NULL || cp->sums == NULL || cp->pagesums == NULL)
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

/* What a twin of it would come to, when its parent is gone. */
static bool
is_adopted_by_us(const struct process *p)
{
	while (p->depth > 0) {
		p = p->tree->v[p->parent];
		if (p->child_subreaper)
			return true;
	}
	return false;
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
	for (size_t k = 0; err == 0 && k < ft->ndead; k++)
		if (ft->dead[k].parent == i)
			twin_reap_dead(cx, z, ft->dead[k].pid);
	z->adopts |= is_adopted_by_us(p);
	if (err == 0)
		err = twin_fork(cx, z, p, &cp->twins[i]);
	if (err == 0)
		err = memory_collect_frozen(
		    cx, z->pid, twin_pid(cp->twins[i]), p);
	if (err == 0 && cp->twins[i] == NULL)
		err = gather_twin(cx, z->pid, p);
	frozen_step(cx, z, "memory read");
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
	for (size_t i = 0; err == 0 && i < ft->n; i++)
		err = gather_outside(cx, ft->v[i], cp->tree.v[i]);
	if (err == 0)
		err = fds_collect(cx, cp->tree.v, cp->tree.n);
	frozen_step(cx, ft->v[0], "descriptors read");
	for (size_t i = 0; err == 0 && i < ft->n; i++)
		err = take_member(cx, ft, i, cp);
	return err == 0 ? note_hidden(cx, ft, cp) : err;
}

static ssize_t read_node(
    void *arg, uint32_t n, void *buf, size_t len, uint64_t off);

/* From the twin, at leisure. */
static int
take_late(struct snap_ctx *cx, struct twin *t, struct process *p)
{
	pid_t twin = twin_pid(t);
	int err = 0;

	if (twin != 0)
		err = twin_settle(cx, t);
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
take_all_late(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < cp->tree.n; i++)
		err = take_late(cx, cp->twins[i], cp->tree.v[i]);
	if (err == 0)
		err = cow_find(cx, &cp->tree, cp->twins);
	if (err == 0)
		err = sharers_list(cx, &cp->tree, cp->twins);
	if (err == 0 && family_settle_contents(&cp->tree) != 0)
		err = snap_fail(cx, -ENOMEM, "no memory");
	if (err == 0)
		err = image_write(cx, cp->tree.v[0], &cp->image);
	if (err != 0)
		return err;
	cp->hasher = image_hasher_new(&cp->image, read_node, cp);
	return cp->hasher == NULL ? snap_fail(cx, -ENOMEM, "no memory") : 0;
}

static void
checkpoint_free(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	if (cp == NULL)
		return;
	for (size_t i = cp->tree.n; i-- > 0;)
		twin_free(cx, cp->twins[i]);
	image_hasher_free(cp->hasher);
	image_tree_free(&cp->image);
	for (size_t i = 0; cp->sums != NULL && i < cp->tree.n; i++)
		free(cp->sums[i]);
	for (size_t i = 0; cp->pagesums != NULL && i < cp->tree.n; i++)
		free(cp->pagesums[i]);
	family_fini(&cp->tree);
	free(cp->twins);
	free(cp->sums);
	free(cp->pagesums);
	pthread_mutex_destroy(&cp->lock);
	free(cp);
}

/* Thaw all; what was read of them before must be so still. */
static int
let_go(struct snap_ctx *cx, struct frozen_tree *ft, struct snap_checkpoint *cp,
    int err)
{
	size_t n = ft->n;
	struct earlies *early = calloc(n, sizeof(*early));
	uint64_t *us = calloc(n, sizeof(*us));

	for (size_t i = 0; early != NULL && i < n; i++) {
		early[i] = ft->v[i]->early;
		ft->v[i]->early = (struct earlies){ 0 };
	}
	thaw_tree(cx, ft, us);
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
	err = freeze_tree(cx, pid, opt, &ft);
	if (err != 0)
		return err;
	err = take_frozen(cx, ft, cp);
	err = let_go(cx, ft, cp, err);
	return err == 0 ? take_all_late(cx, cp) : err;
}

/*
 * Memory that is still being brought can be the reason of any failure, but that
 * somebody else traces it: what is missing cannot be read from outside.
 */
static bool
is_worth_another(struct snap_ctx *cx, pid_t pid, int *err, int *tries)
{
	int filled;

	if (*err == -EBUSY ||
	    (*err == -EAGAIN && cx->error == 0 && ++*tries >= TRIES))
		return false;
	filled = filling_wait(cx, pid);
	if (filled < 0) {
		*err = filled;
		return false;
	}
	if (filled > 0)
		snap_clear(cx);
	return filled > 0 || (*err == -EAGAIN && cx->error == 0);
}

int
snap_checkpoint_take(struct snap_ctx *cx, pid_t pid,
    const struct snap_take_options *opt, struct snap_checkpoint **out)
{
	struct snap_checkpoint *cp;
	const struct process *p;
	int err, tries = 0;

	*out = NULL;
	do {
		err = take(cx, pid, opt, &cp);
		if (err != 0)
			checkpoint_free(cx, cp);
	} while (err != 0 && is_worth_another(cx, pid, &err, &tries));
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

void
snap_checkpoint_drop(struct snap_checkpoint *cp)
{
	struct snap_ctx *cx;

	if (cp == NULL)
		return;
	/* Ending a twin may need a freeze, which needs a context. */
	cx = snap_ctx_new(NULL);
	checkpoint_free(cx, cp);
	snap_ctx_free(cx);
}

/* ---- looking at it ---- */

void
snap_checkpoint_info(
    const struct snap_checkpoint *cp, struct snap_checkpoint_info *info)
{
	const struct process *p = cp->tree.v[0];

	memset(info, 0, sizeof(*info));
	info->pid = p->pid;
	info->twin = twin_pid(cp->twins[0]);
	for (size_t i = 0; i < cp->tree.n; i++) {
		info->pages_bytes += cp->tree.v[i]->pages_size;
		if (cp->tree.v[i]->frozen_us > info->frozen_us)
			info->frozen_us = cp->tree.v[i]->frozen_us;
	}
	info->time = p->time;
	info->processes = (unsigned)cp->tree.n;
	memcpy(info->id, p->id, sizeof(info->id));
}

size_t
snap_checkpoint_twins(const struct snap_checkpoint *cp, pid_t *pids, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < cp->tree.n; i++) {
		pid_t pid = twin_pid(cp->twins[i]);

		if (pid != 0 && found < n)
			pids[found] = pid;
		found += pid != 0;
	}
	return found;
}

uint32_t
snap_checkpoint_nodes(const struct snap_checkpoint *cp)
{
	return (uint32_t)cp->image.n;
}

const struct snap_node *
snap_checkpoint_node(const struct snap_checkpoint *cp, uint32_t n)
{
	return n < cp->image.n ? &cp->image.v[n].node : NULL;
}

uint32_t
snap_checkpoint_lookup(
    const struct snap_checkpoint *cp, uint32_t dir, const char *name)
{
	uint32_t n = dir < cp->image.n ? cp->image.v[dir].node.first_child : 0;

	while (n != 0 && strcmp(cp->image.v[n].node.name, name) != 0)
		n = cp->image.v[n].node.next;
	return n;
}

static ssize_t
read_bytes(const char *text, uint64_t size, void *buf, size_t len, uint64_t off)
{
	if (off >= size)
		return 0;
	if (len > size - off)
		len = size - off;
	memcpy(buf, text + off, len);
	return (ssize_t)len;
}

static ssize_t
read_content(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	do
		n = pread(fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Of all but the sums, without feeding them. */
static ssize_t
read_node(void *arg, uint32_t n, void *buf, size_t len, uint64_t off)
{
	struct snap_checkpoint *cp = arg;
	const struct image_node *node = &cp->image.v[n];

	switch (node->source) {
	case IMAGE_CONTENT:
		return read_content(node->content_fd, buf, len, off);
	case IMAGE_PAGES:
		return memory_read(node->p, buf, len, off);
	default:
		return read_bytes(node->text, node->node.size, buf, len, off);
	}
}

/* Computed when they are first read, which is after all else in one `cp -r`. */
static ssize_t
read_sums(struct snap_checkpoint *cp, const struct image_node *node, void *buf,
    size_t len, uint64_t off)
{
	char **sums = &cp->sums[node->p->index];
	int err;

	pthread_mutex_lock(&cp->lock);
	if (*sums == NULL && cp->sums_error == 0)
		cp->sums_error =
		    image_hasher_sums(cp->hasher, node->node.parent, sums);
	err = cp->sums_error;
	pthread_mutex_unlock(&cp->lock);
	/* From here on the text does not change any more. */
	return err != 0 ? err
			: read_bytes(*sums, node->node.size, buf, len, off);
}

/* Likewise. */
static ssize_t
read_pagesums(
    struct snap_checkpoint *cp, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct image_node *node = &cp->image.v[n];
	char **sums = &cp->pagesums[node->p->index];
	size_t size;
	int err;

	pthread_mutex_lock(&cp->lock);
	if (*sums == NULL && cp->pagesums_error == 0)
		cp->pagesums_error =
		    image_hasher_pagesums(cp->hasher, n, sums, &size);
	err = cp->pagesums_error;
	pthread_mutex_unlock(&cp->lock);
	return err != 0 ? err
			: read_bytes(*sums, node->node.size, buf, len, off);
}

ssize_t
snap_checkpoint_read(
    struct snap_checkpoint *cp, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct image_node *node;

	if (n >= cp->image.n || cp->image.v[n].node.type == SNAP_DIR)
		return -EISDIR;
	node = &cp->image.v[n];
	if (node->source == IMAGE_SUMS)
		return read_sums(cp, node, buf, len, off);
	if (node->source == IMAGE_PAGESUMS)
		return read_pagesums(cp, n, buf, len, off);
	return read_node(cp, n, buf, len, off);
}

void
snap_checkpoint_served(struct snap_checkpoint *cp, uint32_t n, const void *buf,
    size_t len, uint64_t off)
{
	image_hasher_feed(cp->hasher, n, buf, len, off);
}
