#include "image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "image_sums.h"
#include "img.h"
#include "pagesums.h"

#define SUMS "xxh128sums"

static const struct snap_name top_names[] = {
	{ "checkpoint", SNAP_FILE },
	{ "maps", SNAP_FILE },
	{ "pagemap", SNAP_FILE },
	{ "status", SNAP_FILE },
	{ "regs", SNAP_FILE },
	{ "signals", SNAP_FILE },
	{ "timers", SNAP_FILE },
	{ "seccomp", SNAP_FILE },
	{ "zombies", SNAP_FILE },
	{ "sysvipc", SNAP_FILE },
	{ "cmdline", SNAP_FILE },
	{ "environ", SNAP_FILE },
	{ "auxv", SNAP_FILE },
	{ "cwd", SNAP_LINK },
	{ "root", SNAP_LINK },
	{ "exe", SNAP_LINK },
	{ "fd", SNAP_DIR },
	{ "fdinfo", SNAP_DIR },
	{ "unsupported", SNAP_FILE },
	{ "files", SNAP_DIR },
	{ "pages", SNAP_FILE },
	{ "pagesums", SNAP_FILE },
	{ "children", SNAP_DIR },
	{ SUMS, SNAP_FILE },
	{ NULL, SNAP_FILE },
};

const struct snap_name *
snap_top_names(void)
{
	return top_names;
}

/* ---- building the tree ---- */

struct builder {
	const struct process *p;
	struct image_tree *t;
	uint32_t top; /* the directory of this process */
};

/* NULL if there is no memory. */
static struct image_node *
add(struct builder *b, uint32_t parent, const char *name,
    enum snap_node_type type)
{
	struct image_node *n;

	n = process_grow(&b->t->v, &b->t->n, sizeof(*n));
	if (n == NULL)
		return NULL;
	n->p = b->p;
	n->content_fd = -1;
	n->node.type = type;
	n->node.parent = parent;
	n->node.uid = b->p->owner_uid;
	n->node.gid = b->p->owner_gid;
	n->name = strdup(name);
	n->node.name = n->name;
	return n->name == NULL ? NULL : n;
}

/* A file or link with these bytes; takes over `text`, NULL: no memory. */
static int
add_text(struct builder *b, uint32_t parent, const char *name,
    enum snap_node_type type, char *text, size_t len)
{
	struct image_node *n = NULL;

	if (text != NULL)
		n = add(b, parent, name, type);
	if (n == NULL) {
		free(text);
		return -ENOMEM;
	}
	n->text = text;
	n->source = IMAGE_TEXT;
	n->node.size = len;
	return 0;
}

static int
add_bytes(struct builder *b, const char *name, const void *bytes, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy != NULL) {
		if (len > 0)
			memcpy(copy, bytes, len);
		copy[len] = '\0';
	}
	return add_text(b, b->top, name, SNAP_FILE, copy, len);
}

static int
add_link(struct builder *b, uint32_t parent, const char *name, const char *to)
{
	return add_text(b, parent, name, SNAP_LINK,
	    strdup(to == NULL ? "" : to), to == NULL ? 0 : strlen(to));
}

static int
add_written(struct builder *b, const char *name,
    void (*write)(struct text *t, const struct process *p))
{
	struct text t = { 0 };
	size_t len = 0;
	char *s;

	write(&t, b->p);
	s = text_take(&t, &len);
	return add_text(b, b->top, name, SNAP_FILE, s, len);
}

static int
add_dir(struct builder *b, const char *name, uint32_t *index)
{
	*index = (uint32_t)b->t->n;
	return add(b, b->top, name, SNAP_DIR) == NULL ? -ENOMEM : 0;
}

/* ---- the files ---- */

static int
add_texts(struct builder *b)
{
	static const struct {
		const char *name;
		void (*write)(struct text *t, const struct process *p);
	} table[] = {
		{ "checkpoint", img_checkpoint_write },
		{ "maps", img_maps_write },
		{ "pagemap", img_pagemap_write },
		{ "status", img_status_write },
		{ "regs", img_regs_write },
		{ "signals", img_signals_write },
		{ "timers", img_timers_write },
		{ "seccomp", img_seccomp_write },
		{ "zombies", img_zombies_write },
		{ "sysvipc", img_sysvipc_write },
	};
	int err = 0;

	for (size_t i = 0; err == 0 && i < sizeof(table) / sizeof(table[0]);
	     i++)
		err = add_written(b, table[i].name, table[i].write);
	return err;
}

static int
add_as_in_proc(struct builder *b)
{
	const struct process *p = b->p;
	int err;

	err = add_bytes(b, "cmdline", p->cmdline, p->cmdline_len);
	if (err == 0)
		err = add_bytes(b, "environ", p->environ, p->environ_len);
	if (err == 0)
		err = add_bytes(b, "auxv", p->auxv, p->auxv_len);
	if (err == 0)
		err = add_link(b, b->top, "cwd", p->cwd);
	if (err == 0)
		err = add_link(b, b->top, "root", p->root);
	if (err == 0)
		err = add_link(b, b->top, "exe", p->exe);
	return err;
}

static int
add_fds(struct builder *b)
{
	const struct process *p = b->p;
	uint32_t dir;
	char name[16];
	int err;

	err = add_dir(b, "fd", &dir);
	for (size_t i = 0; err == 0 && i < p->nfds; i++) {
		snprintf(name, sizeof(name), "%d", p->fds[i].fd);
		err = add_link(b, dir, name, p->files[p->fds[i].file].target);
	}
	if (err == 0)
		err = add_dir(b, "fdinfo", &dir);
	for (size_t i = 0; err == 0 && i < p->nfds; i++) {
		struct text t = { 0 };
		size_t len = 0;
		char *s;

		snprintf(name, sizeof(name), "%d", p->fds[i].fd);
		img_fdinfo_write(&t, p, &p->fds[i]);
		s = text_take(&t, &len);
		err = add_text(b, dir, name, SNAP_FILE, s, len);
	}
	return err;
}

static int
add_contents(struct builder *b)
{
	struct image_node *n;
	char name[16];
	uint32_t dir;
	int err;

	err = add_dir(b, "files", &dir);
	for (size_t i = 0; err == 0 && i < b->p->ncontents; i++) {
		const struct content *c = &b->p->contents[i];

		if (c->fd < 0)
			continue;
		snprintf(name, sizeof(name), "%u", c->id);
		n = add(b, dir, name, SNAP_FILE);
		if (n == NULL)
			return -ENOMEM;
		n->source = IMAGE_CONTENT;
		n->content_fd = c->fd;
		n->node.size = c->size;
	}
	return err;
}

static int
add_pages(struct builder *b)
{
	struct image_node *n = add(b, b->top, "pages", SNAP_FILE);

	if (n == NULL)
		return -ENOMEM;
	n->source = IMAGE_PAGES;
	n->node.size = b->p->pages_size;
	n = add(b, b->top, "pagesums", SNAP_FILE);
	if (n == NULL)
		return -ENOMEM;
	n->source = IMAGE_PAGESUMS;
	n->node.size = pagesums_length(b->p->pages_size);
	return 0;
}

static int
add_sums(struct builder *b)
{
	struct image_node *n = add(b, b->top, SUMS, SNAP_FILE);

	if (n == NULL)
		return -ENOMEM;
	n->source = IMAGE_SUMS;
	n->node.size = image_sums_length(b->t, b->top);
	return 0;
}

static int add_process(struct builder *b);

/* Each a directory of the same form. */
static int
add_children(struct builder *b)
{
	const struct family *t = b->p->tree;
	uint32_t dir;
	char name[16];
	int err;

	err = add_dir(b, "children", &dir);
	for (size_t i = b->p->index + 1; err == 0 && t != NULL && i < t->n;
	     i++) {
		struct builder c = { t->v[i], b->t, (uint32_t)b->t->n };

		if (t->v[i]->parent != b->p->index)
			continue;
		snprintf(name, sizeof(name), "%d", (int)c.p->pid);
		err = add(&c, dir, name, SNAP_DIR) == NULL ? -ENOMEM
							   : add_process(&c);
	}
	return err;
}

static int
add_process(struct builder *b)
{
	int err;

	err = add_texts(b);
	if (err == 0)
		err = add_as_in_proc(b);
	if (err == 0)
		err = add_fds(b);
	if (err == 0)
		err = add_written(b, "unsupported", img_unsupported_write);
	if (err == 0)
		err = add_contents(b);
	if (err == 0)
		err = add_pages(b);
	if (err == 0)
		err = add_children(b);
	return err == 0 ? add_sums(b) : err;
}

/* From behind, so that children are linked in ascending order. */
static void
link_children(struct image_tree *t)
{
	for (size_t i = t->n; i-- > 1;) {
		struct snap_node *n = &t->v[i].node;
		struct snap_node *parent = &t->v[n->parent].node;

		n->next = parent->first_child;
		parent->first_child = (uint32_t)i;
	}
}

int
image_write(
    struct snap_ctx *cx, const struct process *p, struct image_tree *out)
{
	struct builder b = { .p = p, .t = out };
	int err;

	memset(out, 0, sizeof(*out));
	err = add(&b, 0, "", SNAP_DIR) == NULL ? -ENOMEM : add_process(&b);
	if (err == 0)
		err = image_names_make(out);
	if (err < 0) {
		image_tree_free(out);
		return snap_fail(cx, err, "writing the image: out of memory");
	}
	link_children(out);
	return 0;
}

int
image_write_root(
    struct snap_ctx *cx, const struct process *p, struct image_tree *out)
{
	struct builder b = { .p = p, .t = out };

	memset(out, 0, sizeof(*out));
	if (add(&b, 0, "", SNAP_DIR) != NULL)
		return 0;
	image_tree_free(out);
	return snap_fail(cx, -ENOMEM, "writing the image: out of memory");
}

void
image_tree_free(struct image_tree *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->v[i].name);
		free(t->v[i].text);
	}
	free(t->v);
	free(t->slots);
	memset(t, 0, sizeof(*t));
}
