/*
 * checkpoint_files.c - a checkpoint as a tree of files, that of its increment
 * behind it, and behind that the `core` of each process.
 */
#include "checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "corefile.h"
#include "increment.h"
#include "tracker.h"
#include "twin.h"

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
	info->only_delta = cp->copied;
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

/* ---- core files: made when they are asked for ---- */

struct core_node {
	struct corefile *file;
	struct snap_node node;
};

/* The directory of a process: the one that its `checkpoint` is in. */
static uint32_t
directory_of(const struct snap_checkpoint *cp, const struct process *p)
{
	const struct image_node *v = cp->files.tree.v;

	for (size_t n = 1; n < cp->files.tree.n; n++)
		if (v[n].p == p && strcmp(v[n].node.name, "checkpoint") == 0)
			return v[n].node.parent;
	return 0;
}

static struct core_node *
make_core(struct snap_checkpoint *cp, size_t i)
{
	const struct process *p = cp->tree.v[i];
	struct core_node *c;

	if (cp->cores == NULL)
		cp->cores = calloc(cp->tree.n, sizeof(*cp->cores));
	if (cp->cores == NULL)
		return NULL;
	c = &cp->cores[i];
	if (c->file == NULL)
		c->file = corefile_new(p);
	if (c->file == NULL)
		return NULL;
	c->node = (struct snap_node){
		.name = "core",
		.type = SNAP_FILE,
		.parent = directory_of(cp, p),
		.size = corefile_size(c->file),
		.uid = p->owner_uid,
		.gid = p->owner_gid,
	};
	return c;
}

/* The number `n`, or NULL: it is none, or there is no memory. */
static const struct core_node *
core_node(const struct snap_checkpoint *cp, uint32_t n)
{
	/* What it has made of a checkpoint does not change that. */
	struct snap_checkpoint *own = (struct snap_checkpoint *)cp;
	struct core_node *c = NULL;
	uint32_t base = snap_checkpoint_nodes(cp);

	if (n < base || n - base >= snap_checkpoint_cores(cp))
		return NULL;
	pthread_mutex_lock(&own->lock);
	if (cp->cores != NULL && cp->cores[n - base].file != NULL)
		c = &cp->cores[n - base];
	else
		c = make_core(own, n - base);
	pthread_mutex_unlock(&own->lock);
	return c;
}

/* The number of the core file in a directory; 0: none belongs there. */
static uint32_t
core_in(const struct snap_checkpoint *cp, uint32_t dir)
{
	uint32_t n = snap_checkpoint_lookup(cp, dir, "checkpoint");

	if (n == 0 || n >= cp->files.tree.n || cp->copied)
		return 0;
	n = snap_checkpoint_nodes(cp) + (uint32_t)cp->files.tree.v[n].p->index;
	return core_node(cp, n) == NULL ? 0 : n;
}

void
checkpoint_files_fini(struct snap_checkpoint *cp)
{
	for (size_t i = 0; cp->cores != NULL && i < cp->tree.n; i++)
		corefile_free(cp->cores[i].file);
	free(cp->cores);
	pthread_mutex_destroy(&cp->lock);
	increment_free(cp->increment);
	served_fini(&cp->files);
}

/* ---- all of them ---- */

uint32_t
snap_checkpoint_nodes(const struct snap_checkpoint *cp)
{
	return (uint32_t)cp->files.tree.n + increment_nodes(cp->increment);
}

uint32_t
snap_checkpoint_cores(const struct snap_checkpoint *cp)
{
	return cp->copied ? 0 : (uint32_t)cp->tree.n;
}

const struct snap_node *
snap_checkpoint_node(const struct snap_checkpoint *cp, uint32_t n)
{
	const struct core_node *c;

	if (n < cp->files.tree.n)
		return &cp->files.tree.v[n].node;
	if (n < snap_checkpoint_nodes(cp))
		return increment_node(cp->increment, n);
	c = core_node(cp, n);
	return c == NULL ? NULL : &c->node;
}

uint32_t
snap_checkpoint_lookup(
    const struct snap_checkpoint *cp, uint32_t dir, const char *name)
{
	if (dir == 0 && strcmp(name, "delta") == 0)
		return cp->increment != NULL ? (uint32_t)cp->files.tree.n : 0;
	if (strcmp(name, "core") == 0)
		return core_in(cp, dir);
	return dir < cp->files.tree.n
		   ? image_find(&cp->files.tree, dir, name)
		   : increment_lookup(cp->increment, dir, name);
}

ssize_t
snap_checkpoint_read(
    struct snap_checkpoint *cp, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct snap_node *node = snap_checkpoint_node(cp, n);

	if (node == NULL || node->type == SNAP_DIR)
		return -EISDIR;
	if (n >= snap_checkpoint_nodes(cp))
		return corefile_read(core_node(cp, n)->file, buf, len, off);
	return n < cp->files.tree.n
		   ? served_read(&cp->files, n, buf, len, off)
		   : increment_read(cp->increment, n, buf, len, off);
}

void
snap_checkpoint_reading(
    struct snap_checkpoint *cp, uint32_t n, size_t len, uint64_t off)
{
	if (n < cp->files.tree.n)
		served_begin(&cp->files, n, len, off);
	else
		increment_reading(cp->increment, n, len, off);
}

void
snap_checkpoint_served(struct snap_checkpoint *cp, uint32_t n, const void *buf,
    size_t len, uint64_t off)
{
	if (n < cp->files.tree.n)
		served_feed(&cp->files, n, buf, len, off);
	else
		increment_served(cp->increment, n, buf, len, off);
}

void
snap_checkpoint_copied(struct snap_checkpoint *cp)
{
	for (size_t i = 0; cp->tracked != NULL && i < cp->tree.n; i++)
		if (cp->tracked[i].generation != 0)
			tracker_copied(cp->tracked[i].tracker,
			    cp->tracked[i].generation, cp->tree.v[i]->id,
			    cp->tree.v[0]->id);
}
