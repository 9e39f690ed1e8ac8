#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "freeze.h"
#include "heal.h"
#include "mapped.h"
#include "pagemap.h"
#include "proc.h"
#include "vma.h"
#include "zeros.h"

#define COPY_CHUNK (256u << 10)
#define MANY_VMAS 200
#define NO_KIND ((enum vma_kind) - 1)

/* Fork clears these: only the original can tell. */
#define FLAGS_OF_ORIGINAL (VMA_F_LOCKED | VMA_F_LOCKONFAULT | VMA_F_UFFD)

static bool
is_private(const struct vma *v)
{
	return !v->shared && (v->kind == VMA_ANON || v->kind == VMA_FILE);
}

/*
 * Of a private huge page that the twin shares the original takes the only
 * copy, when it writes and no other is free; so these cannot wait.
 */
static bool
is_huge(const struct vma *v)
{
	return is_private(v) && strncmp(v->path, "/anon_hugepage",
				    strlen("/anon_hugepage")) == 0;
}

/* ---- VMAs ---- */

/* One of its own: then what is missing is its own business. */
static bool
has_userfaultfd(const struct process *p)
{
	for (size_t i = 0; i < p->nfiles; i++)
		if (strcmp(p->files[i].target, "anon_inode:[userfaultfd]") == 0)
			return true;
	return false;
}

/*
 * -EAGAIN, without a sentence: its memory is still being brought, see filling.h.
 */
static int
read_smaps(struct snap_ctx *cx, pid_t pid, const struct process *p, char **text,
    size_t *len)
{
	int err = proc_read(cx, pid, "smaps", text, len);

	if (err == 0 && vma_smaps_missing(*text) && !has_userfaultfd(p)) {
		free(*text);
		err = -EAGAIN;
	}
	return err;
}

/* Changes the text. */
static int
apply(struct snap_ctx *cx, char *text, size_t len, struct process *p,
    uint64_t mask, bool *seen)
{
	struct lines l;

	lines_init(&l, cx, "smaps", text, len);
	return vma_apply_smaps(&l, p, mask, seen);
}

static int
apply_smaps(struct snap_ctx *cx, pid_t pid, struct process *p, uint64_t mask,
    bool *seen)
{
	char *text;
	size_t len;
	int err;

	err = read_smaps(cx, pid, p, &text, &len);
	if (err < 0)
		return err;
	err = apply(cx, text, len, p, mask, seen);
	free(text);
	return err;
}

int
memory_collect_vmas(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	struct lines l;
	char *text;
	size_t len;
	int err;

	err = proc_read(cx, pid, "maps", &text, &len);
	if (err < 0)
		return err;
	lines_init(&l, cx, "maps", text, len);
	err = vma_parse_maps(&l, p);
	free(text);
	return err;
}

/*
 * Nothing tells of MCL_FUTURE but what was mapped since, which our own scratch
 * area was.
 */
static int
look_at_scratch(struct snap_ctx *cx, const char *smaps, size_t len,
    const struct frozen *z, struct process *p)
{
	struct vma v = { 0 };
	struct process q = { .vmas = &v, .nvmas = 1 };
	char *text = malloc(len + 1);
	uint64_t size;
	int err;

	if (text == NULL)
		return -ENOMEM;
	memcpy(text, smaps, len + 1);
	heal_scratch(z, &v.start, &size);
	v.end = v.start + size;
	err = apply(cx, text, len, &q, UINT64_MAX, NULL);
	free(text);
	if ((v.flags & VMA_F_LOCKED) != 0)
		p->lock_future = MCL_FUTURE;
	if ((v.flags & VMA_F_LOCKONFAULT) != 0)
		p->lock_future |= MCL_ONFAULT;
	return err;
}

int
memory_collect_locked(
    struct snap_ctx *cx, const struct frozen *z, struct process *p)
{
	uint64_t locked = 0;
	size_t len;
	char *text;
	int err;

	err = proc_read(cx, z->pid, "status", &text, NULL);
	if (err < 0)
		return err;
	if (proc_field_u64(text, "VmLck", 10, &locked) && locked == 0) {
		free(text);
		return 0;
	}
	free(text);
	err = read_smaps(cx, z->pid, p, &text, &len);
	if (err < 0)
		return err;
	err = look_at_scratch(cx, text, len, z, p);
	if (err == 0)
		err = apply(cx, text, len, p, FLAGS_OF_ORIGINAL, NULL);
	free(text);
	return err;
}

/* ---- copying while frozen ---- */

struct copier {
	struct snap_ctx *cx;
	struct process *p;
	int mem;
	struct pagemap pm;
	uint64_t at; /* end of p->frozen_fd */
	char *buf;
};

static int
copier_init(struct copier *c, struct snap_ctx *cx, pid_t pid, struct process *p)
{
	*c = (struct copier){ .cx = cx, .p = p, .mem = -1, .pm.fd = -1 };
	c->mem = proc_open(cx, pid, "mem", O_RDONLY);
	return c->mem < 0 ? c->mem : pagemap_open(cx, pid, &c->pm);
}

static void
copier_fini(struct copier *c)
{
	if (c->mem >= 0)
		close(c->mem);
	pagemap_close(&c->pm);
	free(c->buf);
}

static int
copy_bytes(struct copier *c, const struct run *r, const struct copytime *time)
{
	ssize_t n;
	int err;

	for (uint64_t a = r->start; a < r->end; a += (uint64_t)n) {
		size_t want = r->end - a < COPY_CHUNK ? r->end - a : COPY_CHUNK;

		n = pread(c->mem, c->buf, want, (off_t)a);
		if (n <= 0)
			return snap_fail(c->cx, n < 0 ? -errno : -ESRCH,
			    "reading memory at %lx: %s", (unsigned long)a,
			    n < 0 ? strerror(errno) : "the process is gone");
		err = contents_write(c->p->frozen_fd, c->buf, (size_t)n, c->at);
		if (err < 0)
			return snap_fail(c->cx, err,
			    "copying memory at %lx: %s", (unsigned long)a,
			    strerror(-err));
		c->at += (uint64_t)n;
		err = copytime_check(time, 0, 0);
		if (err < 0)
			return copytime_fail(
			    c->cx, c->p, "private memory", c->at);
	}
	return 0;
}

static int
copy_run(struct copier *c, struct run *r)
{
	struct copytime time = copytime_begin(c->p);
	int err;

	r->src_fd = c->p->frozen_fd;
	r->src_off = c->at;
	err = copy_bytes(c, r, &time);
	copytime_finish(&time, c->p);
	return err;
}

/* `expect`: how much may come, for choosing where the copy is put. */
static int
copier_open(struct copier *c, uint64_t expect)
{
	if (c->buf == NULL)
		c->buf = malloc(COPY_CHUNK);
	if (c->buf == NULL)
		return -ENOMEM;
	if (c->p->frozen_fd < 0)
		c->p->frozen_fd = contents_open(c->p, expect);
	if (c->p->frozen_fd < 0)
		return snap_fail(c->cx, c->p->frozen_fd,
		    "no room for a copy of memory: %s",
		    strerror(-c->p->frozen_fd));
	return 0;
}

static int
copy_vma(struct copier *c, const struct vma *v, uint64_t expect)
{
	size_t first = c->p->nruns;
	int err;

	err = pagemap_runs(c->cx, &c->pm, v->start, v->end, c->p);
	if (err == 0 && v->kind == VMA_ANON && !is_huge(v))
		err = pagemap_huge(&c->pm, v->start, v->end, c->p);
	if (err == 0 && c->p->nruns > first)
		err = copier_open(c, expect);
	for (size_t i = first; err == 0 && i < c->p->nruns; i++)
		if (c->p->runs[i].kind == RUN_HELD)
			err = copy_run(c, &c->p->runs[i]);
	return err;
}

/* ---- what the twin has not ---- */

static int
total_pages(struct snap_ctx *cx, pid_t pid, uint64_t *pages)
{
	char *text;
	int err;

	err = proc_read(cx, pid, "statm", &text, NULL);
	if (err < 0)
		return err;
	*pages = strtoull(text, NULL, 10);
	free(text);
	return 0;
}

/*
 * MADV_DONTFORK: *missing[i] where p->vmas[i] is not in the twin, NULL where
 * all are.  As many pages in both means that none is missing, which saves
 * reading the twin's maps.
 */
static int
find_missing(struct snap_ctx *cx, pid_t pid, pid_t twin, struct process *p,
    bool **missing)
{
	struct process *q;
	uint64_t here, there;
	int err;

	err = total_pages(cx, pid, &here);
	if (err == 0)
		err = total_pages(cx, twin, &there);
	if (err < 0 || here == there)
		return err;
	q = process_new();
	*missing = calloc(p->nvmas + 1, sizeof(**missing));
	err = q == NULL || *missing == NULL ? -ENOMEM
					    : memory_collect_vmas(cx, twin, q);
	for (size_t i = 0; err == 0 && i < p->nvmas; i++)
		(*missing)[i] = p->vmas[i].kind != VMA_VSYSCALL &&
				vma_find(q, p->vmas[i].start) == NULL;
	process_free(q);
	return err;
}

static int
copy_missing(struct copier *c, const bool *missing)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < c->p->nvmas; i++) {
		const struct vma *v = &c->p->vmas[i];

		if (is_huge(v) ||
		    (missing != NULL && missing[i] && is_private(v)))
			err = copy_vma(c, v, v->end - v->start);
	}
	return err;
}

/*
 * Anonymous pages, in memory and swapped.  Exact since Linux 6.16; before, the
 * kernel answered with an estimate.
 */
static bool
anon_kib(pid_t pid, uint64_t *kib)
{
	uint64_t in_memory, swapped;
	char *status;
	bool ok;

	if (proc_try(pid, "status", &status, NULL) < 0)
		return false;
	ok = proc_field_u64(status, "RssAnon", 10, &in_memory) &&
	     proc_field_u64(status, "VmSwap", 10, &swapped);
	free(status);
	if (ok)
		*kib = in_memory + swapped;
	return ok;
}

static bool
counts_are_exact(void)
{
	struct utsname u;
	unsigned major, minor;

	return uname(&u) == 0 &&
	       sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 16));
}

/*
 * With many VMAs, looking at each takes longer than the fork.  As many pages
 * in both means that nothing was wiped.  The original is asked first: if the
 * kernel takes back pages meanwhile (MADV_FREE), then the twin has fewer, and
 * all are looked at.
 */
static bool
nothing_wiped(const struct copier *c, pid_t pid, pid_t twin)
{
	uint64_t here, there;

	return c->p->nvmas >= MANY_VMAS && counts_are_exact() &&
	       anon_kib(pid, &here) && anon_kib(twin, &there) && here == there;
}

/*
 * MADV_WIPEONFORK: anonymous memory of which the original has pages and the
 * twin has none.  One look at each is enough, since a fork copies the page
 * table of such memory or does not.
 */
static int
copy_if_wiped(
    struct copier *c, const struct pagemap *twins, const struct vma *v)
{
	int any;

	any = pagemap_any(c->cx, twins, v->start, v->end);
	if (any != 0)
		return any < 0 ? any : 0;
	any = pagemap_any(c->cx, &c->pm, v->start, v->end);
	return any > 0 ? copy_vma(c, v, v->end - v->start) : any;
}

static int
copy_wiped(struct copier *c, pid_t pid, pid_t twin, const bool *missing)
{
	struct pagemap twins;
	int err;

	if (nothing_wiped(c, pid, twin))
		return 0;
	err = pagemap_open(c->cx, twin, &twins);
	for (size_t i = 0; err == 0 && i < c->p->nvmas; i++)
		if (c->p->vmas[i].kind == VMA_ANON &&
		    !is_huge(&c->p->vmas[i]) &&
		    (missing == NULL || !missing[i]))
			err = copy_if_wiped(c, &twins, &c->p->vmas[i]);
	pagemap_close(&twins);
	return err;
}

static int
copy_all(struct copier *c)
{
	uint64_t expect = 0;
	int err = 0;

	for (size_t i = 0; i < c->p->nvmas; i++)
		if (is_private(&c->p->vmas[i]))
			expect += c->p->vmas[i].end - c->p->vmas[i].start;
	for (size_t i = 0; err == 0 && i < c->p->nvmas; i++)
		if (is_private(&c->p->vmas[i]))
			err = copy_vma(c, &c->p->vmas[i], expect);
	return err;
}

int
memory_collect_frozen(
    struct snap_ctx *cx, pid_t pid, pid_t twin, struct process *p)
{
	bool *missing = NULL;
	struct copier c;
	int err;

	err = copier_init(&c, cx, pid, p);
	if (err < 0)
		goto out;
	if (twin == 0) {
		err = apply_smaps(cx, pid, p, UINT64_MAX, NULL);
		if (err == 0)
			err = mapped_collect_frozen(cx, pid, NULL, p);
		if (err == 0)
			err = mapped_collect_late(cx, pid, p);
		if (err == 0)
			err = copy_all(&c);
		goto out;
	}
	err = find_missing(cx, pid, twin, p, &missing);
	if (err == 0 && missing != NULL)
		err = apply_smaps(cx, pid, p, UINT64_MAX, NULL);
	if (err == 0)
		err = mapped_collect_frozen(cx, pid, missing, p);
	if (err == 0)
		err = copy_missing(&c, missing);
	if (err == 0)
		err = copy_wiped(&c, pid, twin, missing);
out:
	copier_fini(&c);
	free(missing);
	return err;
}

/* ---- at leisure ---- */

static int
scan_twin(struct snap_ctx *cx, pid_t twin, struct process *p)
{
	struct pagemap pm;
	size_t first;
	int err;

	p->pages_fd = proc_open(cx, twin, "mem", O_RDONLY);
	if (p->pages_fd < 0)
		return p->pages_fd;
	err = pagemap_open(cx, twin, &pm);
	for (size_t i = 0; err == 0 && i < p->nvmas; i++) {
		if (!is_private(&p->vmas[i]) || is_huge(&p->vmas[i]))
			continue;
		first = p->nruns;
		err =
		    pagemap_runs(cx, &pm, p->vmas[i].start, p->vmas[i].end, p);
		if (err == 0 && p->vmas[i].kind == VMA_ANON)
			err = pagemap_huge(
			    &pm, p->vmas[i].start, p->vmas[i].end, p);
		for (; first < p->nruns; first++) {
			p->runs[first].src_fd = p->pages_fd;
			p->runs[first].src_off = p->runs[first].start;
		}
	}
	pagemap_close(&pm);
	return err;
}

static int
part_order(const void *a, const void *b)
{
	const struct part *m = a, *n = b;

	return m->start < n->start ? -1 : m->start > n->start;
}

static int
run_order(const void *a, const void *b)
{
	const struct run *r = a, *s = b;

	return r->start < s->start ? -1 : r->start > s->start;
}

/* In order; without those of VMAs whose contents are not to be kept. */
void
memory_settle_runs(struct process *p)
{
	size_t n = 0;

	if (p->nruns > 0)
		qsort(p->runs, p->nruns, sizeof(*p->runs), run_order);
	if (p->nhuge > 0)
		qsort(p->huge, p->nhuge, sizeof(*p->huge), part_order);
	p->pages_size = 0;
	for (size_t i = 0; i < p->nruns; i++) {
		struct run *r = &p->runs[i];
		const struct vma *v = vma_find(p, r->start);

		if (v == NULL || !is_private(v) ||
		    (v->flags & VMA_F_DROPPABLE) != 0)
			continue;
		r->offset = p->pages_size;
		if (r->kind == RUN_HELD)
			p->pages_size += r->end - r->start;
		p->runs[n++] = *r;
	}
	p->nruns = n;
	for (size_t i = 0; i < p->nformer; i++) {
		p->former[i].offset = p->pages_size;
		p->pages_size += p->former[i].end - p->former[i].start;
	}
}

/* What keeps a restore from being made, or as it was; the first that fits. */
static const struct {
	const char *path; /* begins with this */
	uint64_t flags;	  /* any of these */
	enum vma_kind kind;
	const char *why;
} reservations[] = {
	{ "/[aio]", 0, VMA_OTHER,
	    "a ring of io_setup(2), with which it cannot be restored; "
	    "io_destroy(2) it first" },
	{ "/secretmem", 0, VMA_OTHER,
	    "secret memory (memfd_secret) that could not be copied, because "
	    "no twin of the process could be made or it may not lock memory "
	    "(RLIMIT_MEMLOCK), with which it cannot be restored; keep its "
	    "descriptor open" },
	{ "", 0, VMA_OTHER,
	    "neither memory nor a regular file that can be opened, with which "
	    "it cannot be restored; unmap it first" },
	{ "", VMA_F_IO, NO_KIND,
	    "memory of a device, with which it cannot be restored; unmap it "
	    "first" },
	{ "", VMA_F_SHADOWSTACK, NO_KIND,
	    "a shadow stack, with which it cannot be restored; start it with "
	    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK" },
	{ "", VMA_F_SYNC, NO_KIND,
	    "mapped with MAP_SYNC, with which it cannot be restored; unmap it "
	    "first" },
	{ "", VMA_F_UFFD, NO_KIND,
	    "registered with a userfaultfd: it comes back without" },
	{ "/SYSV", 0, VMA_SHARED_ANON,
	    "a System V shared memory segment of another IPC namespace, or "
	    "of huge pages: it comes back as memory of this tree alone, "
	    "without its id" },
	{ "", VMA_F_HUGETLB, NO_KIND,
	    "huge pages of hugetlbfs: they come back as ordinary pages" },
};

static bool
is_kernels(const struct vma *v)
{
	return v->kind == VMA_VVAR || v->kind == VMA_VVAR_VCLOCK ||
	       v->kind == VMA_VDSO || v->kind == VMA_VSYSCALL;
}

static const char *
reservation(const struct process *p, const struct vma *v)
{
	bool segment = v->file >= 0 && p->mapfiles[v->file].segment != NULL;

	for (size_t i = 0; i < sizeof(reservations) / sizeof(reservations[0]) &&
			   !is_kernels(v);
	     i++) {
		if (segment && reservations[i].kind == VMA_SHARED_ANON)
			continue;
		if (strncmp(v->path, reservations[i].path,
			strlen(reservations[i].path)) == 0 &&
		    (v->kind == reservations[i].kind ||
			(v->flags & reservations[i].flags) != 0))
			return reservations[i].why;
	}
	return NULL;
}

static int
list_reservations(struct process *p)
{
	char what[64];
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		const char *why = reservation(p, v);

		if (why == NULL)
			continue;
		snprintf(what, sizeof(what), "vma %lx-%lx",
		    (unsigned long)v->start, (unsigned long)v->end);
		err = process_unsupported(p, what, "%s%s%s", why,
		    v->path[0] != '\0' ? "; " : "", v->path);
	}
	return err;
}

int
memory_collect_flags(struct snap_ctx *cx, pid_t twin, struct process *p)
{
	return apply_smaps(cx, twin, p, ~(uint64_t)FLAGS_OF_ORIGINAL, NULL);
}

int
memory_collect_running_flags(struct snap_ctx *cx, struct process *p)
{
	uint64_t mask = ~(uint64_t)FLAGS_OF_ORIGINAL;
	bool *seen = calloc(p->nvmas + 1, sizeof(*seen));
	int err =
	    seen == NULL ? -ENOMEM : apply_smaps(cx, p->pid, p, mask, seen);

	for (size_t i = 0; err == 0 && i < p->nvmas; i++)
		if (!seen[i] && p->vmas[i].kind != VMA_VSYSCALL)
			err = snap_fail(cx, -ESTALE, "vma %lx-%lx is gone",
			    (unsigned long)p->vmas[i].start,
			    (unsigned long)p->vmas[i].end);
	free(seen);
	return err;
}

int
memory_collect_late(struct snap_ctx *cx, pid_t twin, struct process *p)
{
	int err = 0;

	if (twin != 0) {
		err = memory_collect_flags(cx, twin, p);
		if (err == 0)
			err = mapped_collect_late(cx, twin, p);
		if (err == 0)
			err = scan_twin(cx, twin, p);
	}
	if (err == 0)
		err = zeros_find(cx, p);
	memory_settle_runs(p);
	return err == 0 ? list_reservations(p) : err;
}

/* ---- reading `pages` ---- */

/* The HELD run that has the byte at `off`; a run of guards has no bytes. */
static const struct run *
run_at(const struct process *p, uint64_t off)
{
	const bool former = p->nformer > 0 && off >= p->former[0].offset;
	const struct run *v = former ? p->former : p->runs;
	size_t lo = 0, hi = former ? p->nformer : p->nruns;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].offset <= off)
			lo = mid;
		else
			hi = mid;
	}
	return &v[lo];
}

ssize_t
memory_read(const struct process *p, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	if (off >= p->pages_size)
		return 0;
	if (len > p->pages_size - off)
		len = p->pages_size - off;
	while (done < len) {
		const struct run *r = run_at(p, off + done);
		uint64_t in = off + done - r->offset;
		uint64_t left = r->end - r->start - in;
		size_t want = len - done < left ? len - done : left;
		ssize_t n;

		n = pread(r->src_fd, (char *)buf + done, want,
		    (off_t)(r->src_off + in));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* 0: the twin's memory is gone */
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
}
