#include "fdlock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "resource.h"

/* ---- locks ---- */

enum lock_class { LOCK_FLOCK, LOCK_POSIX, LOCK_OFD, LOCK_LEASE };

static const struct {
	const char *proc; /* in /proc/PID/fdinfo/N */
	const char *name; /* in an image */
	enum lock_class class;
} classes[] = {
	{ "FLOCK", "flock", LOCK_FLOCK },
	{ "POSIX", "posix", LOCK_POSIX },
	{ "OFDLCK", "ofd", LOCK_OFD },
	{ "LEASE", "lease", LOCK_LEASE },
};
#define NCLASSES (sizeof(classes) / sizeof(classes[0]))

/*
 * lock:\t1: POSIX  ADVISORY  WRITE 7182 fe:00:10952919 5 EOF
 * lock:\t1: LEASE  ACTIVE    READ 7182 fe:00:10952919 0 EOF
 */
static int
lock_line(struct snap_ctx *cx, const char *line, struct openfile *f)
{
	char class[16], state[16], type[16], start[24], end[24];
	size_t i;

	if (sscanf(line, "lock: %*u: %15s %15s %15s %*d %*s %23s %23s", class,
		state, type, start, end) != 5)
		return snap_fail(cx, -ENOTSUP,
		    "it has a lock that this program does not understand");
	for (i = 0; i < NCLASSES; i++)
		if (strcmp(class, classes[i].proc) == 0)
			break;
	if (strcmp(state, "BREAKING") == 0)
		return snap_fail(cx, -ENOTSUP,
		    "a lease that somebody waits for it to give up, which the "
		    "kernel cannot be told");
	if (i == NCLASSES)
		return snap_fail(cx, -ENOTSUP,
		    "it has a lock of kind %s %s, which is not restored", class,
		    state);
	return openfile_put(f, "lock", "%s %s %s %s", classes[i].name,
	    strcmp(type, "READ") == 0 ? "read" : "write", start, end);
}

int
fdlock_collect(
    struct snap_ctx *cx, const struct fd_probe *q, struct openfile *f)
{
	const char *s = q->fdinfo;
	int err = 0;

	while (err == 0 && (s = strstr(s, "\nlock:")) != NULL) {
		s++;
		err = lock_line(cx, s, f);
	}
	return err;
}

struct lock {
	enum lock_class class;
	struct flock fl;
};

static bool
lock_parse(const char *s, struct lock *l)
{
	uint64_t start, end = 0;
	size_t i;

	memset(l, 0, sizeof(*l));
	for (i = 0; i < NCLASSES; i++)
		if (kv_scan_text(&s, classes[i].name))
			break;
	if (i == NCLASSES)
		return false;
	l->class = classes[i].class;
	l->fl.l_type = F_RDLCK;
	if (!kv_scan_text(&s, " read ")) {
		l->fl.l_type = F_WRLCK;
		if (!kv_scan_text(&s, " write "))
			return false;
	}
	if (!kv_scan_u64(&s, 10, INT64_MAX - 1, &start) ||
	    !kv_scan_text(&s, " "))
		return false;
	l->fl.l_whence = SEEK_SET;
	l->fl.l_start = (off_t)start;
	if (strcmp(s, "EOF") == 0)
		return true;
	if (!kv_number(s, 10, INT64_MAX - 1, &end) || end < start)
		return false;
	l->fl.l_len = (off_t)(end - start + 1);
	return true;
}

static int
lock_set(const struct lock *l, int fd)
{
	struct flock fl = l->fl;
	bool write = fl.l_type == F_WRLCK;

	switch (l->class) {
	case LOCK_FLOCK:
		return flock(fd, (write ? LOCK_EX : LOCK_SH) | LOCK_NB);
	case LOCK_POSIX:
		return fcntl(fd, F_SETLK, &fl);
	case LOCK_OFD:
		return fcntl(fd, F_OFD_SETLK, &fl);
	case LOCK_LEASE:
		return fcntl(fd, F_SETLEASE, (int)fl.l_type);
	}
	return -1;
}

/*
 * One of POSIX belongs to the process that takes it: whoever opens for another
 * can only see that it is free.
 */
static int
lock_take(const struct lock *l, int fd, bool for_another)
{
	struct flock fl = l->fl;

	if (l->class != LOCK_POSIX || !for_another)
		return lock_set(l, fd);
	if (fcntl(fd, F_GETLK, &fl) < 0)
		return -1;
	errno = EAGAIN;
	return fl.l_type == F_UNLCK ? 0 : -1;
}

int
fdlock_restore(
    struct snap_ctx *cx, const struct openfile *f, int fd, bool for_another)
{
	struct lock l;
	int err;

	for (size_t i = 0; i < f->nkv; i++) {
		if (strcmp(f->kv[i].key, "lock") != 0)
			continue;
		if (!lock_parse(f->kv[i].value, &l))
			return kv_bad(cx, f, "lock");
		if (lock_take(&l, fd, for_another) == 0)
			continue;
		err = errno == EACCES ? EAGAIN : errno;
		return snap_fail(cx, -err, "fd %u: lock on %s: %s", f->id,
		    f->target,
		    err == EAGAIN ? "another process holds it" : strerror(err));
	}
	return 0;
}

static int
posix_of(const struct process *p, const struct fdent *e, struct fdlock **v,
    size_t *n)
{
	const struct openfile *f = &p->files[e->file];
	struct fdlock *out;
	struct lock l;

	for (size_t i = 0; i < f->nkv; i++) {
		if (strcmp(f->kv[i].key, "lock") != 0 ||
		    !lock_parse(f->kv[i].value, &l) || l.class != LOCK_POSIX)
			continue;
		out = process_grow(v, n, sizeof(*out));
		if (out == NULL)
			return -ENOMEM;
		out->fd = e->fd;
		out->lock = l.fl;
	}
	return 0;
}

ssize_t
fdlock_posix(const struct process *p, struct fdlock **v)
{
	size_t n = 0;

	*v = NULL;
	for (size_t i = 0; i < p->nfds; i++) {
		const struct fdent *e = &p->fds[i];

		/* One descriptor of each file: its own number is its id. */
		if ((uint32_t)e->fd != p->files[e->file].id ||
		    resource_edited(&p->files[e->file]))
			continue;
		if (posix_of(p, e, v, &n) < 0) {
			free(*v);
			*v = NULL;
			return -ENOMEM;
		}
	}
	return (ssize_t)n;
}

/* ---- owners ---- */

int
fdowner_collect(
    struct snap_ctx *cx, const struct fd_probe *q, struct openfile *f)
{
	const struct f_owner_ex *own = &q->owner;
	bool group = own->type == F_OWNER_PGRP;

	if (own->pid != 0 && own->pid != (group ? q->p->pgid : q->p->pid))
		return snap_fail(cx, -ENOTSUP,
		    "its signals go to %s %d, which is not restored",
		    group		       ? "process group"
		    : own->type == F_OWNER_TID ? "thread"
					       : "process",
		    (int)own->pid);
	if (own->pid != 0 && openfile_put(f, "owner", "%s self",
				 group			    ? "pgrp"
				 : own->type == F_OWNER_TID ? "tid"
							    : "pid") != 0)
		return -ENOMEM;
	return q->sig > 0 ? openfile_put(f, "signal", "%d", q->sig) : 0;
}

static bool
owner_parse(const char *s, struct f_owner_ex *own, pid_t self)
{
	if (strcmp(s, "pid self") == 0)
		own->type = F_OWNER_PID;
	else if (strcmp(s, "tid self") == 0)
		own->type = F_OWNER_TID;
	else if (strcmp(s, "pgrp self") == 0)
		own->type = F_OWNER_PGRP;
	else
		return false;
	own->pid = self != 0		       ? self
		   : own->type == F_OWNER_PGRP ? getpgrp()
					       : getpid();
	return true;
}

int
fdowner_restore(
    struct snap_ctx *cx, const struct openfile *f, int fd, pid_t self)
{
	const char *owner = openfile_get(f, "owner");
	uint64_t sig = kv_u64(f, "signal", 10);
	struct f_owner_ex own;
	int fl;

	if (owner != NULL && (!owner_parse(owner, &own, self) ||
				 fcntl(fd, F_SETOWN_EX, &own) != 0))
		return snap_fail(
		    cx, -errno, "fd %u: owner: %s", f->id, strerror(errno));
	if (sig != 0 && fcntl(fd, F_SETSIG, (int)sig) != 0)
		return snap_fail(cx, -errno, "fd %u: signal %llu: %s", f->id,
		    (unsigned long long)sig, strerror(errno));
	if ((f->flags & O_ASYNC) == 0)
		return 0;
	fl = fcntl(fd, F_GETFL);
	if (fl < 0 || fcntl(fd, F_SETFL, fl | O_ASYNC) != 0)
		return snap_fail(
		    cx, -errno, "fd %u: O_ASYNC: %s", f->id, strerror(errno));
	return 0;
}

int
fdlock_check(struct snap_ctx *cx, const struct openfile *f)
{
	struct f_owner_ex own;
	struct lock l;

	for (size_t i = 0; i < f->nkv; i++) {
		const char *key = f->kv[i].key, *value = f->kv[i].value;

		if ((strcmp(key, "lock") == 0 && !lock_parse(value, &l)) ||
		    (strcmp(key, "owner") == 0 && !owner_parse(value, &own, 0)))
			return snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: bad `%s: %.80s'", f->id, key, value);
	}
	return kv_opt_u64(cx, f, "signal", 10, PROCESS_NSIG);
}
