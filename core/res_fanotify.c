/*
 * res_fanotify.c - fanotify(7): groups, with their marks of inodes, mounts and
 * file systems.
 *
 * Paths are found as marked.h says.  As of inotify, events that were not read
 * cannot be put into a new queue.  Groups that decide whether others may open
 * what they watch are not restored: whoever waits for an answer of one is let
 * go when it ends, and nobody tells which answers it still owes.
 *
 * Nobody tells whether a group was made with privileges.  Where nothing shows
 * that it was, it is as the process is now: one without is told less of who did
 * something.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "marked.h"
#include "proc.h"
#include "res.h"

#define INIT_KNOWN 0x3fffu /* up to FAN_REPORT_FD_ERROR of Linux 6.13 */
#define MARK_KNOWN \
	(FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE | FAN_MARK_IGNORE)
#define PRE_ACCESS 0x00100000u /* FAN_PRE_ACCESS of Linux 6.14 */
#define PERMISSIONS \
	(FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM | PRE_ACCESS)
#define ON_WHICH (FAN_ONDIR | FAN_EVENT_ON_CHILD)
/* Of these, and in the way of old of telling of a file, only with privileges. */
#define NEED_ADMIN \
	(FAN_ALL_CLASS_BITS | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | \
	    FAN_ENABLE_AUDIT)
#define BY_NUMBER (FAN_REPORT_FID | FAN_REPORT_DIR_FID)

static const struct {
	const char *name;
	unsigned flag;
} types[] = {
	{ "inode", FAN_MARK_INODE },
	{ "mount", FAN_MARK_MOUNT },
	{ "filesystem", FAN_MARK_FILESYSTEM },
};
#define NTYPES (sizeof(types) / sizeof(types[0]))

struct mark {
	unsigned type; /* of `types` */
	uint32_t flags, mask, ignored;
	const char *path;
};

static bool
fanotify_match(const struct fd_probe *q)
{
	return strcmp(q->target, "anon_inode:[fanotify]") == 0;
}

/* ---- a checkpoint ---- */

/*
 * fanotify ino:a74132 sdev:fe00000 mflags:0 mask:8 ignored_mask:0 fhandle-...
 * fanotify mnt_id:1e mflags:0 mask:20 ignored_mask:0
 * fanotify sdev:1b mflags:0 mask:8000200 ignored_mask:0
 */
static bool
parse_mark(const char *line, struct mark *m, unsigned *id, struct marked *at)
{
	const char *s = strstr(line, "mflags:");
	unsigned dev;

	if (s == NULL || sscanf(s, "mflags:%x mask:%x ignored_mask:%x",
			     &m->flags, &m->mask, &m->ignored) != 3)
		return false;
	*id = 0;
	if (sscanf(line, "fanotify mnt_id:%x", id) == 1) {
		m->type = 1;
		return *id != 0;
	}
	if (sscanf(line, "fanotify sdev:%x", &dev) == 1) {
		m->type = 2;
		at->dev = makedev(dev >> 20, dev & 0xfffff);
		return true;
	}
	m->type = 0;
	return marked_parse(line, at);
}

static int
put_mark(struct snap_ctx *cx, const struct fd_probe *q, const char *line,
    const char *mountinfo, struct openfile *f)
{
	char path[PATH_MAX];
	struct marked at;
	struct mark m;
	unsigned id;
	bool found;

	if (!parse_mark(line, &m, &id, &at) || (m.flags & ~MARK_KNOWN) != 0)
		return snap_fail(cx, -ENOTSUP,
		    "a fanotify group with a mark of an unknown kind");
	if (((m.mask | m.ignored) & PERMISSIONS) != 0)
		return snap_fail(cx, -ENOTSUP,
		    "a fanotify group that decides on what others do, who may "
		    "wait for it");
	if (m.type == 0)
		found = marked_path(q, &at, mountinfo, path);
	else
		found = marked_mount(q, id, at.dev, mountinfo, path);
	if (!found)
		return snap_fail(cx, -ENOTSUP,
		    "a fanotify group whose mark of %s %s has no path that can "
		    "be found",
		    m.type == 0 ? "an" : "a", types[m.type].name);
	return openfile_put(f, "mark", "%s flags %x mask %x ignored %x %s",
	    types[m.type].name, m.flags, m.mask, m.ignored, path);
}

static int
put_marks(struct snap_ctx *cx, const struct fd_probe *q, const char *s,
    struct openfile *f)
{
	char *mountinfo = NULL;
	int err;

	err = proc_read(cx, q->pid, "mountinfo", &mountinfo, NULL);
	if (err != 0)
		return err;
	while (err == 0 && (s = strstr(s, "\nfanotify ")) != NULL) {
		err = resource_in_time(cx, q);
		if (err == 0)
			err = put_mark(cx, q, ++s, mountinfo, f);
	}
	free(mountinfo);
	return err;
}

static bool
is_unprivileged(const struct process *p, unsigned flags, const char *marks)
{
	return (flags & NEED_ADMIN) == 0 && (flags & BY_NUMBER) != 0 &&
	       strstr(marks, "\nfanotify mnt_id:") == NULL &&
	       strstr(marks, "\nfanotify sdev:") == NULL &&
	       (p->threads[0].creds.cap_eff & 1ull << CAP_SYS_ADMIN) == 0;
}

static int
fanotify_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	const char *s = strstr(q->fdinfo, "\nfanotify flags:");
	unsigned flags, event;
	int err;

	if (s == NULL ||
	    sscanf(s, "\nfanotify flags:%x event-flags:%x", &flags, &event) !=
		2 ||
	    (flags & ~INIT_KNOWN) != 0)
		return snap_fail(
		    cx, -ENOTSUP, "a fanotify group of an unknown kind");
	err = marked_unread(cx, q, "a fanotify group");
	if (err != 0)
		return err;
	if (openfile_put(f, "init", "%x", flags) != 0 ||
	    openfile_put(f, "event-flags", "%x", event) != 0 ||
	    (is_unprivileged(p, flags, s + 1) &&
		openfile_put(f, "unprivileged", "1") != 0))
		return -ENOMEM;
	return put_marks(cx, q, s + 1, f);
}

/* ---- a restore ---- */

static bool
scan_hex(const char **s, const char *name, uint32_t *v)
{
	uint64_t n;

	if (!kv_scan_text(s, name) || !kv_scan_u64(s, 16, UINT32_MAX, &n))
		return false;
	*v = (uint32_t)n;
	return true;
}

static bool
parse(const char *s, struct mark *m)
{
	for (m->type = 0; m->type < NTYPES; m->type++)
		if (kv_scan_text(&s, types[m->type].name))
			break;
	if (m->type == NTYPES || !scan_hex(&s, " flags ", &m->flags) ||
	    !scan_hex(&s, " mask ", &m->mask) ||
	    !scan_hex(&s, " ignored ", &m->ignored) || !kv_scan_text(&s, " "))
		return false;
	m->path = s;
	return *s == '/' && (m->flags & ~MARK_KNOWN) == 0 &&
	       ((m->mask | m->ignored) & PERMISSIONS) == 0;
}

static int
fanotify_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	struct mark m;
	int err;

	(void)p;
	err = kv_need_u64(cx, f, "init", 16, INIT_KNOWN);
	if (err == 0)
		err = kv_need_u64(cx, f, "event-flags", 16, UINT32_MAX);
	if (err == 0)
		err = kv_opt_u64(cx, f, "unprivileged", 10, 1);
	for (size_t i = 0; err == 0 && i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "mark") == 0 &&
		    !parse(f->kv[i].value, &m))
			err = snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: bad `mark: %.80s'", f->id,
			    f->kv[i].value);
	return err;
}

/* CAP_SYS_ADMIN is in effect or not; of this thread only. */
static void
set_admin(uint32_t effective)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &head, d) != 0)
		return;
	d[0].effective &= ~(1u << CAP_SYS_ADMIN);
	d[0].effective |= d[0].permitted & effective;
	(void)syscall(SYS_capset, &head, d);
}

static int
make(const struct openfile *f)
{
	const unsigned flags = (unsigned)kv_u64(f, "init", 16);
	const unsigned event = (unsigned)kv_u64(f, "event-flags", 16);
	int fd;

	if (kv_u64(f, "unprivileged", 10) == 0)
		return fanotify_init(flags, event);
	set_admin(0);
	fd = fanotify_init(flags, event);
	set_admin(1u << CAP_SYS_ADMIN);
	return fd;
}

static int
fanotify_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	int fd = make(f);

	(void)r;
	if (fd < 0)
		return snap_fail(cx, -errno, "fd %u: fanotify: %s%s", f->id,
		    strerror(errno),
		    errno == EPERM ? ": whoever made it had CAP_SYS_ADMIN"
				   : "");
	return resource_set_flags(cx, f, fd);
}

/* A mark of what is in place of a mount would see more. */
static bool
is_mount(const char *path)
{
	struct statx x = { 0 };

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x) ==
		   0 &&
	       (x.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

static int
add(int fd, const struct mark *m, uint32_t flags, uint32_t mask)
{
	if (mask == 0)
		return 0;
	return fanotify_mark(fd,
		   FAN_MARK_ADD | FAN_MARK_DONT_FOLLOW | types[m->type].flag |
		       (m->flags & FAN_MARK_EVICTABLE) | flags,
		   mask, AT_FDCWD, m->path) == 0
		   ? 0
		   : -errno;
}

/* The old way to ignore says nothing of directories and what is in them. */
static int
add_both(int fd, const struct mark *m)
{
	uint32_t how = m->flags & FAN_MARK_IGNORED_SURV_MODIFY;
	int err;

	if (m->type != 0 && !is_mount(m->path))
		return -ESTALE;
	err = add(fd, m, 0, m->mask);
	if (err != 0)
		return err;
	if ((m->flags & FAN_MARK_IGNORE) != 0)
		return add(fd, m, how | FAN_MARK_IGNORE, m->ignored);
	return add(fd, m, how | FAN_MARK_IGNORED_MASK, m->ignored & ~ON_WHICH);
}

/* The last thing, so that it does not see how other files are opened. */
static int
fanotify_finish(struct snap_ctx *cx, const struct fd_restore *r,
    const struct openfile *f, int fd)
{
	struct mark m;
	int err = 0;

	(void)r;
	for (size_t i = 0; err == 0 && i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "mark") == 0 &&
		    parse(f->kv[i].value, &m))
			err = add_both(fd, &m);
	if (err == 0)
		return 0;
	return snap_fail(cx, err, "fd %u: fanotify: a mark of %s: %s", f->id,
	    m.path,
	    err == -ESTALE ? "nothing is mounted there" : strerror(-err));
}

const struct resource res_fanotify = {
	.name = "fanotify",
	.match = fanotify_match,
	.collect = fanotify_collect,
	.check = fanotify_check,
	.restore = fanotify_restore,
	.finish = fanotify_finish,
};
