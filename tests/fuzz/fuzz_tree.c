/*
 * fuzz_tree.c - whole images with edits of the fuzzer's: a process and its
 * child, an increment with its two parents, and one of a process and its child.
 *
 * The first byte of the input says which of them is read; then come edits of
 * their files: which file, where, how many bytes go, how many come, and those.
 * The sums are made anew, so that what is behind them is reached; only
 * xxh128sums itself stays as it was edited.  What is taken is planned.
 *
 * Files are in a tmpfs without a name, which goes with the process.
 */
#include <err.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <xxhash.h>

#include "../unit/sample.h"
#include "chain.h"
#include "ctx.h"
#include "family.h"
#include "image_sums.h"
#include "inherit.h"
#include "layout.h"
#include "plan.h"
#include "resource.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES_MAX 256
#define EDIT 5 /* bytes before what comes */

struct file {
	char dir[40], name[24]; /* `dir` is that of an image */
	char *text;		/* as it is good */
	size_t len;
	char *edited; /* NULL: it is not */
	size_t edited_len;
};

static int root; /* of the tmpfs */
static struct file files[FILES_MAX];
static size_t nfiles;

static const char *const images[] = { "tree", "tree/children/4500", "chain/b2",
	"trees/c1" };
#define NIMAGES (sizeof(images) / sizeof(images[0]))

static void
check(bool right)
{
	if (!right)
		abort();
}

/* ---- good images ---- */

static void
make_child(struct process *p)
{
	p->pid = p->threads[0].tid = 4500;
	p->threads[1].tid = 4501;
	p->threads[2].tid = 4502;
	p->timers[0].tid = 4501;
	p->ppid = 4321;
	p->exit_signal = SIGCHLD;
	for (size_t i = 0; i < p->ncontents; i++)
		p->contents[i].up = 1;
	/* Its heap is its parent's, but for two pages. */
	p->runs[1].kind = RUN_INHERITED;
	p->runs[1].end = 0x1002000;
	p->runs[1].src_fd = -1;
	p->pages_size = 4 * SAMPLE_PAGE;
	for (size_t i = 2; i < p->nruns; i++)
		p->runs[i].offset -= 2 * SAMPLE_PAGE;
	*(struct run *)SAMPLE_GROW(p->runs, p->nruns) = p->runs[4];
	memmove(&p->runs[3], &p->runs[2], 3 * sizeof(p->runs[0]));
	p->runs[2] = (struct run){ 0x1002000, 0x1004000, RUN_HELD, 0x1000,
		p->pages_fd, 0x1000, 0, 0, false, false };
	for (size_t i = 0; i < p->nruns; i++)
		p->runs[i].src_off = p->runs[i].offset;
}

static void
make_increment(struct process *p, int n)
{
	make_child(p);
	p->pid = p->threads[0].tid = 4321;
	p->threads[1].tid = p->timers[0].tid = 4322;
	p->threads[2].tid = 4400;
	p->ppid = 1;
	for (size_t i = 0; i < p->ncontents; i++)
		p->contents[i].up = 0;
	p->runs[1].kind = RUN_PARENT;
	p->id[31] = (char)('0' + n);
	memcpy(p->parent_id, p->id, sizeof(p->id));
	p->parent_id[31] = n == 1 ? 'f' : (char)('0' + n - 1);
	p->time.tv_sec += n;
}

/* The increment of a tree; of the child some is its parent's, too. */
static void
make_increments(struct process *first, struct process *child)
{
	make_increment(first, 1);
	make_child(child);
	first->parent_id[31] = '0';
	child->id[31] = '3';
	memcpy(child->parent_id, child->id, sizeof(child->id));
	child->parent_id[31] = '2';
	child->time.tv_sec++;
	child->runs[2].kind = RUN_PARENT;
	memory_settle_runs(child);
	for (size_t i = 0; i < child->nruns; i++)
		child->runs[i].src_off = child->runs[i].offset;
}

static void
write_image(const char *path, struct process *p)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct image_tree t;
	int dir;

	check(mkdirat(root, path, 0700) == 0);
	dir = openat(root, path, O_RDONLY | O_DIRECTORY);
	check(dir >= 0);
	/* Any kernel's will do, so that what comes after it is reached. */
	p->vdso[0] = '\0';
	if (image_write(cx, p, &t) < 0)
		errx(1, "%s", snap_error(cx));
	sample_dump(p, &t, dir);
	close(dir);
	image_tree_free(&t);
	process_free(p);
	snap_ctx_free(cx);
}

static void
write_tree(const char *path, struct process *first, struct process *child)
{
	char below[64];

	first->exit_signal = SIGCHLD;
	write_image(path, first);
	/* An image of a process alone has none. */
	snprintf(below, sizeof(below), "%s/children", path);
	check(mkdirat(root, below, 0700) == 0 || errno == EEXIST);
	snprintf(below, sizeof(below), "%s/children/4500", path);
	write_image(below, child);
}

static void
write_trees(void)
{
	struct process *p = sample_process(), *c = sample_process();

	check(mkdirat(root, "trees", 0700) == 0);
	p->id[31] = '0';
	make_child(c);
	c->id[31] = '2';
	write_tree("trees/c0", p, c);
	p = sample_process();
	c = sample_process();
	make_increments(p, c);
	write_tree("trees/c1", p, c);
}

static void
write_images(void)
{
	struct process *p = sample_process();

	make_child(p);
	write_tree("tree", sample_process(), p);
	check(mkdirat(root, "chain", 0700) == 0);
	write_image("chain/b0", sample_process());
	for (int n = 1; n <= 2; n++) {
		p = sample_process();
		make_increment(p, n);
		write_image(n == 1 ? "chain/b1" : "chain/b2", p);
	}
	write_trees();
}

/* ---- the files in memory ---- */

static void
slurp(const char *dir, const char *name)
{
	struct file *f = &files[nfiles];
	char path[128];
	struct stat st;
	int fd;

	check(nfiles < FILES_MAX);
	snprintf(f->dir, sizeof(f->dir), "%s", dir);
	snprintf(f->name, sizeof(f->name), "%s", name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(st.st_mode))
		return;
	fd = openat(root, path, O_RDONLY);
	f->len = (size_t)st.st_size;
	f->text = malloc(f->len + 1);
	check(fd >= 0 && read(fd, f->text, f->len) == (ssize_t)f->len);
	close(fd);
	nfiles++;
}

/* In an order that stays: what an input means is kept. */
static void
slurp_all(void)
{
	static const char *const dirs[] = { "tree", "tree/children/4500",
		"chain/b0", "chain/b1", "chain/b2", "trees/c0",
		"trees/c0/children/4500", "trees/c1",
		"trees/c1/children/4500" };
	static const char *const names[] = { "checkpoint", "maps", "pagemap",
		"pages", "pagesums", "regs", "status", "signals", "timers",
		"seccomp", "zombies", "unsupported", "cmdline", "environ",
		"auxv", "fdinfo/0", "fdinfo/1", "fdinfo/5", "fdinfo/1000",
		"files/1", "files/2", "xxh128sums" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			slurp(dirs[i], names[k]);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		slurp(dirs[i], "sysvipc");
}

/* ---- edits ---- */

static void
edit(struct file *f, size_t at, size_t goes, const uint8_t *v, size_t comes)
{
	const char *old = f->edited != NULL ? f->edited : f->text;
	size_t len = f->edited != NULL ? f->edited_len : f->len;
	char *new = malloc(len + comes + 1);

	at = at > len ? len : at;
	goes = goes > len - at ? len - at : goes;
	memcpy(new, old, at);
	memcpy(new + at, v, comes);
	memcpy(new + at + comes, old + at + goes, len - at - goes);
	free(f->edited);
	f->edited = new;
	f->edited_len = len - goes + comes;
}

static void
edit_all(const uint8_t *v, size_t n)
{
	while (n >= EDIT) {
		size_t comes = v[4];

		comes = comes > n - EDIT ? n - EDIT : comes;
		edit(&files[v[0] % nfiles], v[1] | (size_t)v[2] << 8, v[3],
		    v + EDIT, comes);
		v += EDIT + comes;
		n -= EDIT + comes;
	}
}

/* In the sums of the file's image, in the place of what was there. */
static void
renew_sum(const struct file *f, struct file *sums)
{
	XXH128_canonical_t c;
	struct text t = { 0 };
	char key[40], *at;

	XXH128_canonicalFromHash(&c, XXH3_128bits(f->edited, f->edited_len));
	text_hex(&t, c.digest, sizeof(c.digest));
	snprintf(key, sizeof(key), "  %s\n", f->name);
	if (sums->edited == NULL)
		edit(sums, 0, 0, (const uint8_t *)"", 0);
	at = memmem(sums->edited, sums->edited_len, key, strlen(key));
	if (at != NULL && at - sums->edited >= 32)
		memcpy(at - 32, t.s, 32);
	text_fini(&t);
}

static void
renew_sums(void)
{
	for (size_t s = 0; s < nfiles; s++)
		for (size_t i = 0; i < nfiles; i++)
			if (strcmp(files[s].name, "xxh128sums") == 0 &&
			    strcmp(files[s].dir, files[i].dir) == 0 && i != s &&
			    files[i].edited != NULL)
				renew_sum(&files[i], &files[s]);
}

static void
put(const struct file *f, const char *text, size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->dir, f->name);
	fd = openat(root, path, O_WRONLY | O_TRUNC);
	check(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	close(fd);
}

static void
put_edited(void)
{
	for (size_t i = 0; i < nfiles; i++)
		if (files[i].edited != NULL)
			put(&files[i], files[i].edited, files[i].edited_len);
}

static void
put_back(void)
{
	for (size_t i = 0; i < nfiles; i++) {
		struct file *f = &files[i];

		if (f->edited == NULL)
			continue;
		put(f, f->text, f->len);
		free(f->edited);
		f->edited = NULL;
	}
}

/* ---- reading, and what a restore makes of it ---- */

static void
plan_one(struct snap_ctx *cx, const struct process *p, struct pieces pieces)
{
	int *sources = calloc(p->nsources + 1, sizeof(*sources));
	int *fds = malloc((p->nmapfiles + 1) * sizeof(*fds));
	struct host h = {
		.vvar = { 0x7f0000000000, 0x7f0000004000 },
		.vdso = { 0x7f0000004000, 0x7f0000006000 },
		.fd_first = 100,
		.pages_fd = 100,
		.exe_fd = -1,
		.file_fds = fds,
		.rw_file_fds = fds,
		.source_fds = sources,
		.pieces = pieces,
	};
	struct plan *pl;

	for (size_t i = 0; i < p->nmapfiles; i++)
		fds[i] = 200 + (int)i;
	if (plan_make(cx, p, &h, &pl) == 0) {
		free(plan_print(pl));
		plan_free(pl);
	}
	free(fds);
	free(sources);
}

static void
plan_all(struct snap_ctx *cx, const struct family *t)
{
	static const struct pieces none;
	struct inheritance in = { 0 };
	struct layout self = { 0 };
	int err = t->n > 1 ? inherit_find(cx, t, &self, &in) : 0;

	for (size_t i = 0; err == 0 && i < t->n; i++)
		plan_one(cx, t->v[i], in.of != NULL ? in.of[i] : none);
	inherit_free(&in);
	layout_fini(&self);
}

static int
read_image(struct snap_ctx *cx, const char *name, struct family *t)
{
	int dir = openat(root, name, O_RDONLY | O_DIRECTORY), err;

	check(dir >= 0);
	err = image_read_tree(cx, dir, t);
	if (err == 0 && t->v[0]->parent_id[0] != '\0')
		err = chain_resolve(cx, dir, NULL, 0, t);
	close(dir);
	for (size_t i = 0; err == 0 && i < t->n; i++)
		err = image_verify(cx, t->v[i], t->sums[i], NULL);
	for (size_t i = 0; err == 0 && i < t->n; i++)
		err = fds_check(cx, t->v[i]);
	return err;
}

static int
try(const char *name)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct family t = { 0 };
	int err = read_image(cx, name, &t);

	if ((err == 0) != (snap_error(cx)[0] == '\0'))
		errx(1, "%s: %d and `%s'", name, err, snap_error(cx));
	if (err == 0)
		plan_all(cx, &t);
	else if (getenv("FUZZ_VERBOSE") != NULL)
		fprintf(stderr, "%s: %s\n", name, snap_error(cx));
	family_fini(&t);
	snap_ctx_free(cx);
	return err;
}

/* ---- ---- */

/* Where we are not root, in a namespace where we are. */
static int
unnamed_tmpfs(void)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), fd;

	if (fs < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0)
		fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ||
	    (fd = fsmount(fs, FSMOUNT_CLOEXEC, 0)) < 0)
		err(1, "a tmpfs");
	close(fs);
	return fd;
}

/* One for each file: its first bytes once more. */
static void
write_seeds(const char *dir)
{
	for (size_t i = 0; i < nfiles; i++) {
		const struct file *f = &files[i];
		size_t n = f->len < 40 ? f->len : 40;
		char path[4096];
		FILE *out;

		snprintf(path, sizeof(path), "%s/%zu", dir, i);
		out = fopen(path, "w");
		check(out != NULL);
		fprintf(out, "%c%c%c%c%c%c", f->dir[0] == 'c' ? 2 : 0, (int)i,
		    0, 0, (int)n, (int)n);
		check(fwrite(f->text, 1, n, out) == n);
		fclose(out);
	}
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	root = unnamed_tmpfs();
	write_images();
	slurp_all();
	if (getenv("FUZZ_SEEDS") != NULL) {
		write_seeds(getenv("FUZZ_SEEDS"));
		exit(0);
	}
	/* As they are, all of them are good. */
	for (size_t i = 0; i < NIMAGES; i++)
		if (try(images[i]) < 0)
			errx(1, "%s is refused", images[i]);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	edit_all(data + 1, size - 1);
	renew_sums();
	put_edited();
	try(images[data[0] % NIMAGES]);
	put_back();
	return 0;
}
