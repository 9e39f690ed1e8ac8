/*
 * res_secret.c - memfd_secret(2), as a descriptor: secret.h has what is in it.
 *
 * There is no second open file of one: it cannot be opened again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"
#include "secret.h"

static bool
secret_match(const struct fd_probe *q)
{
	return S_ISREG(q->st.st_mode) && secret_is(q->target, q->st.st_dev);
}

static int
secret_kind_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	int fd = resource_getfd(cx, q), id;

	if (fd < 0)
		return fd;
	id = secret_collect_fd(cx, p, fd, &q->st);
	close(fd);
	if (id < 0)
		return id;
	if (resource_put_object(f, q) != 0 ||
	    openfile_put(f, "mode", "0%o", q->st.st_mode & 07777) != 0)
		return -ENOMEM;
	return openfile_put(f, "content", "%d", id);
}

static int
secret_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	int err = kv_need_u64(cx, f, "mode", 8, 07777);

	if (err == 0)
		err = kv_need(cx, f, "content");
	return err != 0 ? err : kv_opt_content(cx, p, f);
}

static int
secret_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	const struct content *c =
	    process_content(r->p, (uint32_t)kv_u64(f, "content", 10));
	const uint32_t i = resource_index(r, f);
	char what[16];
	int fd;

	snprintf(what, sizeof(what), "fd %u", f->id);
	if (c == NULL || r->first[i] != i)
		return snap_fail(cx, -EBADMSG,
		    "%s: no such contents of secret memory", what);
	fd = secret_make(cx, what, c->fd, c->size);
	return fd < 0 ? fd : resource_set_flags(cx, f, fd);
}

static int
secret_finish(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	(void)r;
	if (fchmod(fd, (mode_t)kv_u64(f, "mode", 8)) != 0)
		return snap_fail(
		    cx, -errno, "fd %u: its mode: %s", f->id, strerror(errno));
	return 0;
}

const struct resource res_secret = {
	.name = "secret",
	.match = secret_match,
	.collect = secret_kind_collect,
	.check = secret_check,
	.restore = secret_restore,
	.finish = secret_finish,
};
