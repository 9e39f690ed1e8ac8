/*
 * fuzz_image.c - one text of an image is the fuzzer's, the others are good.
 *
 * The first byte of the input says which.  What is taken must come out of
 * the writer as something that is taken again, and a plan must be made of it
 * or refused.  With FUZZ_SEEDS=DIR the good texts are written there.
 */
#include <stdint.h>

#include "../unit/sample.h"
#include "ctx.h"
#include "img.h"
#include "plan.h"
#include "resource.h"

static const struct {
	const char *name;
	int (*read)(struct lines *l, struct process *p);
} texts[] = {
	{ "checkpoint", img_checkpoint_read },
	{ "maps", img_maps_read },
	{ "pagemap", img_pagemap_read },
	{ "status", img_status_read },
	{ "regs", img_regs_read },
	{ "signals", img_signals_read },
	{ "timers", img_timers_read },
	{ "unsupported", img_unsupported_read },
};
#define NTEXTS (sizeof(texts) / sizeof(texts[0]))

static struct process *sample;
static struct image_tree tree;

static const struct image_node *
node(const char *dir, const char *name)
{
	for (size_t i = 1; i < tree.n; i++)
		if (strcmp(tree.v[i].name, name) == 0 &&
		    strcmp(tree.v[tree.v[i].node.parent].name, dir) == 0)
			return &tree.v[i];
	abort();
}

static void
write_seed(const char *dir, size_t which, const struct image_node *n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%zu-%s", dir, which, n->name);
	f = fopen(path, "w");
	if (f == NULL)
		abort();
	fputc((int)which, f);
	fwrite(n->text, 1, n->node.size, f);
	fclose(f);
}

static void
write_seeds(const char *dir)
{
	for (size_t i = 0; i < NTEXTS; i++)
		write_seed(dir, i, node("", texts[i].name));
	for (size_t i = 0; i < sample->nfds; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", sample->fds[i].fd);
		write_seed(dir, NTEXTS + i, node("fdinfo", name));
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);

	(void)argc;
	(void)argv;
	sample = sample_process();
	if (image_write(cx, sample, &tree) < 0)
		abort();
	snap_ctx_free(cx);
	if (getenv("FUZZ_SEEDS") != NULL) {
		write_seeds(getenv("FUZZ_SEEDS"));
		exit(0);
	}
	return 0;
}

static int
read_lines(struct snap_ctx *cx, struct process *p, size_t which,
    const void *bytes, size_t len)
{
	char *buf = malloc(len + 1), name[16];
	struct lines l;
	int err;

	memcpy(buf, bytes, len);
	buf[len] = '\0';
	if (which < NTEXTS) {
		lines_init(&l, cx, texts[which].name, buf, len);
		err = texts[which].read(&l, p);
	} else {
		const struct fdent *e = &sample->fds[which - NTEXTS];

		snprintf(name, sizeof(name), "fdinfo/%d", e->fd);
		lines_init(&l, cx, name, buf, len);
		err = img_fdinfo_read(
		    &l, p, e->fd, sample->files[e->file].target);
	}
	free(buf);
	return err;
}

/* All texts in order, the one at `which` being `bytes`. */
static int
read_with(struct snap_ctx *cx, struct process *p, size_t which,
    const void *bytes, size_t len)
{
	char name[16];
	int err = 0;

	for (size_t i = 0; err == 0 && i < NTEXTS + sample->nfds; i++) {
		const struct image_node *n;

		if (i >= NTEXTS)
			snprintf(name, sizeof(name), "%d",
			    sample->fds[i - NTEXTS].fd);
		n = i < NTEXTS ? node("", texts[i].name) : node("fdinfo", name);
		err = i == which ? read_lines(cx, p, i, bytes, len)
				 : read_lines(cx, p, i, n->text, n->node.size);
	}
	if (err == 0)
		err = img_fdinfo_finish(cx, p);
	return err == 0 ? fds_check(cx, p) : err;
}

static void
write_again(const struct process *p, size_t which)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *q = process_new();
	struct image_tree t;

	if (image_write(cx, p, &t) < 0)
		abort();
	for (size_t i = 1; which < NTEXTS && i < t.n; i++)
		if (t.v[i].node.parent == 0 &&
		    strcmp(t.v[i].name, texts[which].name) == 0 &&
		    read_with(cx, q, which, t.v[i].text, t.v[i].node.size) < 0)
			abort();
	image_tree_free(&t);
	process_free(q);
	snap_ctx_free(cx);
}

static void
make_plan(const struct process *p)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	int *fds = malloc((p->nmapfiles + 1) * sizeof(*fds));
	struct host h = {
		.vvar = { 0x7f0000000000, 0x7f0000004000 },
		.vdso = { 0x7f0000004000, 0x7f0000006000 },
		.fd_first = 100,
		.pages_fd = 100,
		.exe_fd = -1,
		.file_fds = fds,
	};
	struct plan *pl;
	char *text;

	for (size_t i = 0; i < p->nmapfiles; i++)
		fds[i] = 200 + (int)i;
	if (plan_make(cx, p, &h, &pl) == 0) {
		text = plan_print(pl);
		free(text);
		plan_free(pl);
	}
	free(fds);
	snap_ctx_free(cx);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = process_new();
	size_t which;
	int err;

	if (size > 0) {
		which = data[0] % (NTEXTS + sample->nfds);
		err = read_with(cx, p, which, data + 1, size - 1);
		if ((err == 0) != (snap_error(cx)[0] == '\0'))
			abort();
		if (err == 0) {
			write_again(p, which);
			make_plan(p);
		}
	}
	process_free(p);
	snap_ctx_free(cx);
	return 0;
}
