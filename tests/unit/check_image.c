/*
 * An image there and back; and damaged in every way that is cheap to think
 * of: refused each time, with a sentence.
 */
#include <check.h>
#include <sys/resource.h>

#include "ctx.h"
#include "msgqueue.h"
#include "sample.h"
#include "unit.h"

static struct snap_ctx *cx;
static struct process *p;
static struct image_tree tree;
static char name[320];
static int dir;

static void
set_up(void)
{
	cx = snap_ctx_new(NULL);
	p = sample_process();
	ck_assert_int_eq(image_write(cx, p, &tree), 0);
	snprintf(name, sizeof(name), "%s/XXXXXX", unit_dir());
	ck_assert_ptr_nonnull(mkdtemp(name));
	dir = open(name, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(dir, 0);
	sample_dump(p, &tree, dir);
}

static void
tear_down(void)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf '%s'", name);
	ck_assert_int_eq(system(command), 0);
	close(dir);
	image_tree_free(&tree);
	process_free(p);
	snap_ctx_free(cx);
}

/* Read it, and all of it; the error, with a sentence. */
static int
try(struct process **out)
{
	struct image_sums *sums;
	struct process *q;
	int err;

	snap_clear(cx);
	err = image_read(cx, dir, &q, &sums);
	if (err == 0) {
		err = image_verify(cx, q, sums, NULL);
		image_sums_free(sums);
		if (err == 0 && out != NULL)
			*out = q;
		else
			process_free(q);
	}
	ck_assert_int_le(err, 0);
	ck_assert((err == 0) == (snap_error(cx)[0] == '\0'));
	return err;
}

static void
expect_error(int err, const char *sentence)
{
	int got = try(NULL);

	ck_assert_msg(
	    got == err, "%d instead of %d: %s", got, err, snap_error(cx));
	ck_assert_msg(strstr(snap_error(cx), sentence) != NULL,
	    "no `%s' in: %s", sentence, snap_error(cx));
}

static void
expect_same_tree(const struct image_tree *a, const struct image_tree *b)
{
	ck_assert_uint_eq(a->n, b->n);
	for (size_t i = 0; i < a->n; i++) {
		ck_assert_str_eq(a->v[i].name, b->v[i].name);
		ck_assert_uint_eq(a->v[i].node.size, b->v[i].node.size);
		ck_assert_int_eq(a->v[i].source, b->v[i].source);
		if (a->v[i].text != NULL)
			ck_assert_msg(memcmp(a->v[i].text, b->v[i].text,
					  a->v[i].node.size) == 0,
			    "%s:\n%s\ninstead of\n%s", a->v[i].name,
			    b->v[i].text, a->v[i].text);
	}
}

static void
expect_same_thread(const struct thread *a, const struct thread *b)
{
	ck_assert_mem_eq(&a->regs, &b->regs, sizeof(a->regs));
	ck_assert_uint_eq(a->xsave_len, b->xsave_len);
	ck_assert_mem_eq(a->xsave, b->xsave, a->xsave_len);
	ck_assert_int_eq(a->restart.nr, b->restart.nr);
	ck_assert_mem_eq(
	    a->restart.args, b->restart.args, sizeof(a->restart.args));
	ck_assert_uint_eq(a->restart.left_ns, b->restart.left_ns);
	ck_assert_str_eq(a->comm, b->comm);
	ck_assert_uint_eq(a->pending.n, b->pending.n);
	ck_assert_mem_eq(a->pending.v, b->pending.v, sizeof(siginfo_t));
	/* numbers in a row, without the pointers between them */
	ck_assert_mem_eq(&a->altstack_sp, &b->altstack_sp,
	    offsetof(struct thread, affinity) -
		offsetof(struct thread, altstack_sp));
	ck_assert_uint_eq(a->affinity_len, b->affinity_len);
	ck_assert_mem_eq(a->affinity, b->affinity, a->affinity_len);
	ck_assert_mem_eq(&a->creds.ruid, &b->creds.ruid, 8 * sizeof(uid_t));
	ck_assert_uint_eq(a->creds.ngroups, b->creds.ngroups);
	ck_assert_mem_eq(a->creds.groups, b->creds.groups, 2 * sizeof(gid_t));
	ck_assert_uint_eq(a->creds.cap_bnd, b->creds.cap_bnd);
	ck_assert_uint_eq(a->creds.securebits, b->creds.securebits);
	ck_assert_uint_eq(a->creds.no_new_privs, b->creds.no_new_privs);
	ck_assert_mem_eq(&a->habits, &b->habits, sizeof(a->habits));
	ck_assert_uint_eq(a->seccomp, b->seccomp);
	ck_assert_uint_eq(a->filter, b->filter);
}

/* What a writer and a reader that both forget would not show. */
static void
expect_same_queue(const struct msgqueue *a, const struct msgqueue *b)
{
	ck_assert_mem_eq(&a->ipc, &b->ipc, sizeof(a->ipc));
	ck_assert_uint_eq(a->qbytes, b->qbytes);
	ck_assert_int_eq(a->sender, b->sender);
	ck_assert_int_eq(a->receiver, b->receiver);
	ck_assert_uint_eq(a->n, b->n);
	ck_assert_uint_eq(a->bytes, b->bytes);
	for (size_t i = 0; i < a->n; i++) {
		ck_assert_int_eq(a->v[i].type, b->v[i].type);
		ck_assert_uint_eq(a->v[i].size, b->v[i].size);
		ck_assert_mem_eq(a->v[i].bytes, b->v[i].bytes, a->v[i].size);
	}
}

static void
expect_same_process(const struct process *a, const struct process *b)
{
	ck_assert_str_eq(a->id, b->id);
	ck_assert_int_eq(a->time.tv_sec, b->time.tv_sec);
	ck_assert_int_eq(a->time.tv_nsec, b->time.tv_nsec);
	ck_assert_str_eq(a->kernel, b->kernel);
	ck_assert_mem_eq(a->rlimits, b->rlimits, sizeof(a->rlimits));
	ck_assert_mem_eq(a->actions, b->actions, sizeof(a->actions));
	ck_assert_mem_eq(a->itimers, b->itimers, sizeof(a->itimers));
	ck_assert_mem_eq(&a->mm, &b->mm, sizeof(a->mm));
	ck_assert_uint_eq(a->thp_disable, b->thp_disable);
	ck_assert_uint_eq(a->thp_advised, b->thp_advised);
	ck_assert_uint_eq(a->memory_merge, b->memory_merge);
	ck_assert_uint_eq(a->lock_future, b->lock_future);
	ck_assert_uint_eq(a->membarrier, b->membarrier);
	ck_assert_str_eq(a->cgroup, b->cgroup);
	ck_assert_ptr_null(b->vmas[0].numa);
	ck_assert_mem_eq(a->vmas[1].numa, b->vmas[1].numa, sizeof(struct numa));
	ck_assert_uint_eq(a->child_subreaper, b->child_subreaper);
	ck_assert_int_eq(a->oom_score_adj, b->oom_score_adj);
	ck_assert_uint_eq(a->umask, b->umask);
	ck_assert_uint_eq(a->nthreads, b->nthreads);
	ck_assert_uint_eq(a->nmapfiles, b->nmapfiles);
	ck_assert_ptr_null(b->mapfiles[0].segment);
	ck_assert_ptr_nonnull(b->mapfiles[1].segment);
	ck_assert_mem_eq(
	    a->mapfiles[1].segment, b->mapfiles[1].segment, sizeof(struct ipc));
	ck_assert_uint_eq(a->nsemsets, b->nsemsets);
	for (size_t i = 0; i < a->nsemsets; i++) {
		const struct semset *s = &a->semsets[i], *q = &b->semsets[i];

		ck_assert_mem_eq(&s->ipc, &q->ipc, sizeof(s->ipc));
		ck_assert_uint_eq(s->n, q->n);
		for (size_t k = 0; k < s->n; k++) {
			ck_assert_uint_eq(s->v[k].value, q->v[k].value);
			ck_assert_int_eq(s->v[k].pid, q->v[k].pid);
		}
	}
	ck_assert_uint_eq(a->nqueues, b->nqueues);
	for (size_t i = 0; i < a->nqueues; i++)
		expect_same_queue(&a->queues[i], &b->queues[i]);
	ck_assert_uint_eq(a->nundos, b->nundos);
	ck_assert_mem_eq(a->undos, b->undos, a->nundos * sizeof(*a->undos));
	for (size_t i = 0; i < a->nthreads; i++)
		expect_same_thread(&a->threads[i], &b->threads[i]);
	ck_assert_uint_eq(a->ntimers, b->ntimers);
	ck_assert_int_eq(b->timers[0].id, 0);
	ck_assert_mem_eq(&a->timers[0], &b->timers[1], sizeof(*a->timers));
	ck_assert_uint_eq(a->nfiles, b->nfiles);
	ck_assert_uint_eq(b->fds[0].file, b->fds[1].file);
	ck_assert_uint_eq(b->fds[1].cloexec, 1);
	ck_assert_str_eq(a->files[2].target, b->files[2].target);
	ck_assert_str_eq(a->mapfiles[0].path, b->mapfiles[0].path);
	ck_assert_uint_eq(a->nruns, b->nruns);
	ck_assert_uint_eq(b->cmdline_len, 4);
	ck_assert_str_eq(a->unsupported[0].why, b->unsupported[0].why);
}

START_TEST(there_and_back)
{
	struct image_tree again;
	struct process *q;
	char a[64], b[64];

	ck_assert_msg(try(&q) == 0, "%s", snap_error(cx));
	expect_same_process(p, q);
	ck_assert_int_eq(image_write(cx, q, &again), 0);
	expect_same_tree(&tree, &again);
	for (uint64_t off = 0; off < p->pages_size; off += 4095) {
		ssize_t n = memory_read(p, a, sizeof(a), off);

		ck_assert_int_gt(n, 0);
		ck_assert_int_eq(memory_read(q, b, sizeof(b), off), n);
		ck_assert_mem_eq(a, b, (size_t)n);
	}
	ck_assert_int_eq(memory_read(q, a, 1, p->pages_size), 0);
	image_tree_free(&again);
	process_free(q);
}
END_TEST

/* The order that snap.h promises, and the links between the nodes. */
START_TEST(shape_of_the_tree)
{
	const struct snap_name *top = snap_top_names();
	uint32_t n = tree.v[0].node.first_child, last = 0;

	ck_assert_str_eq(tree.v[1].name, "checkpoint");
	ck_assert_str_eq(tree.v[tree.n - 1].name, "xxh128sums");
	for (; n != 0; n = tree.v[n].node.next, top++) {
		ck_assert_uint_gt(n, last);
		ck_assert_str_eq(tree.v[n].name, top->name);
		ck_assert_int_eq(tree.v[n].node.type, top->type);
		last = n;
	}
	ck_assert_ptr_null(top->name);
}
END_TEST

START_TEST(xxhsum_agrees)
{
	char command[512];
	if (system("command -v xxhsum >/dev/null") != 0)
		return;
	snprintf(command, sizeof(command),
	    "cd '%s' && xxhsum -c xxh128sums >out 2>&1 && "
	    "[ $(grep -c OK out) = $(grep -c . xxh128sums) ]",
	    name);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Pieces in any order, twice, of a reader that seeks, and with gaps. */
START_TEST(hashed_while_read)
{
	struct sample_source source = { p, &tree };
	struct image_hasher *h;
	char buf[1 << 13], *want, *got;
	uint32_t pages = 0;

	for (uint32_t i = 0; i < tree.n; i++)
		if (tree.v[i].source == IMAGE_PAGES)
			pages = i;
	h = image_hasher_new(&tree, sample_read, &source);
	ck_assert_int_eq(image_hasher_sums(h, 0, &want), 0);
	image_hasher_free(h);
	srand(1);
	for (int round = 0; round < 200; round++) {
		h = image_hasher_new(&tree, sample_read, &source);
		for (int k = rand() % 40; k > 0; k--) {
			uint64_t off = (uint64_t)rand() % p->pages_size;
			ssize_t n = memory_read(
			    p, buf, 1 + (size_t)rand() % sizeof(buf), off);

			image_hasher_feed(h, pages, buf, (size_t)n, off);
			if (round % 3 == 0)
				image_hasher_feed(h, pages, buf, 0, 0);
		}
		ck_assert_int_eq(image_hasher_sums(h, 0, &got), 0);
		ck_assert_str_eq(got, want);
		ck_assert_uint_eq(strlen(got), tree.v[tree.n - 1].node.size);
		free(got);
		image_hasher_free(h);
	}
	free(want);
}
END_TEST

/* ---- damage ---- */

static char *
slurp(const char *path, size_t *len)
{
	struct stat st;
	char *buf;
	int fd;

	fd = openat(dir, path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	fstat(fd, &st);
	*len = (size_t)st.st_size;
	buf = malloc(*len + 1);
	ck_assert_int_eq(read(fd, buf, *len), st.st_size);
	buf[*len] = '\0';
	close(fd);
	return buf;
}

static void
spit(const char *path, const void *buf, size_t len)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, buf, len), (ssize_t)len);
	close(fd);
}

static void
expect_refused(const char *path, const char *how)
{
	int err = try(NULL);

	ck_assert_msg(err == -EBADMSG || err == -EPROTO, "%s %s: %d %s", path,
	    how, err, snap_error(cx));
}

START_TEST(cut_or_flipped)
{
	char path[64], *buf;
	size_t len;

	for (uint32_t i = 1; i < tree.n; i++) {
		if (tree.v[i].node.type != SNAP_FILE)
			continue;
		sample_path(&tree, i, path);
		buf = slurp(path, &len);
		for (size_t cut = 0; cut < len; cut += 1 + len / 7) {
			spit(path, buf, cut);
			expect_refused(path, "cut");
		}
		/* Odd, so that each of the eight bits has its turn. */
		for (size_t k = 0; k < len * 8; k += 13 + len / 512 * 8) {
			buf[k / 8] ^= (char)(1 << k % 8);
			spit(path, buf, len);
			expect_refused(path, "flipped");
			buf[k / 8] ^= (char)(1 << k % 8);
		}
		spit(path, buf, len);
		free(buf);
		ck_assert_int_eq(try(NULL), 0);
	}
}
END_TEST

START_TEST(absent)
{
	char path[64], away[] = "away";

	for (uint32_t i = 1; i < tree.n; i++) {
		sample_path(&tree, i, path);
		ck_assert_int_eq(renameat(dir, path, dir, away), 0);
		if (strcmp(path, "checkpoint") == 0)
			expect_error(-ENOENT, "no checkpoint");
		else if (strcmp(path, "children") == 0)
			/* Some tools do not copy what is empty. */
			ck_assert_int_eq(try(NULL), 0);
		else
			expect_refused(path, "absent");
		ck_assert_int_eq(renameat(dir, away, dir, path), 0);
	}
	ck_assert_int_eq(try(NULL), 0);
}
END_TEST

/* A FIFO that no one writes, a link to the very file, a directory. */
START_TEST(of_another_type)
{
	char path[64], away[] = "away";

	for (uint32_t i = 1; i < tree.n; i++) {
		if (tree.v[i].node.type != SNAP_FILE)
			continue;
		sample_path(&tree, i, path);
		ck_assert_int_eq(renameat(dir, path, dir, away), 0);
		ck_assert_int_eq(mkfifoat(dir, path, 0600), 0);
		expect_refused(path, "a FIFO");
		unlinkat(dir, path, 0);
		ck_assert_int_eq(
		    symlinkat(strchr(path, '/') ? "../away" : away, dir, path),
		    0);
		expect_refused(path, "a link");
		unlinkat(dir, path, 0);
		ck_assert_int_eq(mkdirat(dir, path, 0700), 0);
		expect_refused(path, "a directory");
		unlinkat(dir, path, AT_REMOVEDIR);
		ck_assert_int_eq(renameat(dir, away, dir, path), 0);
	}
}
END_TEST

/* ---- what is edited is taken as meant, or refused by line ---- */

static void
drop_sum(const char *path)
{
	char *buf, *line, *end;
	size_t len;

	buf = slurp("xxh128sums", &len);
	for (line = buf; *line != '\0'; line = end) {
		end = strchr(line, '\n') + 1;
		if (strncmp(line + 34, path, strlen(path)) == 0 &&
		    line[34 + strlen(path)] == '\n') {
			memmove(line, end, strlen(end) + 1);
			end = line;
		}
	}
	spit("xxh128sums", buf, strlen(buf));
	free(buf);
}

/* Replace the first `from` by `to`, and take the sum away. */
static void
edit(const char *path, const char *from, const char *to)
{
	struct text t = { 0 };
	char *buf, *at;
	size_t len;

	buf = slurp(path, &len);
	at = memmem(buf, len, from, strlen(from));
	ck_assert_msg(at != NULL, "%s: no `%s'", path, from);
	text_put(&t, buf, (size_t)(at - buf));
	text_puts(&t, to);
	at += strlen(from);
	text_put(&t, at, (size_t)(buf + len - at));
	spit(path, t.s, t.len);
	text_fini(&t);
	free(buf);
	drop_sum(path);
}

static const struct {
	const char *path, *from, *to, *sentence;
} bad_edits[] = {
	{ "maps", "00401000 r-xp", "00402800 r-xp", "maps:1:" },
	{ "maps", "00600000-", "00400000-", "maps:2: starts below" },
	{ "maps", "rw-p", "rwsp", "maps:2:" },
	{ "maps", "[vsyscall]\n", "[vsyscall]", "maps:9:" },
	{ "maps", "7ffd00104000-7ffd00106000", "800000000000-800000002000",
	    "maps:8: above" },
	{ "pagemap", "exe 0", "exe 7", "pagemap:4:" },
	{ "pagemap", "file 1", "file 2", "pagemap:2:" },
	{ "pagemap", " 1 /dev/zero", " 9 /dev/zero", "no such contents" },
	{ "pagemap", "segment 1", "segment 0", "with contents, once" },
	{ "pagemap", "segment 1", "segment 2", "with contents, once" },
	{ "pagemap", "exe 0\n", "segment 1 1 0 0 0 0 0 0\nexe 0\n", "once" },
	{ "pagemap", " 32769 ", " 2147483648 ", "not ID KEY" },
	{ "pagemap", " fedcba98 ", " 1fedcba98 ", "not ID KEY" },
	{ "pagemap", " 1640 ", " 4640 ", "not ID KEY" },
	{ "pagemap", " 3 4294967294", " 3", "not ID KEY" },
	{ "pagemap", " 3 4294967294", " 3 4294967294 ", "not ID KEY" },
	{ "pagemap", "vma 400000-401000 file 0", "vma 400000-401000 file -",
	    "it has a file" },
	{ "pagemap", "vma 400000-401000 file", "vma 400000-401000 fiel",
	    "no such kind" },
	{ "pagemap", "vma 1000000-1010000 anon - 3",
	    "vma 1000000-1010000 anon - 16", "protection key" },
	{ "pagemap", "hg,ac", "hg,hg", "bad flags" },
	{ "pagemap", "hg,ac", "hg,", "bad flags" },
	{ "pagemap", "vma 1000000-1010000 anon", "vma 1000000-1010000 vdso",
	    "another name" },
	{ "pagemap", "run 601000-602000 held 0", "run 5ff000-602000 held 0",
	    "not inside" },
	{ "pagemap", "held 4096", "held 8192", "offset should be 4096" },
	{ "pagemap", "run 1004000-1006000 guard", "run 1003000-1006000 guard",
	    "below the run" },
	{ "pagemap", "run 1006000-100f000 zero", "run 1005000-100f000 zero",
	    "below the run before it" },
	{ "pagemap", "run 601000-602000 held 0", "run 601000-602000 zero",
	    "only anonymous memory is zero" },
	{ "pagemap", "100f000 zero", "100f000 zero 1", "nothing may come" },
	{ "pagemap", "100f000 zero", "100f000 zeros", "neither held OFFSET" },
	{ "pagemap", "run 1000000-1004000", "run 1000000-100f000", "pages" },
	{ "pagemap", "vma 7ffd00100000", "former 0-1000 0\nvma 7ffd00100000",
	    "not behind the last vma" },
	{ "pagemap", "vsyscall - 0 -\n", "vsyscall - 0 -\nformer 1000-2000 0\n",
	    "its offset should be" },
	{ "pagemap", "vsyscall - 0 -\n", "vsyscall - 0 -\nformer 1000-2000\n",
	    "not former START-END OFFSET" },
	{ "pagemap", "vsyscall - 0 -\n", "vsyscall - 0 -\nformer 1000-1800 0\n",
	    "not a range of pages" },
	{ "pagemap", "vma 7ffd00100000", "huge 0-200000\nvma 7ffd00100000",
	    "before the last vma" },
	{ "pagemap", "vsyscall - 0 -\n",
	    "vsyscall - 0 -\nhuge 1000000-1001000\n", "of huge pages" },
	{ "pagemap", "vsyscall - 0 -\n",
	    "vsyscall - 0 -\nhuge 7f0000000000-7f0000200000\n",
	    "not inside one anonymous VMA" },
	{ "pagemap", "vsyscall - 0 -\n",
	    "vsyscall - 0 -\nhuge 7ffffffff000000-7ffffffff200000\n",
	    "not inside one anonymous VMA" },
	{ "pagemap", "run 1000000-1004000", "run 1000000-1003000", "offset" },
	{ "status", "pid: 4321\n", "pid: 4322\n", "has pid 4321" },
	{ "status", "umask: 0027", "umask: 01777", "status:" },
	{ "status", "umask: 0027\n", "", "no `umask'" },
	{ "status", "umask: 0027\n", "umask: 0027\numask: 0027\n",
	    "a second `umask'" },
	{ "status", "umask:", "unmask:", "unknown key" },
	{ "status", "umask: 0027\n", "umask: 0027\nshares-descriptors: 0\n",
	    "not the id of a process" },
	{ "status", "umask: 0027\n", "umask: 0027\nshares-descriptors: 4321\n",
	    "with itself" },
	{ "status", "umask: 0027\n",
	    "shares-descriptors: 1\numask: 0027\nshares-descriptors: 1\n",
	    "a second `shares-descriptors'" },
	{ "status", "nice: -5", "nice: -21", "nice" },
	{ "status", "nice: -5", "nice: 99999999999999999999", "nice" },
	{ "status", "thread: 4322", "thread: 4321", "order" },
	{ "status", "thread: 4321", "thread: 4320", "the leader" },
	{ "status", "rlimit-fsize: 1 1000", "rlimit-fsize: 2000 1000",
	    "rlimit" },
	{ "status", "affinity: a5", "affinity: zz", "not bytes in hex" },
	{ "status", "groups: 20", "groups: 20 ", "group" },
	{ "status", "name: \\040w", "name:  \\040\\000", "name" },
	{ "regs", "thread: 4322", "thread: 4323", "regs:" },
	{ "regs", "rip: 0x0000000000400011", "rip: 0xffffffff81000000", "rip" },
	{ "regs", "rip: 0x0000000000400011", "rip: 0x0000800000000000", "rip" },
	{ "regs", "cs: 0x0000000000000033", "cs: 0x0000000000000010", "cs" },
	{ "regs", "cs: 0x0000000000000033", "cs: 0x0000000000000023",
	    "64-bit" },
	{ "regs", "eflags: 0x0000000000000246", "eflags: 0x0000000000003246",
	    "eflags" },
	{ "regs", "ds: 0x0000000000000000", "ds: 0x0000000000000018",
	    "selector" },
	{ "regs", "fs_base: 0x0000000001000100", "fs_base: 0xffff888000000000",
	    "fs_base" },
	{ "regs", "orig_rax: 0xffffffffffffffff",
	    "orig_rax: 0x0000000000000001", "orig_rax" },
	{ "regs", "xsave: 0200 03", "xsave: 0201 03", "not OFFSET" },
	{ "regs", "xsave: 0200 03000000000000000000000000000000",
	    "xsave: 0200 03000000000000000100000000000000", "format" },
	{ "regs", "xsave-length: ", "xsave-length: 9999", "" },
	{ "regs", "restart-left-ns: 123456789\n", "", "restart" },
	{ "signals", "action: 2 SIGINT", "action: 65 SIGINT", "signals:1:" },
	{ "signals", "action: 2 SIGINT", "action: 3 SIGINT", "SIGQUIT" },
	{ "signals", "action: 2 SIGINT", "action: 9 SIGKILL", "SIGKILL" },
	{ "signals", "pending: process 40", "pending: process 41", "agree" },
	{ "signals", "pending: 4322", "pending: 4323", "thread" },
	{ "timers", "timer: 0", "timer: 8", "order" },
	{ "timers", "itimer: prof", "itimer: real", "second" },
	{ "timers", "notify: 4", "notify: 3", "timers:" },
	{ "timers", "thread: 4322", "thread: 1", "no thread 1" },
	{ "fdinfo/0", "flags:\t02002", "flags:\t2002", "fdinfo/0:2:" },
	{ "fdinfo/0", "file: 0", "file: -1", "file" },
	{ "fdinfo/1", "pos:\t77", "pos:\t78", "says otherwise" },
	{ "fdinfo/5", "kind: eventfd", "kind: eventd", "kind" },
	{ "fdinfo/1000", "content: 2", "content: 3", "content" },
	{ "auxv", "", "x", "auxv" },
	{ "sysvipc", " 32769 ", " 2147483648 ", "not ID KEY" },
	{ "sysvipc", " 640 ", " 1640 ", "not ID KEY" },
	{ "sysvipc", " 3 4294967294", " 3", "not ID KEY" },
	{ "sysvipc", " 3 4294967294", " 3 4294967294 1", "not ID KEY" },
	{ "sysvipc", "semaphores 32769", "semaphores 7", "order of ids" },
	{ "sysvipc", "semaphores 32769", "semaphore 32769", "neither" },
	{ "sysvipc", "value 32767", "value 32768", "not VALUE PID" },
	{ "sysvipc", "value 32767", "value -1", "not VALUE PID" },
	{ "sysvipc", " 4321\n", " 4194305\n", "not VALUE PID" },
	{ "sysvipc", "", "value 1 0\n", "sysvipc:1: not behind a set" },
	{ "sysvipc", "value 0 0\n", "", "is empty" },
	{ "sysvipc", "undo 7 0 -32768", "undo 7 0 -32769", "not ID NUMBER" },
	{ "sysvipc", "undo 7 0 -32768", "undo 7 0 0", "not ID NUMBER" },
	{ "sysvipc", "undo 7 0 -32768", "undo 7 65536 1", "not ID NUMBER" },
	{ "sysvipc", "undo 7 0 -32768", "undo 32769 1 5", "in the order" },
	{ "sysvipc", "undo 7 0 -32768\n",
	    "undo 7 0 -32768\nsemaphores 40000 0 600 0 0 0 0\nvalue 0 0\n",
	    "before undos" },
	{ "sysvipc", " 16384 4321 99\n", " 16384 4321\n", "not ID KEY" },
	{ "sysvipc", " 16384 4321 99\n", " 16384 4321 99 1\n", "not ID KEY" },
	{ "sysvipc", " 16384 4321 99\n", " 16384 4321 4194305\n",
	    "not ID KEY" },
	{ "sysvipc", " 16384 ", " 9223372036854775808 ", "not ID KEY" },
	{ "sysvipc", "queue 65536 ", "queue 3 ", "order of ids" },
	{ "sysvipc", "queue 3 ", "semaphores 40000 0 600 0 0 0 0\nqueue 3 ",
	    "before undos" },
	{ "sysvipc", "message 1 ", "undo 32769 0 1\nmessage 1 ",
	    "not before queues" },
	{ "sysvipc", "message 1 ", "value 1 0\nmessage 1 ",
	    "not behind a set" },
	{ "sysvipc", "", "message 1 -\n", "sysvipc:1: not behind a queue" },
	{ "sysvipc", "message 1 ", "message 0 ", "not TYPE BYTES" },
	{ "sysvipc", "message 1 ", "message -1 ", "not TYPE BYTES" },
	{ "sysvipc", "message 1 ", "message 9223372036854775808 ",
	    "not TYPE BYTES" },
	{ "sysvipc", " 68656c6c6f", "", "not TYPE BYTES" },
	{ "sysvipc", " 68656c6c6f", " 68656c6c6", "not TYPE BYTES" },
	{ "sysvipc", " 68656c6c6f", " 68656c6c6g", "not TYPE BYTES" },
	{ "sysvipc", " 68656c6c6f", " ", "not TYPE BYTES" },
	{ "unsupported", "fd 9: a socket:", "fd 9  a socket ",
	    "unsupported:1:" },
};

START_TEST(edited_wrongly)
{
	edit(bad_edits[_i].path, bad_edits[_i].from, bad_edits[_i].to);
	expect_error(-EBADMSG, bad_edits[_i].sentence);
}
END_TEST

START_TEST(edited_well)
{
	struct process *q;

	edit("environ", "", "NEW=1");
	edit("status", "umask: 0027", "umask: 0077");
	unlinkat(dir, "cwd", 0);
	ck_assert_int_eq(symlinkat("/var", dir, "cwd"), 0);
	/* one duplicate led elsewhere: from now on a file of its own */
	unlinkat(dir, "fd/0", 0);
	ck_assert_int_eq(symlinkat("/dev/zero", dir, "fd/0"), 0);
	edit("files/2", "memfd's", "the memfd's");
	ck_assert_msg(try(&q) == 0, "%s", snap_error(cx));
	ck_assert_uint_eq(q->environ_len, 5);
	ck_assert_uint_eq(q->umask, 077);
	ck_assert_str_eq(q->cwd, "/var");
	ck_assert_uint_eq(q->nfiles, 4);
	ck_assert_str_eq(q->files[q->fds[0].file].target, "/dev/zero");
	ck_assert_str_eq(q->files[q->fds[1].file].target, "/dev/null");
	ck_assert_uint_eq(q->files[q->fds[1].file].id, 1);
	ck_assert_uint_eq(process_content(q, 2)->size, 17);
	process_free(q);
}
END_TEST

/* As many messages as there may be in a queue, and one more. */
START_TEST(full_queue)
{
	const char line[] = "message 7 -\n";
	struct text t = { 0 };
	struct process *q;
	size_t len;
	char *text;

	drop_sum("sysvipc");
	text = slurp("sysvipc", &len);
	text_put(&t, text, len);
	free(text);
	for (size_t i = p->queues[1].n; i <= MSGQUEUE_MESSAGES; i++)
		text_puts(&t, line);
	text = text_take(&t, &len);
	spit("sysvipc", text, len - strlen(line));
	ck_assert_msg(try(&q) == 0, "%s", snap_error(cx));
	ck_assert_uint_eq(q->queues[1].n, MSGQUEUE_MESSAGES);
	process_free(q);
	spit("sysvipc", text, len);
	expect_error(-EBADMSG, "more than may be in a queue");
	free(text);
}
END_TEST

START_TEST(of_another_world)
{
	char *buf;
	struct rlimit lim;
	size_t len;

	buf = slurp("checkpoint", &len);
	buf[strlen("snapfs checkpoint ")] = '2';
	spit("checkpoint", buf, len);
	expect_error(-EPROTO, "version 2");
	spit("checkpoint", "something else\n", 15);
	expect_error(-EBADMSG, "checkpoint:1:");
	spit("checkpoint", "", 0);
	expect_error(-EBADMSG, "checkpoint:");
	ck_assert(snap_image_is(dir) == 0);
	buf[strlen("snapfs checkpoint ")] = '1';
	spit("checkpoint", buf, len);
	ck_assert(snap_image_is(dir) == 1);
	/* Nobody knows, and that it is none is not said. */
	getrlimit(RLIMIT_NOFILE, &lim);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, lim.rlim_max });
	ck_assert(snap_image_is(dir) == -EMFILE);
	setrlimit(RLIMIT_NOFILE, &lim);
	free(buf);
}
END_TEST

/* Bytes changed at random behind the checksums' back: no crash. */
START_TEST(random_edits)
{
	static const char *const paths[] = { "maps", "pagemap", "status",
		"regs", "signals", "timers", "sysvipc", "unsupported",
		"fdinfo/0", "fdinfo/5", "fdinfo/1000", "auxv" };
	static const char bytes[] = "0159afx-:,. \n\t\\\0\377 ";
	char *buf, *copy;
	size_t len;

	srand(4711);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		drop_sum(paths[i]);
		buf = slurp(paths[i], &len);
		copy = malloc(len);
		for (int round = 0; round < 300; round++) {
			memcpy(copy, buf, len);
			for (int k = rand() % 3; k >= 0; k--)
				copy[(size_t)rand() % len] =
				    bytes[(size_t)rand() % sizeof(bytes)];
			spit(paths[i], copy, len);
			try(NULL);
		}
		spit(paths[i], buf, len);
		free(copy);
		free(buf);
	}
	ck_assert_int_eq(try(NULL), 0);
}
END_TEST

/* With as many descriptors as make names fall into the same place. */
START_TEST(names)
{
	struct image_tree many;
	struct fdent *e;
	uint32_t n = 0;

	for (int i = 0; i < 5000; i++) {
		e = SAMPLE_GROW(p->fds, p->nfds);
		*e = (struct fdent){ 2000 + i, false, 2 };
	}
	ck_assert_int_eq(image_write(cx, p, &many), 0);
	for (uint32_t i = 1; i < many.n; i++) {
		const struct image_node *v = &many.v[i];

		ck_assert_uint_eq(
		    image_find(&many, v->node.parent, v->name), i);
		/* It is in no other directory, and is none itself. */
		ck_assert_uint_ne(image_find(&many, i, v->name), i);
		ck_assert_uint_eq(image_find(&many, i, "no such"), 0);
		n += v->node.type == SNAP_DIR;
	}
	ck_assert_uint_ge(many.n, 5000);
	ck_assert_uint_ge(n, 3);
	ck_assert_uint_eq(image_find(&many, 0, ""), 0);
	ck_assert_uint_eq(image_find(&many, 0, "2000"), 0);
	ck_assert_uint_eq(image_find(&many, UINT32_MAX, "fd"), 0);
	image_tree_free(&many);
	ck_assert_int_eq(image_write_root(cx, p, &many), 0);
	ck_assert_uint_eq(image_find(&many, 0, "fd"), 0);
	image_tree_free(&many);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("image");
	TCase *t = tcase_create("image");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, there_and_back);
	tcase_add_test(t, shape_of_the_tree);
	tcase_add_test(t, names);
	tcase_add_test(t, xxhsum_agrees);
	tcase_add_test(t, hashed_while_read);
	tcase_add_test(t, cut_or_flipped);
	tcase_add_test(t, absent);
	tcase_add_test(t, of_another_type);
	tcase_add_loop_test(
	    t, edited_wrongly, 0, sizeof(bad_edits) / sizeof(bad_edits[0]));
	tcase_add_test(t, edited_well);
	tcase_add_test(t, full_queue);
	tcase_add_test(t, of_another_world);
	tcase_add_test(t, random_edits);
	suite_add_tcase(s, t);
	return unit_run(s);
}
