/*
 * checkpoint_files.c - a checkpoint as a tree of files, and that of its
 * increment behind it.
 */
#include "checkpoint.h"

#include <errno.h>
#include <string.h>

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

uint32_t
snap_checkpoint_nodes(const struct snap_checkpoint *cp)
{
	return (uint32_t)cp->files.tree.n + increment_nodes(cp->increment);
}

const struct snap_node *
snap_checkpoint_node(const struct snap_checkpoint *cp, uint32_t n)
{
	return n < cp->files.tree.n ? &cp->files.tree.v[n].node
				    : increment_node(cp->increment, n);
}

uint32_t
snap_checkpoint_lookup(
    const struct snap_checkpoint *cp, uint32_t dir, const char *name)
{
	const struct snap_node *node = snap_checkpoint_node(cp, dir);
	uint32_t n;

	if (dir == 0 && strcmp(name, "delta") == 0)
		return cp->increment != NULL ? (uint32_t)cp->files.tree.n : 0;
	n = node == NULL ? 0 : node->first_child;
	while (n != 0 &&
	       strcmp((node = snap_checkpoint_node(cp, n))->name, name) != 0)
		n = node->next;
	return n;
}

ssize_t
snap_checkpoint_read(
    struct snap_checkpoint *cp, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct snap_node *node = snap_checkpoint_node(cp, n);

	if (node == NULL || node->type == SNAP_DIR)
		return -EISDIR;
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
	if (cp->generation != 0)
		tracker_copied(cp->tracker, cp->generation, cp->tree.v[0]->id);
}
