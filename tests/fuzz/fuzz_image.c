/*
 * fuzz_image.c - one text of an image is the fuzzer's, the others are good.
 *
 * The first byte of the input says which; with its high bit, where fd/N leads
 * is what fdinfo/N says.  What is taken must come out of the writer as
 * something that is taken again; then a restore checks it, and a plan must be
 * made of it or refused.  With FUZZ_SEEDS=DIR the good texts are written there.
 */
#include <stdint.h>

#include "../unit/sample.h"
#include "ctx.h"
#include "img.h"
#include "plan.h"
#include "resource.h"
#include "restore.h"
#include "seccomp.h"

#define AS_IT_SAYS 0x80

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

/* Behind the descriptors, so that what was kept means what it did. */
#define ZOMBIES (NTEXTS + sample->nfds)
#define SECCOMP (ZOMBIES + 1)
#define PREFETCH (SECCOMP + 1)
#define SYSVIPC (PREFETCH + 1)
#define ALL (SYSVIPC + 1)

/* Of the sample's `pages`. */
static char hint[] = "1000-2000\n0-1000\n";
static const struct image_node prefetch = {
	.name = "prefetch",
	.text = hint,
	.node = { .size = sizeof(hint) - 1 },
};

static const struct image_node *
node(const struct image_tree *t, const char *dir, const char *name)
{
	for (size_t i = 1; i < t->n; i++)
		if (strcmp(t->v[i].name, name) == 0 &&
		    strcmp(t->v[t->v[i].node.parent].name, dir) == 0)
			return &t->v[i];
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
		write_seed(dir, i, node(&tree, "", texts[i].name));
	for (size_t i = 0; i < sample->nfds; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", sample->fds[i].fd);
		write_seed(dir, NTEXTS + i, node(&tree, "fdinfo", name));
	}
	write_seed(dir, ZOMBIES, node(&tree, "", "zombies"));
	write_seed(dir, SECCOMP, node(&tree, "", "seccomp"));
	write_seed(dir, PREFETCH, &prefetch);
	write_seed(dir, SYSVIPC, node(&tree, "", "sysvipc"));
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
	/* Any kernel's will do, so that what comes after it is reached. */
	sample->vdso[0] = '\0';
	if (image_write(cx, sample, &tree) < 0)
		abort();
	snap_ctx_free(cx);
	if (getenv("FUZZ_SEEDS") != NULL) {
		write_seeds(getenv("FUZZ_SEEDS"));
		exit(0);
	}
	return 0;
}

/* Where the fdinfo itself says that its descriptor leads, to be freed. */
static char *
own_target(const void *bytes, size_t len)
{
	char *text = strndup(bytes, len), *target;
	const char *s = strstr(text, "\ntarget: ");

	s = s == NULL ? "/" : s + strlen("\ntarget: ");
	target = strndup(s, strcspn(s, "\n"));
	if (!text_unescape(target))
		strcpy(target, "/");
	free(text);
	return target;
}

/* What is read: the text of `n`, or what is put in its place. */
struct input {
	const struct image_tree *t;
	size_t which; /* SIZE_MAX: none */
	const void *bytes;
	size_t len;
	const char *target; /* of the link that goes with it, NULL: as in `t` */
};

static int
read_text(struct snap_ctx *cx, struct process *p, const struct input *in,
    size_t i, const struct image_node *n, const char *target)
{
	const void *bytes = i == in->which ? in->bytes : n->text;
	size_t len = i == in->which ? in->len : n->node.size;
	char *buf = malloc(len + 1), name[32];
	struct lines l;
	int err;

	memcpy(buf, bytes, len);
	buf[len] = '\0';
	snprintf(name, sizeof(name), "%s%s",
	    i < NTEXTS || i >= ZOMBIES ? "" : "fdinfo/", n->name);
	lines_init(&l, cx, name, buf, len);
	err = i < NTEXTS      ? texts[i].read(&l, p)
	      : i == ZOMBIES  ? img_zombies_read(&l, p)
	      : i == SECCOMP  ? img_seccomp_read(&l, p)
	      : i == PREFETCH ? img_prefetch_read(&l, p)
	      : i == SYSVIPC  ? img_sysvipc_read(&l, p)
			      : img_fdinfo_read(&l, p, atoi(n->name), target);
	free(buf);
	return err;
}

static int
read_fd(
    struct snap_ctx *cx, struct process *p, const struct input *in, size_t i)
{
	const char *target = i == in->which ? in->target : NULL;
	char name[16];

	snprintf(name, sizeof(name), "%d", sample->fds[i - NTEXTS].fd);
	if (target == NULL)
		target = node(in->t, "fd", name)->text;
	return read_text(cx, p, in, i, node(in->t, "fdinfo", name), target);
}

/* All texts in order. */
static int
read_all(struct snap_ctx *cx, struct process *p, const struct input *in)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < NTEXTS; i++)
		err = read_text(
		    cx, p, in, i, node(in->t, "", texts[i].name), NULL);
	for (size_t i = 0; err == 0 && i < sample->nfds; i++)
		err = read_fd(cx, p, in, NTEXTS + i);
	if (err == 0)
		err = read_text(
		    cx, p, in, SECCOMP, node(in->t, "", "seccomp"), NULL);
	if (err == 0)
		err = read_text(
		    cx, p, in, ZOMBIES, node(in->t, "", "zombies"), NULL);
	if (err == 0)
		err = read_text(
		    cx, p, in, SYSVIPC, node(in->t, "", "sysvipc"), NULL);
	if (err == 0 && in->which == PREFETCH)
		err = read_text(cx, p, in, PREFETCH, &prefetch, NULL);
	if (err == 0)
		err = img_fdinfo_finish(cx, p);
	return err == 0 ? fds_check(cx, p) : err;
}

static void
write_prefetch_again(struct snap_ctx *cx, const struct process *p)
{
	struct process *q = process_new();
	struct text t = { 0 };
	struct lines l;

	q->pages_size = p->pages_size;
	img_prefetch_write(&t, p->prefetch, p->nprefetch);
	lines_init(&l, cx, "prefetch", t.s, t.len);
	if (p->nprefetch > 0 &&
	    (img_prefetch_read(&l, q) < 0 || q->nprefetch != p->nprefetch))
		abort();
	text_fini(&t);
	process_free(q);
}

static void
write_again(const struct process *p)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *q = process_new();
	struct image_tree t;
	struct input in = { .t = &t, .which = SIZE_MAX };

	if (image_write(cx, p, &t) < 0)
		abort();
	if (read_all(cx, q, &in) < 0) {
		fprintf(stderr, "%s\n", snap_error(cx));
		abort();
	}
	write_prefetch_again(cx, p);
	image_tree_free(&t);
	process_free(q);
	snap_ctx_free(cx);
}

/* What a restore looks at before it opens or makes anything. */
static void
check_restore(struct process *p)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct snap_restore_options opt = { .tty = -1, .cwd = -1 };
	struct snap_restore_result res = { 0 };
	struct restore r = { .cx = cx, .opt = &opt, .res = &res, .p = p };

	p->pages_fd = fcntl(sample->pages_fd, F_DUPFD_CLOEXEC, 3);
	restore_check(&r);
	layout_hole(&r.self, p, 1 << 20);
	layout_fini(&r.self);
	free(r.host.creds.groups);
	for (size_t i = 0; i < r.host.npatches; i++)
		free(r.host.patches[i].bytes);
	free(r.host.patches);
	snap_ctx_free(cx);
}

/* What the filters say of some calls, whatever they are made of. */
static void
run_filters(const struct process *p)
{
	const uint64_t args[6] = { 0, 1, 0x7fffffff, UINT64_MAX, 5, 6 };

	for (size_t i = 0; i < p->nthreads; i++) {
		uint32_t last = p->threads[i].filter;

		for (long nr = 0; last != 0 && nr < 400; nr += 57)
			filters_allow(&p->filters, last, nr, args);
		filters_notify(&p->filters, last);
	}
	filters_common(p);
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
	struct input in = { .t = &tree, .bytes = data + 1, .len = size - 1 };
	char *target = NULL;
	int err;

	if (size > 0) {
		if (data[0] & AS_IT_SAYS)
			target = own_target(data + 1, size - 1);
		in.target = target;
		in.which = (data[0] & ~AS_IT_SAYS) % ALL;
		err = read_all(cx, p, &in);
		if ((err == 0) != (snap_error(cx)[0] == '\0'))
			abort();
		if (err == 0) {
			write_again(p);
			run_filters(p);
			make_plan(p);
			check_restore(p);
		}
	}
	free(target);
	process_free(p);
	snap_ctx_free(cx);
	return 0;
}
