/*
 * sample.h - a struct process made by hand that has something of everything,
 * and its image in a directory.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "memory.h"
#include "seccomp.h"
#include "vma.h"
#include "xstate.h"

#define SAMPLE_PAGE 4096ul

static const char sample_maps[] =
    "00400000-00401000 r-xp 00000000 fe:00 77                                 "
    "/bin/a b\\012c\n"
    "00600000-00604000 rw-p 00001000 fe:00 77                                 "
    "/bin/a b\\012c\n"
    "01000000-01010000 rw-p 00000000 00:00 0                                  "
    "[heap]\n"
    "7f0000000000-7f0000002000 rw-s 00000000 00:01 9                          "
    "/dev/zero (deleted)\n"
    "7f0000100000-7f0000200000 ---p 00000000 00:00 0 \n"
    "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          "
    "[stack]\n"
    "7ffd00100000-7ffd00104000 r--p 00000000 00:00 0                          "
    "[vvar]\n"
    "7ffd00104000-7ffd00106000 r-xp 00000000 00:00 0                          "
    "[vdso]\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  "
    "[vsyscall]\n";

static int
sample_fd(const void *bytes, size_t len)
{
	int fd = memfd_create("sample", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		abort();
	return fd;
}

#define SAMPLE_GROW(array, n) process_grow(&(array), &(n), sizeof(*(array)))

static inline void
sample_memory(struct process *p)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	char *text = strdup(sample_maps), *pages;
	struct mapfile *f;
	struct lines l;
	struct run *r;

	lines_init(&l, cx, "maps", text, strlen(text));
	if (vma_parse_maps(&l, p) < 0)
		abort();
	free(text);
	snap_ctx_free(cx);
	f = SAMPLE_GROW(p->mapfiles, p->nmapfiles);
	f->path = strdup("/bin/a b\nc");
	f->size = 123456;
	f->mtime = (struct timespec){ 1700000000, 5 };
	strcpy(f->build_id, "00112233445566778899aabbccddeeff00112233");
	f = SAMPLE_GROW(p->mapfiles, p->nmapfiles);
	f->path = strdup("/dev/zero");
	f->size = 8192;
	f->mtime = (struct timespec){ -1, 999999999 };
	f->content = (uint32_t)process_add_content(
	    p, sample_fd("shared memory", 13), 13);
	f->segment = malloc(sizeof(*f->segment));
	*f->segment = (struct ipc){ .id = 32769,
		.key = 0xfedcba98,
		.mode = 01640,
		.uid = 1,
		.gid = 2,
		.cuid = 3,
		.cgid = 4294967294 };
	p->vmas[0].file = p->vmas[1].file = 0;
	p->vmas[3].file = 1;
	p->exe_file = 0;
	p->vmas[2].flags = VMA_F_ACCOUNT | VMA_F_HUGEPAGE;
	p->vmas[2].pkey = 3;
	p->share[SHARE_FS] = 77;
	p->vmas[5].flags = VMA_F_GROWSDOWN | VMA_F_LOCKED;

	pages = calloc(6, SAMPLE_PAGE);
	for (size_t i = 0; i < 6 * SAMPLE_PAGE; i++)
		pages[i] = (char)(i * 7 + i / SAMPLE_PAGE);
	p->pages_fd = sample_fd(pages, 6 * SAMPLE_PAGE);
	free(pages);
	p->pages_size = 6 * SAMPLE_PAGE;
	r = SAMPLE_GROW(p->runs, p->nruns);
	*r = (struct run){ 0x601000, 0x602000, RUN_HELD, 0, p->pages_fd, 0, 0,
		0, false, false };
	r = SAMPLE_GROW(p->runs, p->nruns);
	*r = (struct run){ 0x1000000, 0x1004000, RUN_HELD, 0x1000, p->pages_fd,
		0x1000, 0, 0, false, false };
	r = SAMPLE_GROW(p->runs, p->nruns);
	*r = (struct run){ 0x1004000, 0x1006000, RUN_GUARD, 0x5000, -1, 0, 0, 0,
		false, false };
	r = SAMPLE_GROW(p->runs, p->nruns);
	*r = (struct run){ 0x1006000, 0x100f000, RUN_ZERO, 0x5000, -1, 0, 0, 0,
		false, false };
	r = SAMPLE_GROW(p->runs, p->nruns);
	*r = (struct run){ 0x7ffd00020000, 0x7ffd00021000, RUN_HELD, 0x5000,
		p->pages_fd, 0x5000, 0, 0, false, false };
}

static inline void
sample_thread(struct process *p, pid_t tid, unsigned salt)
{
	struct thread *t = SAMPLE_GROW(p->threads, p->nthreads);
	unsigned long long *reg = (unsigned long long *)&t->regs;
	struct xstate_layout x;
	siginfo_t *si;

	t->tid = tid;
	for (size_t i = 0; i < sizeof(t->regs) / sizeof(*reg); i++)
		reg[i] = 0x1122334455667788ull * (i + salt);
	t->regs.rip = 0x400010 + salt;
	t->regs.rsp = 0x7ffd00020f00;
	t->regs.fs_base = 0x1000100;
	t->regs.gs_base = 0;
	t->regs.cs = 0x33;
	t->regs.ss = 0x2b;
	t->regs.ds = t->regs.es = t->regs.fs = t->regs.gs = 0;
	t->regs.eflags = 0x246;
	t->regs.orig_rax = UINT64_MAX;
	xstate_layout(&x);
	t->xsave_len = xstate_length(&x, x.supported);
	t->xsave = calloc(1, t->xsave_len);
	t->xsave[24] = 0x80; /* mxcsr 0x1f80 */
	t->xsave[25] = 0x1f;
	t->xsave[512] = 3;
	memset(t->xsave + 160, (int)salt, 64);
	t->restart.nr = -1;
	if (salt % 2 == 1) {
		t->restart.nr = 35;
		t->restart.args[0] = 0x7ffd00020000;
		t->restart.args[5] = UINT64_MAX;
		t->restart.has_timeout = true;
		t->restart.left_ns = 123456789;
	}
	snprintf(t->comm, sizeof(t->comm), " w\\%c\n%u", 1, salt);
	t->sigmask = 0x8000000000000001ull;
	si = SAMPLE_GROW(t->pending.v, t->pending.n);
	si->si_signo = SIGUSR2;
	si->si_code = SI_TKILL;
	si->si_pid = 99;
	t->altstack_sp = 0x1001000;
	t->altstack_size = 8192;
	t->altstack_flags = 2;
	t->robust_list = 0x1002000;
	t->robust_len = 24;
	t->rseq = 0x1003000;
	t->rseq_cs = 0x1003100;
	t->rseq_len = 32;
	t->rseq_sig = 0x53053053;
	t->clear_child_tid = 0x1000200;
	t->pdeath_signal = 9;
	t->timerslack = 50000;
	t->sched_policy = 2;
	t->sched_priority = 10;
	t->sched_flags = 1;
	t->nice = -5;
	t->sched_runtime = 1;
	t->sched_deadline = 2;
	t->sched_period = 3;
	t->ioprio = 0x4003;
	t->affinity_len = 8;
	t->affinity = malloc(8);
	memset(t->affinity, 0xa5, 8);
	t->creds.ruid = 1000;
	t->creds.fsuid = 4;
	t->creds.egid = 7;
	*(gid_t *)SAMPLE_GROW(t->creds.groups, t->creds.ngroups) = 20;
	*(gid_t *)SAMPLE_GROW(t->creds.groups, t->creds.ngroups) = 4000000000u;
	t->creds.cap_bnd = 0x1ffffffffffull;
	t->creds.securebits = 0x2f;
	t->creds.no_new_privs = salt % 2 == 0;
}

static inline void
sample_fds(struct process *p)
{
	static const struct fdent fds[] = { { 0, false, 0 }, { 1, true, 0 },
		{ 5, false, 1 }, { 1000, false, 2 } };
	struct openfile *f;
	int id;

	f = SAMPLE_GROW(p->files, p->nfiles);
	strcpy(f->kind, "device");
	f->target = strdup("/dev/null");
	f->flags = O_RDWR | O_APPEND;
	f->pos = 77;
	openfile_put(f, "target", "%s", f->target);
	openfile_put(f, "rdev", "1:3");
	f = SAMPLE_GROW(p->files, p->nfiles);
	f->id = 5;
	strcpy(f->kind, "eventfd");
	f->target = strdup("anon_inode:[eventfd]");
	f->flags = O_RDWR | O_NONBLOCK;
	openfile_put(f, "target", "%s", f->target);
	openfile_put(f, "eventfd-count", "1f");
	openfile_put(f, "eventfd-semaphore", "1");
	id = process_add_content(p, sample_fd("memfd's bytes", 13), 13);
	f = SAMPLE_GROW(p->files, p->nfiles);
	f->id = 1000;
	strcpy(f->kind, "memfd");
	f->target = strdup("/memfd: odd\nname\\ (deleted)");
	f->flags = O_RDWR;
	openfile_put(f, "target", "%s", f->target);
	openfile_put(f, "seals", "%x", 1);
	openfile_put(f, "mode", "0777");
	openfile_put(f, "content", "%d", id);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		*(struct fdent *)SAMPLE_GROW(p->fds, p->nfds) = fds[i];
}

static inline void
sample_semset(struct process *p, const struct semset *s, struct semaphore v)
{
	struct semset *slot = SAMPLE_GROW(p->semsets, p->nsemsets);

	*slot = *s;
	*(struct semaphore *)SAMPLE_GROW(slot->v, slot->n) = v;
}

static inline void
sample_message(struct msgqueue *q, int64_t type, const char *bytes)
{
	struct message *m = SAMPLE_GROW(q->v, q->n);

	*m = (struct message){ type, strdup(bytes), strlen(bytes) };
	q->bytes += m->size;
}

static inline void
sample_queues(struct process *p)
{
	struct msgqueue *q = SAMPLE_GROW(p->queues, p->nqueues);

	*q = (struct msgqueue){ .ipc = { .id = 3, .mode = 0600 } };
	q = SAMPLE_GROW(p->queues, p->nqueues);
	*q = (struct msgqueue){ .ipc = { .id = 65536,
				    .key = 0xabcdef01,
				    .mode = 0620,
				    .uid = 5,
				    .gid = 6,
				    .cuid = 7,
				    .cgid = 8 },
		.qbytes = 16384,
		.sender = 4321,
		.receiver = 99 };
	sample_message(q, 1, "hello");
	sample_message(q, INT64_MAX, "");
}

static inline void
sample_semaphores(struct process *p)
{
	static const struct semset plain = { .ipc = { .id = 7, .mode = 0600 } },
				   other = { .ipc = { .id = 32769,
						 .key = 0xfedcba98,
						 .mode = 0640,
						 .uid = 1,
						 .gid = 2,
						 .cuid = 3,
						 .cgid = 4294967294 } };

	sample_semset(p, &plain, (struct semaphore){ 0, 0 });
	sample_semset(p, &other, (struct semaphore){ 32767, 4321 });
	*(struct semaphore *)SAMPLE_GROW(p->semsets[1].v, p->semsets[1].n) =
	    (struct semaphore){ 5, 0 };
	*(struct semundo *)SAMPLE_GROW(p->undos, p->nundos) =
	    (struct semundo){ 7, 0, -32768 };
	*(struct semundo *)SAMPLE_GROW(p->undos, p->nundos) =
	    (struct semundo){ 32769, 1, 5 };
	sample_queues(p);
}

static inline void
sample_signals(struct process *p)
{
	struct posix_timer *t;
	siginfo_t *si;

	p->actions[SIGINT - 1] = (struct ksigaction){ 1, 0, 0, 0 };
	p->actions[SIGSEGV - 1] = (struct ksigaction){ 0x400100, 0x0c000004,
		0x400200, 0xfffffffe7ffbfeffull };
	p->actions[63] = (struct ksigaction){ 0, 0x10000000, 0, 0 };
	si = SAMPLE_GROW(p->pending.v, p->pending.n);
	si->si_signo = 40;
	si->si_code = SI_QUEUE;
	si->si_value.sival_ptr = (void *)0x1234;
	p->itimers[1] = (struct itimer){ 5, 10000000000ull };
	t = SAMPLE_GROW(p->timers, p->ntimers);
	*t = (struct posix_timer){ .id = 7,
		.clockid = -6,
		.notify = 4,
		.signo = 34,
		.sigval = 0x99,
		.tid = 4322,
		.value = 1,
		.interval = 2,
		.overrun = 3 };
	t = SAMPLE_GROW(p->timers, p->ntimers);
	*t = (struct posix_timer){ .id = 0, .clockid = 1, .notify = 1 };
}

static inline void
sample_seccomp(struct process *p)
{
	const struct sock_filter v[] = { { 0x20, 0, 0, 4 },
		{ 0x15, 1, 255, 0xc000003e }, { 6, 0, 0, 0x7fff0000 } };

	p->threads[0].seccomp = 2;
	p->threads[0].filter = filters_add(&p->filters, 0, 2, v, 3);
	p->threads[1].seccomp = 2;
	p->threads[1].filter = filters_add(&p->filters, 1, 0, v + 2, 1);
	p->threads[2].seccomp = 1;
}

/* What few have set: the second thread, not the others. */
static inline void
sample_habits(struct process *p)
{
	struct numa *n = calloc(1, sizeof(*n));

	p->thp_advised = p->memory_merge = true;
	p->lock_future = 6;
	p->membarrier = 0x50;
	p->cgroup = strdup("4:cpu,cpuacct:/a b\n0::/user.slice/x\n");
	p->threads[1].habits = (struct habits){
		.numa = { 0x4003, { 5, [15] = 1ull << 63 } },
		.memory_error = 2,
		.speculation = { 4, 8, 2 },
		.no_tsc = true,
		.no_cpuid = true,
		.io_flusher = true,
	};
	n->mode = 4;
	p->vmas[1].numa = n;
}

static inline struct process *
sample_process(void)
{
	struct process *p = process_new();

	strcpy(p->id, "0123456789abcdef0123456789abcdef");
	p->time = (struct timespec){ 1795312047, 123456789 };
	p->frozen_us = 812;
	p->kernel = strdup("6.18.0 odd\\");
	strcpy(p->arch, "x86_64");
	p->xfeatures = xstate_supported() & 7;
	strcpy(p->vdso, "aabbcc");
	p->pid = 4321;
	p->ppid = 1;
	p->pgid = 4321;
	p->sid = 4000;
	p->owner_uid = 1000;
	p->owner_gid = 1001;
	p->tty = 0x8803;
	p->umask = 027;
	p->personality = 0x40000;
	p->dumpable = 1;
	p->oom_score_adj = -300;
	p->coredump_filter = 0x33;
	p->thp_disable = true;
	for (int i = 0; i < PROCESS_NRLIMITS; i++) {
		p->rlimits[i].cur = (uint64_t)i;
		p->rlimits[i].max = i % 2 == 0 ? UINT64_MAX : 1000;
	}
	p->mm = (struct mm_layout){ 0x400000, 0x401000, 0x600000, 0x604000,
		0x1000000, 0x1010000, 0x7ffd00020fff, 0x7ffd00020f10,
		0x7ffd00020f20, 0x7ffd00020f20, 0x7ffd00020f30 };
	p->cwd = strdup("/tmp");
	p->root = strdup("/");
	p->exe = strdup("/bin/a b\nc");
	p->auxv = calloc(1, p->auxv_len = 32);
	p->cmdline = (uint8_t *)strdup("a\nb");
	p->cmdline_len = 4; /* with its NUL */
	p->environ = (uint8_t *)strdup("");
	sample_memory(p);
	sample_thread(p, 4321, 1);
	sample_thread(p, 4322, 2);
	sample_thread(p, 4400, 3);
	sample_habits(p);
	sample_fds(p);
	sample_signals(p);
	sample_seccomp(p);
	sample_semaphores(p);
	process_unsupported(p, "fd 9", "a socket:\nnot yet");
	process_unsupported(p, "vma 1-2", "%s", "");
	return p;
}

/* ---- its image ---- */

struct sample_source {
	const struct process *p;
	const struct image_tree *t;
};

static inline ssize_t
sample_read(void *arg, uint32_t n, void *buf, size_t len, uint64_t off)
{
	const struct sample_source *s = arg;
	const struct image_node *node = &s->t->v[n];

	if (node->source == IMAGE_PAGES)
		return memory_read(s->p, buf, len, off);
	if (node->source == IMAGE_CONTENT)
		return pread(node->content_fd, buf, len, (off_t)off);
	if (off >= node->node.size)
		return 0;
	if (len > node->node.size - off)
		len = node->node.size - off;
	memcpy(buf, node->text + off, len);
	return (ssize_t)len;
}

static inline void
sample_path(const struct image_tree *t, uint32_t n, char path[64])
{
	uint32_t parent = t->v[n].node.parent;

	snprintf(path, 64, "%s%s%s", parent != 0 ? t->v[parent].name : "",
	    parent != 0 ? "/" : "", t->v[n].name);
}

/* What cp -r would make of the tree, below the open directory. */
static inline void
sample_dump(const struct process *p, const struct image_tree *t, int dir)
{
	struct sample_source s = { p, t };
	char path[64], *sums, *pagesums;
	struct image_hasher *h;
	uint32_t at = 0;
	size_t len;
	int fd;

	h = image_hasher_new(t, sample_read, &s);
	while (at < t->n && t->v[at].source != IMAGE_PAGESUMS)
		at++;
	if (h == NULL || image_hasher_sums(h, 0, &sums) < 0 ||
	    image_hasher_pagesums(h, at, &pagesums, &len) < 0)
		abort();
	image_hasher_free(h);
	for (uint32_t i = 1; i < t->n; i++) {
		const struct image_node *n = &t->v[i];
		char *buf = malloc(n->node.size + 1);

		sample_path(t, i, path);
		if (n->node.type == SNAP_DIR) {
			if (mkdirat(dir, path, 0700) < 0)
				abort();
		} else if (n->node.type == SNAP_LINK) {
			if (symlinkat(n->text, dir, path) < 0)
				abort();
		} else {
			fd = openat(
			    dir, path, O_CREAT | O_EXCL | O_WRONLY, 0600);
			if (n->source == IMAGE_SUMS)
				memcpy(buf, sums, n->node.size);
			else if (n->source == IMAGE_PAGESUMS)
				memcpy(buf, pagesums, n->node.size);
			else if (sample_read(&s, i, buf, n->node.size, 0) !=
				 (ssize_t)n->node.size)
				abort();
			if (write(fd, buf, n->node.size) !=
			    (ssize_t)n->node.size)
				abort();
			close(fd);
		}
		free(buf);
	}
	free(sums);
	free(pagesums);
}

#endif
