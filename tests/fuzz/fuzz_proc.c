/*
 * fuzz_proc.c - texts of /proc, ELF files, and lists of sums.  The first byte
 * of the input says which parser gets the rest.  Where it is an fdinfo, the
 * descriptor that it is about is one of ours.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "ctx.h"
#include "fdlock.h"
#include "fileid.h"
#include "image_sums.h"
#include "pagers.h"
#include "pagesums.h"
#include "proc.h"
#include "proc_parse.h"
#include "procinfo.h"
#include "res.h"
#include "resource.h"
#include "vma.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
maps(struct snap_ctx *cx, char *text, size_t len)
{
	struct process *p = process_new();
	struct text t = { 0 };
	struct lines l;

	lines_init(&l, cx, "maps", text, len);
	if (vma_parse_maps(&l, p) == 0)
		for (size_t i = 0; i < p->nvmas; i++)
			vma_write(&t, &p->vmas[i]);
	text_fini(&t);
	process_free(p);
}

static void
smaps(struct snap_ctx *cx, char *text, size_t len)
{
	struct process *p = process_new();
	struct lines l;

	for (uint64_t a = 0x1000; a < 0x10000; a += 0x2000) {
		struct vma *v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));

		v->start = a;
		v->end = a + 0x1000;
	}
	lines_init(&l, cx, "smaps", text, len);
	vma_apply_smaps(&l, p, UINT64_MAX, NULL);
	process_free(p);
}

static void
status(struct snap_ctx *cx, char *text, size_t len)
{
	struct proc_status st = { 0 };
	uint64_t v;

	(void)cx;
	(void)len;
	if (proc_parse_status(text, &st) == 0)
		free(st.creds.groups);
	proc_field_u64(text, "VmLck", 10, &v);
}

static void
stat_and_limits(struct snap_ctx *cx, char *text, size_t len)
{
	struct proc_limit limits[PROCESS_NRLIMITS];
	struct posix_timer *timers;
	struct proc_stat st;
	size_t n;

	(void)cx;
	(void)len;
	proc_parse_stat(text, &st);
	proc_parse_limits(text, limits);
	if (proc_parse_timers(text, &timers, &n) == 0)
		free(timers);
}

static void
elf(struct snap_ctx *cx, char *text, size_t len)
{
	char hex[2 * FILEID_BUILD_ID_MAX + 1];

	(void)cx;
	fileid_build_id_mem(text, len, hex);
}

static void
sums(struct snap_ctx *cx, char *text, size_t len)
{
	struct image_sums *s;

	if (image_sums_parse(cx, text, len, &s) == 0) {
		image_sums_check(cx, s, "pages", "", 0);
		image_sums_free(s);
	}
}

/* Eight bytes of the size that `pages` has, and the text. */
static void
sums_of_pages(struct snap_ctx *cx, char *text, size_t len)
{
	struct pagesums *s = NULL;
	uint64_t size, sum = 0;
	struct lines l;

	if (len < sizeof(size))
		return;
	memcpy(&size, text, sizeof(size));
	lines_init(&l, cx, "pagesums", text + sizeof(size), len - sizeof(size));
	if (pagesums_read(&l, size, &s) < 0)
		return;
	for (size_t i = 0; i < s->n; i++)
		sum += pagesums_bytes(s, i);
	if (sum != size)
		abort();
	pagesums_free(s);
}

/* ---- what the daemon and the agent read ---- */

/* What a process of anybody's calls itself. */
static void
pager_title(struct snap_ctx *cx, char *text, size_t len)
{
	char again[256];
	uint64_t done, total;
	pid_t pid;

	(void)cx;
	(void)len;
	if (pagers_parse(text, &pid, &done, &total))
		pagers_title(again, sizeof(again), pid, done, total);
}

static void
daemon_status(struct snap_ctx *cx, char *text, size_t len)
{
	struct rlimit limits[RLIM_NLIMITS];
	struct procinfo_status st;
	struct procinfo_stat stat;

	(void)cx;
	(void)len;
	memset(limits, 0, sizeof(limits));
	if (procinfo_parse_status(text, &st) == 0)
		procinfo_status_fini(&st);
	procinfo_parse_stat(text, &stat);
	procinfo_parse_limits(text, limits);
}

/* A line of /proc/PID/cgroup, then a mountinfo. */
static void
cgroup(struct snap_ctx *cx, char *text, size_t len)
{
	char *nl = strchr(text, '\n'), out[256];

	(void)cx;
	(void)len;
	if (cgroup_directory(text, nl == NULL ? "" : nl + 1, out, sizeof(out)))
		if (memchr(out, '\0', sizeof(out)) == NULL)
			abort();
}

/* ---- fdinfo ---- */

static const struct {
	const struct resource *kind;
	const char *target;
} kinds[] = {
	{ &res_epoll, "anon_inode:[eventpoll]" },
	{ &res_timerfd, "anon_inode:[timerfd]" },
	{ &res_signalfd, "anon_inode:[signalfd]" },
	{ &res_inotify, "anon_inode:inotify" },
	{ &res_eventfd, "anon_inode:[eventfd]" },
	{ &res_pidfd, "anon_inode:[pidfd]" },
};
#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

static int fds[NKINDS], self = -1;

static void
open_kinds(void)
{
	sigset_t none;

	sigemptyset(&none);
	self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	fds[0] = epoll_create1(0);
	fds[1] = timerfd_create(CLOCK_MONOTONIC, 0);
	fds[2] = signalfd(-1, &none, 0);
	fds[3] = inotify_init1(IN_NONBLOCK);
	fds[4] = eventfd(0, 0);
	fds[5] = (int)syscall(SYS_pidfd_open, getpid(), 0);
}

static void
collect(struct process *p, const struct resource *kind, struct fd_probe *q)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct openfile *f = process_grow(&p->files, &p->nfiles, sizeof(*f));
	int err;

	f->id = (uint32_t)q->fd;
	f->target = strdup(q->target);
	openfile_put(f, "target", "%s", q->target);
	err = fdlock_collect(cx, q, f);
	if (err == 0)
		err = kind->collect(cx, q, p, f);
	if (err != 0 && snap_error(cx)[0] == '\0')
		abort();
	snap_ctx_free(cx);
}

static void
fdinfo(struct snap_ctx *cx, char *text, size_t len)
{
	struct process *p = process_new();
	size_t k = len > 0 ? (unsigned char)text[0] % NKINDS : 0;
	struct fd_probe q = {
		.pid = getpid(),
		.target = kinds[k].target,
		.fdinfo = len > 0 ? text + 1 : text,
		.root = AT_FDCWD,
		.p = p,
	};

	(void)cx;
	if (self < 0)
		open_kinds();
	q.pidfd = self;
	q.fd = fds[k];
	if (fstat(q.fd, &q.st) < 0)
		abort();
	collect(p, kinds[k].kind, &q);
	process_free(p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parsers[])(struct snap_ctx * cx, char *text,
	    size_t len) = { maps, smaps, status, stat_and_limits, elf, sums,
		daemon_status, cgroup, fdinfo, sums_of_pages, pager_title };
	struct snap_ctx *cx;
	char *text;

	if (size == 0)
		return 0;
	cx = snap_ctx_new(NULL);
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	parsers[data[0] % (sizeof(parsers) / sizeof(parsers[0]))](
	    cx, text, size - 1);
	free(text);
	snap_ctx_free(cx);
	return 0;
}
