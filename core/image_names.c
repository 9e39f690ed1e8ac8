/*
 * image_names.c - the nodes of a tree by directory and name: a hash table, since
 * there may be as many as descriptors, or processes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "image.h"

/* Where a name's search begins; the next slots follow. */
static size_t
slot_of(const struct image_tree *t, uint32_t dir, const char *name)
{
	const uint64_t h = hash_of(name, strlen(name)).low64;

	return (h ^ dir * 0x9e3779b97f4a7c15ull) & (t->nslots - 1);
}

int
image_names_make(struct image_tree *t)
{
	size_t at;

	/* At least half of them stay free. */
	for (t->nslots = 2; t->nslots < 2 * t->n;)
		t->nslots *= 2;
	t->slots = calloc(t->nslots, sizeof(*t->slots));
	if (t->slots == NULL)
		return -ENOMEM;
	for (uint32_t i = 1; i < t->n; i++) {
		at = slot_of(t, t->v[i].node.parent, t->v[i].name);
		while (t->slots[at] != 0)
			at = (at + 1) & (t->nslots - 1);
		t->slots[at] = i;
	}
	return 0;
}

uint32_t
image_find(const struct image_tree *t, uint32_t dir, const char *name)
{
	size_t at;
	uint32_t i;

	if (t->slots == NULL)
		return 0;
	at = slot_of(t, dir, name);
	while ((i = t->slots[at]) != 0) {
		if (t->v[i].node.parent == dir &&
		    strcmp(t->v[i].name, name) == 0)
			break;
		at = (at + 1) & (t->nslots - 1);
	}
	return i;
}
