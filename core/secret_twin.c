#include "secret_twin.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "contents.h"
#include "freeze.h"
#include "twin.h"

#define PAGE 4096ull
#define WINDOW_PAGES 64 /* how much of it is mapped at a time */

/* What the twin is given to work with: the first page of `room`. */
struct desk {
	struct iovec from[WINDOW_PAGES], to;
	unsigned char there[WINDOW_PAGES]; /* of mincore(2) */
};
_Static_assert(sizeof(struct desk) <= PAGE, "struct desk");

struct copier {
	struct twin *t;
	int64_t self;	 /* the number by which the twin knows itself */
	uint64_t room;	 /* its own memory: a desk, and what it copies to */
	uint64_t window; /* where it sees a part of what is secret, or 0 */
	uint64_t window_size; /* shrinks if it may not lock so much */
	struct desk desk;
	char *buf;
};

static int64_t
call(struct copier *c, long nr, uint64_t a0, uint64_t a1, uint64_t a2,
    uint64_t a3, uint64_t a4, uint64_t a5)
{
	return twin_call(
	    c->t, nr, (const uint64_t[6]){ a0, a1, a2, a3, a4, a5 });
}

static int
copier_open(struct copier *c)
{
	int64_t at;

	c->buf = malloc(WINDOW_PAGES * PAGE);
	if (c->buf == NULL)
		return -ENOMEM;
	c->self = call(c, SYS_getpid, 0, 0, 0, 0, 0, 0);
	at = c->self < 0 ? c->self
			 : call(c, SYS_mmap, 0, (WINDOW_PAGES + 1) * PAGE,
			       PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0);
	if (at < 0)
		return (int)at;
	c->room = (uint64_t)at;
	return 0;
}

/* Its memory is then as the original's again. */
static int
close_window(struct copier *c)
{
	uint64_t at = c->window;

	c->window = 0;
	return at == 0 ? 0
		       : (int)call(c, SYS_munmap, at, WINDOW_PAGES * PAGE, 0, 0,
			     0, 0);
}

static int
copier_close(struct copier *c)
{
	int err = close_window(c), err1 = 0;

	if (c->room != 0)
		err1 = (int)call(c, SYS_munmap, c->room,
		    (WINDOW_PAGES + 1) * PAGE, 0, 0, 0, 0);
	if (c->buf != NULL)
		explicit_bzero(c->buf, WINDOW_PAGES * PAGE);
	free(c->buf);
	return err == 0 ? err1 : err;
}

/*
 * What is mapped already is mapped once more (from length 0), and then shows
 * whatever part is wanted.
 */
static int
open_window(struct copier *c, const struct vma *v)
{
	const uint64_t len = WINDOW_PAGES * PAGE;
	int64_t at =
	    call(c, SYS_mremap, v->start, 0, len, MREMAP_MAYMOVE, 0, 0);

	if (at < 0)
		return (int)at;
	c->window = (uint64_t)at;
	c->window_size = len;
	return (int)call(c, SYS_mprotect, c->window, len, PROT_READ, 0, 0, 0);
}

/* It is locked memory, of which there may be a limit. */
static int
show(struct copier *c, uint64_t off)
{
	int err;

	do
		err = (int)call(c, SYS_remap_file_pages, c->window,
		    c->window_size, 0, off / PAGE, 0, 0);
	while (err == -EAGAIN && (c->window_size /= 2) >= PAGE);
	return err;
}

static struct iovec
iov(uint64_t at, uint64_t len)
{
	return (struct iovec){ (void *)(uintptr_t)at, (size_t)len };
}

static int
transfer(struct copier *c, void *here, uint64_t there, size_t len, bool out)
{
	struct iovec mine = { here, len }, its = iov(there, len);
	pid_t pid = twin_pid(c->t);
	ssize_t n = out ? process_vm_writev(pid, &mine, 1, &its, 1, 0)
			: process_vm_readv(pid, &mine, 1, &its, 1, 0);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

/*
 * Only pages that are there: to look at another would make it, and take memory
 * that the original never did.  How many bytes they are, or -errno.
 */
static int64_t
find_pages(struct copier *c, size_t *n)
{
	const size_t pages = c->window_size / PAGE;
	struct desk *d = &c->desk;
	uint64_t bytes = 0;
	int err;

	*n = 0;
	err = (int)call(c, SYS_mincore, c->window, c->window_size,
	    c->room + offsetof(struct desk, there), 0, 0, 0);
	if (err == 0)
		err = transfer(c, d->there,
		    c->room + offsetof(struct desk, there), pages, false);
	for (size_t i = 0; err == 0 && i < pages; i++) {
		if ((d->there[i] & 1) == 0)
			continue;
		d->from[(*n)++] = iov(c->window + i * PAGE, PAGE);
		bytes += PAGE;
	}
	d->to = iov(c->room + PAGE, bytes);
	return err == 0 ? (int64_t)bytes : err;
}

/* The twin reads as itself, and writes to itself. */
static int
fetch(struct copier *c, size_t n, uint64_t bytes)
{
	const uint64_t from = c->room + offsetof(struct desk, from);
	const uint64_t to = c->room + offsetof(struct desk, to);
	int64_t got;
	int err;

	err =
	    transfer(c, &c->desk, c->room, offsetof(struct desk, there), true);
	if (err != 0)
		return err;
	got = call(
	    c, SYS_process_vm_writev, (uint64_t)c->self, from, n, to, 1, 0);
	if (got != (int64_t)bytes)
		return got < 0 ? (int)got : -EIO;
	return transfer(c, c->buf, c->room + PAGE, bytes, false);
}

/* What the window shows, which is of `off`, to the file `to`. */
static int
copy_window(struct copier *c, int to, uint64_t off, uint64_t size)
{
	int64_t bytes;
	int err = 0;
	size_t n;

	bytes = find_pages(c, &n);
	if (bytes <= 0)
		return (int)bytes;
	err = fetch(c, n, (uint64_t)bytes);
	for (size_t i = 0; err == 0 && i < n; i++) {
		uint64_t at = off +
			      (uint64_t)(uintptr_t)c->desk.from[i].iov_base -
			      c->window;

		if (at >= size)
			break;
		err = contents_write(to, c->buf + i * PAGE,
		    size - at < PAGE ? size - at : PAGE, at);
	}
	return err;
}

static int
copy(struct copier *c, const struct vma *v, int to, uint64_t size,
    uint64_t deadline)
{
	int err = open_window(c, v), err1;

	for (uint64_t off = 0; err == 0 && off < size; off += c->window_size) {
		err = now_ns() > deadline ? -ETIMEDOUT : show(c, off);
		if (err == 0)
			err = copy_window(c, to, off, size);
	}
	err1 = close_window(c);
	return err == 0 ? err1 : err;
}

int
secret_twin_copy(struct twin *t, const struct vma *v, int to, uint64_t size,
    uint64_t deadline)
{
	struct copier c = { .t = t };
	int err = copier_open(&c), err1;

	if (err == 0)
		err = copy(&c, v, to, size, deadline);
	err1 = copier_close(&c);
	return err == 0 ? err1 : err;
}
