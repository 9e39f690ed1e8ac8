/*
 * checkpoint.c - the order of a checkpoint, and nothing else.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "filling.h"
#include "freeze.h"
#include "gather.h"
#include "heal.h"
#include "image.h"
#include "memory.h"
#include "resource.h"
#include "snap.h"
#include "twin.h"

/* A checkpoint that something was changed under is taken again. */
#define TRIES 5

struct snap_checkpoint {
	struct process *p;
	struct twin *twin; /* NULL: it was copied while frozen */
	struct image_tree tree;
	struct image_hasher *hasher;
	pthread_mutex_t lock; /* of all below */
	char *sums, *pagesums;
	int sums_error, pagesums_error;
};

/* ---- taking one ---- */

/*
 * While it is frozen.  What must be seen before anything is run in the process
 * comes first; the twin comes last, so that it shows the latest.  The scratch
 * area is unmapped after memory has compared the twin with its original, which
 * both have it then.
 */
static int
take_frozen(struct snap_ctx *cx, struct frozen *z, struct snap_checkpoint *cp)
{
	struct process *p = cp->p;
	int err;

	err = gather_outside(cx, z, p);
	if (err == 0)
		err = fds_collect(cx, z->pid, p);
	frozen_step(cx, z, "descriptors read");
	if (err == 0)
		err = memory_collect_vmas(cx, z->pid, p);
	frozen_step(cx, z, "VMAs read");
	if (err == 0)
		err = gather_inside(cx, z, p);
	if (err == 0)
		err = twin_fork(cx, z, p, &cp->twin);
	if (err == 0)
		err = memory_collect_frozen(cx, z->pid, twin_pid(cp->twin), p);
	if (err == 0 && cp->twin == NULL)
		err = gather_twin(cx, z->pid, p);
	frozen_step(cx, z, "memory read");
	if (err == 0)
		err = heal_close(cx, z);
	return err;
}

static ssize_t read_node(
    void *arg, uint32_t n, void *buf, size_t len, uint64_t off);

/* From the twin, at leisure. */
static int
take_late(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	pid_t twin = twin_pid(cp->twin);
	int err = 0;

	if (twin != 0)
		err = twin_settle(cx, cp->twin);
	if (err == 0 && twin != 0)
		snap_logf(cx, SNAP_STEP, "process %d: its twin %d is settled",
		    (int)cp->p->pid, (int)twin);
	if (err == 0 && twin != 0)
		err = gather_twin(cx, twin, cp->p);
	if (err == 0 && twin != 0)
		twin_forget_cpu(cx, cp->twin, cp->p);
	if (err == 0)
		err = memory_collect_late(cx, cp->p->pid, twin, cp->p);
	if (err == 0)
		err = image_write(cx, cp->p, &cp->tree);
	if (err != 0)
		return err;
	cp->hasher = image_hasher_new(&cp->tree, read_node, cp);
	return cp->hasher == NULL ? snap_fail(cx, -ENOMEM, "no memory") : 0;
}

static void
checkpoint_free(struct snap_ctx *cx, struct snap_checkpoint *cp)
{
	if (cp == NULL)
		return;
	twin_free(cx, cp->twin);
	image_hasher_free(cp->hasher);
	image_tree_free(&cp->tree);
	process_free(cp->p);
	free(cp->sums);
	free(cp->pagesums);
	pthread_mutex_destroy(&cp->lock);
	free(cp);
}

static int
take(struct snap_ctx *cx, pid_t pid, const struct snap_take_options *opt,
    struct snap_checkpoint **out)
{
	struct snap_checkpoint *cp = calloc(1, sizeof(*cp));
	struct earlies early = { 0 };
	struct frozen *z = NULL;
	int err;

	*out = cp;
	if (cp == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	pthread_mutex_init(&cp->lock, NULL);
	cp->p = process_new();
	if (cp->p == NULL)
		return snap_fail(cx, -ENOMEM, "no memory");
	err = freeze(cx, pid, &z);
	if (err != 0)
		return err;
	if (opt != NULL) {
		z->exclude = opt->exclude;
		z->nexclude = opt->nexclude;
	}
	err = take_frozen(cx, z, cp);
	early = z->early;
	z->early = (struct earlies){ 0 };
	cp->p->frozen_us = thaw(cx, z);
	if (err == 0)
		err = early_confirm(&early, pid);
	early_free(&early);
	return err == 0 ? take_late(cx, cp) : err;
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
	snap_logf(cx, SNAP_STEP,
	    "process %d: checkpoint %s complete: held %llu us, %zu VMAs, "
	    "%llu bytes of pages",
	    (int)pid, cp->p->id, (unsigned long long)cp->p->frozen_us,
	    cp->p->nvmas, (unsigned long long)cp->p->pages_size);
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
	memset(info, 0, sizeof(*info));
	info->pid = cp->p->pid;
	info->twin = twin_pid(cp->twin);
	info->frozen_us = cp->p->frozen_us;
	info->time = cp->p->time;
	info->pages_bytes = cp->p->pages_size;
	memcpy(info->id, cp->p->id, sizeof(info->id));
}

uint32_t
snap_checkpoint_nodes(const struct snap_checkpoint *cp)
{
	return (uint32_t)cp->tree.n;
}

const struct snap_node *
snap_checkpoint_node(const struct snap_checkpoint *cp, uint32_t n)
{
	return n < cp->tree.n ? &cp->tree.v[n].node : NULL;
}

uint32_t
snap_checkpoint_lookup(
    const struct snap_checkpoint *cp, uint32_t dir, const char *name)
{
	uint32_t n = dir < cp->tree.n ? cp->tree.v[dir].node.first_child : 0;

	while (n != 0 && strcmp(cp->tree.v[n].node.name, name) != 0)
		n = cp->tree.v[n].node.next;
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
	const struct image_node *node = &cp->tree.v[n];

	switch (node->source) {
	case IMAGE_CONTENT:
		return read_content(node->content_fd, buf, len, off);
	case IMAGE_PAGES:
		return memory_read(cp->p, buf, len, off);
	default:
		return read_bytes(node->text, node->node.size, buf, len, off);
	}
}

/* Computed when they are first read, which is after all else in one `cp -r`. */
static ssize_t
read_sums(struct snap_checkpoint *cp, const struct snap_node *node, void *buf,
    size_t len, uint64_t off)
{
	int err;

	pthread_mutex_lock(&cp->lock);
	if (cp->sums == NULL && cp->sums_error == 0)
		cp->sums_error = image_hasher_sums(cp->hasher, &cp->sums);
	err = cp->sums_error;
	pthread_mutex_unlock(&cp->lock);
	/* From here on the text does not change any more. */
	return err != 0 ? err : read_bytes(cp->sums, node->size, buf, len, off);
}

/* Likewise. */
static ssize_t
read_pagesums(struct snap_checkpoint *cp, const struct snap_node *node,
    void *buf, size_t len, uint64_t off)
{
	size_t size;
	int err;

	pthread_mutex_lock(&cp->lock);
	if (cp->pagesums == NULL && cp->pagesums_error == 0)
		cp->pagesums_error =
		    image_hasher_pagesums(cp->hasher, &cp->pagesums, &size);
	err = cp->pagesums_error;
	pthread_mutex_unlock(&cp->lock);
	return err != 0 ? err
			: read_bytes(cp->pagesums, node->size, buf, len, off);
}

ssize_t
snap_checkpoint_read(
    struct snap_checkpoint *cp, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct image_node *node;

	if (n >= cp->tree.n || cp->tree.v[n].node.type == SNAP_DIR)
		return -EISDIR;
	node = &cp->tree.v[n];
	if (node->source == IMAGE_SUMS)
		return read_sums(cp, &node->node, buf, len, off);
	if (node->source == IMAGE_PAGESUMS)
		return read_pagesums(cp, &node->node, buf, len, off);
	return read_node(cp, n, buf, len, off);
}

void
snap_checkpoint_served(struct snap_checkpoint *cp, uint32_t n, const void *buf,
    size_t len, uint64_t off)
{
	image_hasher_feed(cp->hasher, n, buf, len, off);
}
