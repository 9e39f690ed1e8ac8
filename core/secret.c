#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "contents.h"
#include "ctx.h"
#include "freeze.h"
#include "mapped.h"
#include "secret_twin.h"
#include "shared.h"
#include "uapi.h"

#define PAGE 4096ull
#define WINDOW_PAGES 64 /* how much of it is mapped at a time */

/* A name without '/', which no other mapped file has. */
#define MAPFILE_PATH "secretmem"

bool
secret_is(const char *target, dev_t dev)
{
	struct stat st;
	bool same;
	int fd;

	if (strcmp(target, SECRET_NAME) != 0)
		return false;
	fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd < 0)
		return false;
	same = fstat(fd, &st) == 0 && st.st_dev == dev;
	close(fd);
	return same;
}

static bool
is_vma(const struct vma *v)
{
	return v->shared && v->kind == VMA_FILE && v->file < 0 &&
	       secret_is(v->path, makedev(v->major, v->minor));
}

bool
secret_any(const struct process *p)
{
	bool any = false;

	for (size_t i = 0; !any && i < p->nvmas; i++)
		any = is_vma(&p->vmas[i]);
	return any;
}

/* ---- objects ---- */

struct search {
	struct snap_ctx *cx;
	const struct frozen *z;
	struct twin *t; /* NULL: there is none */
	struct process *p;
};

/* In memory, however much it is: secrets are written to no disk. */
static int
room_for(const struct stat *st)
{
	int fd = memfd_create("snapfs-secret", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, st->st_size) != 0) {
		close(fd);
		fd = -1;
	}
	return fd < 0 ? -errno : fd;
}

/* Takes over `copy`, `err` is what came of making it.  The id. */
static int
add_content(struct process *p, int copy, const struct stat *st, int err)
{
	int id;

	if (err != 0) {
		if (copy >= 0)
			close(copy);
		return err;
	}
	id = process_add_content(p, copy, (uint64_t)st->st_size);
	if (id > 0) {
		p->contents[p->ncontents - 1].dev = st->st_dev;
		p->contents[p->ncontents - 1].ino = st->st_ino;
	}
	return id;
}

static int
too_slow(struct snap_ctx *cx, const struct process *p, const struct stat *st)
{
	return copytime_fail(
	    cx, p, "secret memory (memfd_secret)", (uint64_t)st->st_size);
}

/* The id of its contents; 0: they cannot be had; or -errno, with a sentence. */
static int
content_of(const struct search *s, const struct vma *v, const struct stat *st)
{
	int id = (int)shared_find(s->p, st), to, err;
	struct copytime time;

	if (id != 0 || s->t == NULL)
		return id;
	to = room_for(st);
	time = copytime_begin(s->p);
	err = to < 0 ? to
		     : secret_twin_copy(s->t, v, to, (uint64_t)st->st_size,
			   copytime_end(&time));
	copytime_finish(&time, s->p);
	id = add_content(s->p, to, st, err);
	if (id >= 0 || id == -ENOMEM)
		return id;
	if (id == -ETIMEDOUT)
		return too_slow(s->cx, s->p, st);
	if (id == -ESRCH)
		return snap_fail(s->cx, -EIO, "process %d: its twin is gone",
		    (int)s->p->pid);
	snap_logf(s->cx, SNAP_NOTICE,
	    "process %d: its secret memory cannot be copied: %s",
	    (int)s->p->pid, strerror(-id));
	return 0;
}

/* ---- by a descriptor of our own ---- */

/* A part of it that is mapped here; pages that are not there stay so. */
static int
copy_mapped(const char *from, size_t pages, int to, uint64_t off, uint64_t size)
{
	unsigned char there[WINDOW_PAGES];
	int err = 0;

	if (mincore((void *)(uintptr_t)from, pages * PAGE, there) != 0)
		return -errno;
	for (size_t i = 0; err == 0 && i < pages; i++) {
		uint64_t at = off + i * PAGE;

		if (at >= size)
			break;
		if ((there[i] & 1) != 0)
			err = contents_write(to, from + i * PAGE,
			    size - at < PAGE ? size - at : PAGE, at);
	}
	return err;
}

static int
copy_open(int fd, int to, uint64_t size, uint64_t deadline)
{
	size_t pages = WINDOW_PAGES;
	uint64_t off;
	int err = 0;

	for (off = 0; err == 0 && off < size; off += pages * PAGE) {
		char *from;

		do
			from = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED,
			    fd, (off_t)off);
		while (
		    from == MAP_FAILED && errno == EAGAIN && (pages /= 2) > 0);
		if (from == MAP_FAILED)
			return -errno;
		err = copy_mapped(from, pages, to, off, size);
		munmap(from, pages * PAGE);
		if (err == 0 && now_ns() > deadline)
			err = -ETIMEDOUT;
	}
	return err;
}

int
secret_collect_fd(
    struct snap_ctx *cx, struct process *p, int fd, const struct stat *st)
{
	int id = (int)shared_find(p, st), to, err;
	struct copytime time;

	if (id != 0)
		return id;
	to = room_for(st);
	time = copytime_begin(p);
	err = to < 0 ? to
		     : copy_open(
			   fd, to, (uint64_t)st->st_size, copytime_end(&time));
	copytime_finish(&time, p);
	id = add_content(p, to, st, err);
	if (id == -ETIMEDOUT)
		return too_slow(cx, p, st);
	if (id >= 0 || id == -ENOMEM)
		return id;
	return snap_fail(cx, -ENOTSUP,
	    "secret memory (memfd_secret) that cannot be copied: %s",
	    strerror(-id));
}

/* ---- mapped ---- */

/* The end of what is mapped of it, where its size of it cannot be asked for. */
static off_t
mapped_end(const struct process *p, const struct vma *of)
{
	uint64_t end = 0;

	for (size_t i = 0; i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];
		uint64_t to = v->offset + (v->end - v->start);

		if (v->ino == of->ino && v->minor == of->minor &&
		    v->major == of->major && to > end)
			end = to;
	}
	return (off_t)end;
}

static void
stat_vma(const struct process *p, const struct vma *v, struct stat *st)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)p->pid,
	    (unsigned long)v->start, (unsigned long)v->end);
	if (stat(path, st) == 0)
		return;
	*st = (struct stat){ .st_dev = makedev(v->major, v->minor),
		.st_ino = v->ino,
		.st_size = mapped_end(p, v) };
}

static int
add_mapfile(struct process *p, const struct stat *st, int content)
{
	char *path = strdup(MAPFILE_PATH);
	int i = path == NULL ? -ENOMEM : mapped_add(p, path, st, false);

	if (i >= 0)
		p->mapfiles[i].content = (uint32_t)content;
	return i;
}

/* The kernel locks it by itself, and mlock(2) of it fails. */
static int
collect_vma(const struct search *s, struct vma *v)
{
	struct stat st;
	int id, file;

	stat_vma(s->p, v, &st);
	v->flags &= ~(uint64_t)(VMA_F_LOCKED | VMA_F_LOCKONFAULT);
	id = content_of(s, v, &st);
	if (id <= 0) {
		v->kind = VMA_OTHER;
		return id;
	}
	file = mapped_find(s->p, &st);
	if (file < 0)
		file = add_mapfile(s->p, &st, id);
	if (file < 0)
		return file;
	v->kind = VMA_SHARED_ANON;
	v->file = file;
	return 0;
}

int
secret_collect(struct snap_ctx *cx, const struct frozen *z, struct twin *t,
    struct process *p)
{
	const struct search s = { .cx = cx, .z = z, .t = t, .p = p };
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nvmas; i++)
		if (is_vma(&p->vmas[i]))
			err = collect_vma(&s, &p->vmas[i]);
	if (err != 0)
		return snap_fail(cx, err, "process %d: its secret memory: %s",
		    (int)p->pid, strerror(-err));
	return 0;
}

/* ---- an image's ---- */

bool
secret_is_mapfile(const struct mapfile *f)
{
	return f->content != 0 && strcmp(f->path, MAPFILE_PATH) == 0;
}
