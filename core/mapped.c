#include "mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "fileid.h"
#include "othername.h"
#include "proc.h"
#include "shared.h"
#include "sysv.h"

#define DELETED " (deleted)"
#define COPY_CHUNK (256u << 10)
/* Unprivileged, every page up to the end must be read: not of a giant. */
#define COPY_BY_MEM_MAX (1ull << 30)

/* What was found out of one inode, for all VMAs that map it. */
struct object {
	uint32_t major, minor;
	uint64_t ino;
	int file; /* index into mapfiles, -1: none */
	bool used, other, zero, full;
};

struct search {
	struct snap_ctx *cx;
	pid_t pid;
	struct process *p;
	bool frozen;
	bool full; /* the VMA at hand is not to be seen again later */
	struct object *table; /* open addressing, size a power of two */
	size_t size;
};

static struct object *
object_of(struct search *s, const struct vma *v, bool *known)
{
	uint64_t h = v->ino * 0x9e3779b97f4a7c15ull ^ v->minor * 31u ^ v->major;
	size_t i;

	for (i = (h >> 20) & (s->size - 1); s->table[i].used;
	     i = (i + 1) & (s->size - 1)) {
		struct object *o = &s->table[i];

		if (o->ino == v->ino && o->minor == v->minor &&
		    o->major == v->major) {
			*known = true;
			return o;
		}
	}
	*known = false;
	s->table[i] = (struct object){ .major = v->major,
		.minor = v->minor,
		.ino = v->ino,
		.file = -1,
		.used = true };
	return &s->table[i];
}

static bool
ends_deleted(const char *path)
{
	size_t n = strlen(path), m = strlen(DELETED);

	return n > m && strcmp(path + n - m, DELETED) == 0;
}

int
mapped_find(const struct process *p, const struct stat *st)
{
	for (size_t i = 0; i < p->nmapfiles; i++)
		if (p->mapfiles[i].ino == st->st_ino &&
		    p->mapfiles[i].dev == st->st_dev)
			return (int)i;
	return -1;
}

int
mapped_add(struct process *p, char *path, const struct stat *st, bool nameless)
{
	struct mapfile *f;

	f = process_grow(&p->mapfiles, &p->nmapfiles, sizeof(*f));
	if (f == NULL) {
		free(path);
		return -ENOMEM;
	}
	if (nameless && ends_deleted(path))
		path[strlen(path) - strlen(DELETED)] = '\0';
	f->path = path;
	f->size = (uint64_t)st->st_size;
	f->mtime = st->st_mtim;
	f->dev = st->st_dev;
	f->ino = st->st_ino;
	return (int)p->nmapfiles - 1;
}

/*
 * Of a frozen process whatever the kernel has at hand: a FUSE server that is
 * asked could be that process.
 */
static int
stat_fd(const struct search *s, int fd, struct stat *st)
{
	struct statx x;

	if (!s->frozen)
		return fstat(fd, st);
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS,
		&x) < 0)
		return -1;
	*st =
	    (struct stat){ .st_dev = makedev(x.stx_dev_major, x.stx_dev_minor),
		    .st_ino = x.stx_ino,
		    .st_mode = x.stx_mode,
		    .st_nlink = x.stx_nlink,
		    .st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor),
		    .st_size = (off_t)x.stx_size,
		    .st_mtim = { .tv_sec = x.stx_mtime.tv_sec,
			.tv_nsec = x.stx_mtime.tv_nsec } };
	return 0;
}

/*
 * The file that the path leads to, as the process's root sees it, open with
 * O_PATH (no driver is asked, no FIFO waits); -1 if it leads nowhere.
 */
static int
open_path(struct search *s, const char *path, struct stat *st)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT };
	int root, fd;

	root = proc_open(s->cx, s->pid, "root", O_PATH);
	if (root < 0)
		return -1;
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	close(root);
	if (fd >= 0 && stat_fd(s, fd, st) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int
reopen(int path_fd)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", path_fd);
	return open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/*
 * Size, time, build-id of the regular file open (O_PATH) at `fd`.  A file
 * that may be mapped but not read keeps what stat(2) said.
 */
static int
identify(const struct search *s, int fd, struct mapfile *f)
{
	int rd = reopen(fd);
	int err = rd < 0 ? -errno : fileid_read(rd, f);

	if (rd >= 0)
		close(rd);
	if (err != -ENOMEM && err != -EMFILE && err != -ENFILE)
		return 0;
	return snap_fail(s->cx, err, "reading the mapped file %s: %s", f->path,
	    strerror(-err));
}

/* ---- objects that are reached through a link in /proc ---- */

/* Its path does not lead to it: its bytes become contents. */
static int
resolve_nameless(
    struct search *s, int fd, const struct stat *st, char *path, bool copy)
{
	struct mapfile *f;
	int i, rd, id;

	i = mapped_add(s->p, path, st, true);
	if (i < 0)
		return i;
	f = &s->p->mapfiles[i];
	id = identify(s, fd, f);
	if (id < 0)
		return id;
	rd = reopen(fd);
	if (rd < 0)
		return snap_fail(s->cx, -errno,
		    "opening the mapped file %s: %s", f->path, strerror(errno));
	if (!copy) {
		id = shared_keep(s->cx, s->p, rd); /* takes rd over */
	} else {
		id = shared_collect(s->cx, s->p, rd);
		close(rd);
	}
	if (id < 0)
		return id;
	f->content = (uint32_t)id;
	return 0;
}

/* Does *path lead to it, or can another take its place? */
static bool
leads_to(struct search *s, const struct stat *st, char **path)
{
	struct stat there;
	char *other;
	int at;

	if (st->st_nlink == 0)
		return false;
	at = open_path(s, *path, &there);
	if (at >= 0)
		close(at);
	if (at >= 0 && there.st_dev == st->st_dev && there.st_ino == st->st_ino)
		return true;
	/* Directories are read when nobody is held who might serve them. */
	other = s->frozen ? NULL : othername(s->cx, s->pid, *path, st);
	if (other == NULL)
		return false;
	free(*path);
	*path = other;
	return true;
}

/*
 * `fd` (O_PATH) is what is mapped, `st` its stat, `path` its name, taken over.
 * *file becomes its mapfile, with contents if its path does not lead to it.
 * While frozen, that of a file with a name is left for later: -1.
 */
static int
resolve(struct search *s, int fd, const struct stat *st, char *path, bool copy,
    int *file)
{
	int err;

	*file = mapped_find(s->p, st);
	if (*file >= 0 || (!s->full && st->st_nlink > 0)) {
		free(path);
		return 0;
	}
	if (leads_to(s, st, &path)) {
		err = mapped_add(s->p, path, st, false);
		if (err >= 0)
			err = identify(s, fd, &s->p->mapfiles[err]);
	} else {
		err = resolve_nameless(s, fd, st, path, copy);
	}
	if (err < 0)
		return err;
	*file = (int)s->p->nmapfiles - 1;
	return 0;
}

static char *
link_target(pid_t pid, const char *name)
{
	char path[64 + PATH_MAX], buf[PATH_MAX + 1];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	n = readlink(path, buf, sizeof(buf) - 1);
	if (n < 0)
		return NULL;
	buf[n] = '\0';
	return strdup(buf);
}

/* ---- without the right to follow /proc/PID/map_files ---- */

static bool
same_object(const struct vma *v, const struct object *o)
{
	return v->ino == o->ino && v->minor == o->minor &&
	       v->major == o->major &&
	       (v->kind == VMA_FILE || v->kind == VMA_SHARED_ANON);
}

static uint64_t
object_size(const struct process *p, const struct object *o)
{
	uint64_t size = 0, end;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		end = v->offset + (v->end - v->start);
		if (same_object(v, o) && end > size)
			size = end;
	}
	return size;
}

/* The bytes that one VMA shows; what is behind the end of a file is a hole. */
static int
copy_view(int mem, const struct vma *v, int to, char *buf,
    const struct copytime *time)
{
	uint64_t at, len = v->end - v->start;
	ssize_t n;

	for (at = 0; at < len; at += (uint64_t)n) {
		uint64_t want = len - at < COPY_CHUNK ? len - at : COPY_CHUNK;

		n = pread(mem, buf, want, (off_t)(v->start + at));
		if (n < 0 && (errno == EIO || errno == EFAULT))
			return 0;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ESRCH;
		if (pwrite(to, buf, (size_t)n, (off_t)(v->offset + at)) != n)
			return -EIO;
		if (copytime_check(time, 0, 0) != 0)
			return -ETIMEDOUT;
	}
	return 0;
}

/*
 * VM_ACCOUNT is of private memory that could be written to: its pages may be
 * the process's own.  (They are held besides.)  So those without it come last,
 * and prevail.
 */
static int
copy_views(struct search *s, const struct object *o, uint64_t size, int to,
    const struct copytime *time)
{
	char *buf = malloc(COPY_CHUNK);
	int mem, err = 0;

	if (buf == NULL || ftruncate(to, (off_t)size) < 0) {
		free(buf);
		return buf == NULL ? -ENOMEM : -errno;
	}
	mem = proc_open(s->cx, s->pid, "mem", O_RDONLY);
	if (mem < 0)
		err = mem;
	for (size_t k = 0; err == 0 && k < 2 * s->p->nvmas; k++) {
		const struct vma *v = &s->p->vmas[k % s->p->nvmas];
		bool may_differ = (v->flags & VMA_F_ACCOUNT) != 0;

		if (same_object(v, o) && may_differ == (k < s->p->nvmas))
			err = copy_view(mem, v, to, buf, time);
	}
	if (mem >= 0)
		close(mem);
	free(buf);
	return err;
}

/* Contents made of what is mapped of it: the id, or -errno. */
static int
collect_views(struct search *s, const struct object *o, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;
	struct copytime time;
	struct content *c;
	int to, id, err;

	to = contents_open(s->p, size);
	time = copytime_begin(s->p);
	err = to < 0 ? to : copy_views(s, o, size, to, &time);
	copytime_finish(&time, s->p);
	if (err < 0) {
		if (to >= 0)
			close(to);
		if (err == -ETIMEDOUT)
			return copytime_fail(
			    s->cx, s->p, "shared memory", size);
		return snap_fail(s->cx, err,
		    "copying what is mapped of %lu: %s", (unsigned long)o->ino,
		    strerror(-err));
	}
	id = process_add_content(s->p, to, size);
	if (id > 0) {
		c = &s->p->contents[s->p->ncontents - 1];
		c->dev = st->st_dev;
		c->ino = st->st_ino;
	}
	return id;
}

/* Read through the process's own mappings of it; o->file stays -1 if not. */
static int
resolve_by_mem(struct search *s, const struct vma *v, struct object *o)
{
	struct stat st = { .st_dev = makedev(v->major, v->minor),
		.st_ino = v->ino,
		.st_size = (off_t)object_size(s->p, o) };
	char *path;
	int id, i;

	id = (int)shared_find(s->p, &st);
	if (id == 0 && st.st_size > (off_t)COPY_BY_MEM_MAX)
		return 0;
	if (id == 0)
		id = collect_views(s, o, &st);
	if (id < 0)
		return id;
	path = strdup(v->path);
	i = path == NULL ? -ENOMEM : mapped_add(s->p, path, &st, true);
	if (i < 0)
		return i;
	s->p->mapfiles[i].content = (uint32_t)id;
	o->file = i;
	return 0;
}

/* Some file systems number their devices otherwise in stat(2). */
static bool
same_inode(const struct vma *v, const struct stat *st)
{
	return st->st_ino == v->ino &&
	       (st->st_dev == makedev(v->major, v->minor) ||
		   major(st->st_dev) == 0);
}

static int
resolve_named(struct search *s, int fd, const struct stat *st, char *path,
    struct object *o)
{
	int i = mapped_find(s->p, st), err = 0;

	if (i >= 0) {
		free(path);
	} else {
		i = mapped_add(s->p, path, st, false);
		if (i < 0)
			return i;
		err = identify(s, fd, &s->p->mapfiles[i]);
	}
	if (err < 0)
		return err;
	o->file = i;
	return 0;
}

/*
 * What has no name is read through its mappings: of shared memory while it is
 * frozen.  A name that leads to something else tells nothing of what kind of
 * file is mapped, unless it is a regular one, replaced.
 */
static int
resolve_by_path(
    struct search *s, const struct vma *v, struct object *o, char *path)
{
	bool nameless = v->kind == VMA_SHARED_ANON || ends_deleted(path);
	struct stat st;
	int fd, err = 0;

	if (!s->full && !(v->shared && nameless)) {
		free(path);
		return 0;
	}
	fd = nameless ? -1 : open_path(s, path, &st);
	if (fd >= 0 && S_ISREG(st.st_mode) && same_inode(v, &st)) {
		err = resolve_named(s, fd, &st, path, o);
		close(fd);
		return err;
	}
	if (fd >= 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 5))
		o->zero = true;
	else if (nameless || (fd >= 0 && S_ISREG(st.st_mode)))
		err = resolve_by_mem(s, v, o);
	o->other = o->file < 0;
	if (fd >= 0)
		close(fd);
	free(path);
	return err;
}

/* ---- walking the VMAs ---- */

static int
look_at(struct search *s, const struct vma *v, struct object *o)
{
	char name[64], link[96];
	struct stat st;
	char *path;
	int fd, err = 0;

	snprintf(name, sizeof(name), "map_files/%lx-%lx",
	    (unsigned long)v->start, (unsigned long)v->end);
	path = link_target(s->pid, name);
	if (path == NULL)
		return snap_fail(s->cx, -errno, "/proc/%d/%s: %s", (int)s->pid,
		    name, strerror(errno));
	snprintf(link, sizeof(link), "/proc/%d/%s", (int)s->pid, name);
	fd = open(link, O_PATH | O_CLOEXEC);
	if (fd < 0 && (errno == EPERM || errno == EACCES))
		return resolve_by_path(s, v, o, path);
	if (fd < 0 || stat_fd(s, fd, &st) < 0) {
		err = snap_fail(s->cx, -errno, "%s: %s", link, strerror(errno));
		free(path);
	} else if (S_ISREG(st.st_mode)) {
		err =
		    resolve(s, fd, &st, path, s->frozen || v->shared, &o->file);
	} else {
		o->other = true;
		o->zero = S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 5);
		free(path);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

static bool
wanted(const struct search *s, const struct vma *v)
{
	if (v->file >= 0 || (v->kind != VMA_FILE && v->kind != VMA_SHARED_ANON))
		return false;
	return s->full || v->shared ||
	       strncmp(v->path, "/memfd:", strlen("/memfd:")) == 0;
}

static void
settle(const struct search *s, struct vma *v, const struct object *o)
{
	v->file = o->file;
	if (o->zero && !v->shared)
		v->kind = VMA_ANON;
	else if (o->other)
		v->kind = VMA_OTHER;
	else if (v->kind == VMA_SHARED_ANON && v->file < 0 && s->full)
		v->kind = VMA_OTHER; /* it could not be copied */
	else if (v->kind == VMA_FILE && v->shared && v->file >= 0 &&
		 s->p->mapfiles[v->file].content != 0)
		v->kind = VMA_SHARED_ANON;
}

static int
walk(struct search *s, const bool *missing)
{
	struct object *o;
	bool known;
	int err = 0;

	for (s->size = 16; s->size < 2 * s->p->nvmas;)
		s->size *= 2;
	s->table = calloc(s->size, sizeof(*s->table));
	if (s->table == NULL)
		return -ENOMEM;
	for (size_t i = 0; err == 0 && i < s->p->nvmas; i++) {
		struct vma *v = &s->p->vmas[i];

		s->full = !s->frozen || (missing != NULL && missing[i]);
		if (!wanted(s, v))
			continue;
		o = object_of(s, v, &known);
		if (!known || (s->full && !o->full))
			err = look_at(s, v, o);
		o->full |= s->full;
		if (err == 0)
			settle(s, v, o);
	}
	free(s->table);
	return err;
}

int
mapped_collect_frozen(
    struct snap_ctx *cx, pid_t pid, const bool *missing, struct process *p)
{
	struct search s = { .cx = cx, .pid = pid, .p = p, .frozen = true };
	int err = walk(&s, missing);

	return err < 0 ? err : sysv_collect(cx, pid, p);
}

static int
collect_exe(struct search *s)
{
	struct stat st;
	char *path;
	int fd, err;

	fd = proc_open(s->cx, s->pid, "exe", O_PATH);
	if (fd < 0)
		return fd;
	path = link_target(s->pid, "exe");
	if (path == NULL || stat_fd(s, fd, &st) < 0) {
		err = snap_fail(s->cx, -errno, "/proc/%d/exe: %s", (int)s->pid,
		    strerror(errno));
		free(path);
	} else {
		err = resolve(s, fd, &st, path, false, &s->p->exe_file);
	}
	close(fd);
	return err;
}

int
mapped_collect_late(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	struct search s = { .cx = cx, .pid = pid, .p = p, .full = true };
	int err;

	err = walk(&s, NULL);
	return err < 0 ? err : collect_exe(&s);
}
