/*
 * fds_check.c - is what an image says of descriptors well-formed?  Pure: it
 * opens nothing and believes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "fdkv.h"
#include "fdlock.h"
#include "resource.h"

#define FD_MAX (1 << 20) /* what sysctl fs.nr_open is by default */

/* What F_GETFL can show; O_CLOEXEC is of the descriptor. */
#define KNOWN_FLAGS \
	((uint32_t)(O_ACCMODE | O_EXCL | O_APPEND | O_NONBLOCK | O_SYNC | \
		    O_ASYNC | O_DIRECT | O_DIRECTORY | O_NOFOLLOW | \
		    O_NOATIME | O_PATH | O_TMPFILE | \
		    0100000 /* O_LARGEFILE */))

static int
check_numbers(struct snap_ctx *cx, const struct process *p)
{
	for (size_t i = 0; i < p->nfds; i++) {
		const struct fdent *e = &p->fds[i];

		if (e->fd < 0 || e->fd >= FD_MAX)
			return snap_fail(cx, -EBADMSG,
			    "fd/%d: no descriptor has this number", e->fd);
		if (i > 0 && e->fd <= p->fds[i - 1].fd)
			return snap_fail(
			    cx, -EBADMSG, "fd/%d: it is there twice", e->fd);
		if (e->file >= p->nfiles)
			return snap_fail(cx, -EBADMSG,
			    "fdinfo/%d: of an open file that is not there",
			    e->fd);
	}
	return 0;
}

/* Each open file is known by the lowest descriptor that refers to it. */
static int
check_ids(struct snap_ctx *cx, const struct process *p)
{
	bool *seen = calloc(p->nfiles + 1, sizeof(*seen));
	int err = 0;

	if (seen == NULL)
		return snap_fail(cx, -ENOMEM, "fds: out of memory");
	for (size_t i = 0; err == 0 && i < p->nfds; i++) {
		const struct fdent *e = &p->fds[i];

		if (!seen[e->file] && p->files[e->file].id != (uint32_t)e->fd)
			err = snap_fail(cx, -EBADMSG,
			    "fdinfo/%d: shares an open file with %u, which "
			    "is no lower descriptor",
			    e->fd, p->files[e->file].id);
		seen[e->file] = true;
	}
	for (size_t i = 0; err == 0 && i < p->nfiles; i++)
		if (!seen[i])
			err = snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: no descriptor refers to it",
			    p->files[i].id);
	free(seen);
	return err;
}

/* Keys that any kind may have. */
static int
check_common(struct snap_ctx *cx, const struct openfile *f)
{
	const char *object = openfile_get(f, "object");
	const char *ignored = openfile_get(f, "ignored");
	const char *same = openfile_get(f, "same");
	uint64_t a, b, ino;

	if ((f->flags & ~KNOWN_FLAGS) != 0 ||
	    (f->flags & O_ACCMODE) == O_ACCMODE)
		return snap_fail(cx, -EBADMSG, "fdinfo/%u: bad `flags: 0%o'",
		    f->id, f->flags);
	/* That is for whoever restores to say. */
	if (ignored != NULL)
		return kv_bad(cx, f, "ignored");
	if (f->target == NULL || f->target[0] == '\0')
		return snap_fail(
		    cx, -EBADMSG, "fd/%u: a link to nothing", f->id);
	if (same != NULL && (!kv_scan_u64(&same, 10, INT32_MAX, &a) ||
				!kv_scan_text(&same, "/") ||
				!kv_number(same, 10, INT32_MAX, &b)))
		return kv_bad(cx, f, "same");
	if (object != NULL && (!kv_scan_u64(&object, 16, UINT32_MAX, &a) ||
				  !kv_scan_text(&object, ":") ||
				  !kv_scan_u64(&object, 16, UINT32_MAX, &b) ||
				  !kv_scan_text(&object, ":") ||
				  !kv_number(object, 10, UINT64_MAX, &ino)))
		return kv_bad(cx, f, "object");
	return fdlock_check(cx, f);
}

static int
check_file(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const struct resource *kind = resource_find(f->kind);
	int err;

	if (kind == NULL)
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: kind `%.23s' is not known", f->id, f->kind);
	err = check_common(cx, f);
	if (err != 0)
		return err;
	if (resource_edited(f))
		return f->target[0] == '/' ? 0
					   : snap_fail(cx, -EBADMSG,
						 "fd/%u: what is put in a "
						 "descriptor's place must "
						 "be an absolute path",
						 f->id);
	return kind->check == NULL ? 0 : kind->check(cx, p, f);
}

int
fds_check(struct snap_ctx *cx, const struct process *p)
{
	int err;

	err = check_numbers(cx, p);
	if (err == 0)
		err = check_ids(cx, p);
	for (size_t i = 0; err == 0 && i < p->nfiles; i++)
		err = check_file(cx, p, &p->files[i]);
	return err;
}
