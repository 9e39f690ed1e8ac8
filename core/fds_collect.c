/*
 * fds_collect.c - the descriptors of a frozen process.
 *
 * This runs while the process is held, so it counts: four calls a descriptor
 * on open directories, no stdio.  Descriptors of one open file (dup(2), or
 * inherited from one another) are found by sorting those of all processes of
 * the tree: by inode and flags, and where those are equal, by kcmp(2), which
 * orders the kernel's own objects.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "fdlock.h"
#include "proc.h"
#include "res.h"
#include "resource.h"
#include "shared.h"
#include "sock_option.h"
#include "sock_queue.h"
#include "tcp_sock.h"
#include "unix_sock.h"

#define MEM_MAJOR 1

/* Where descriptors are: in the process, or, those on their way, in us. */
struct place {
	pid_t pid;
	int pidfd, fddir, infodir;
};

struct walk;

struct entry {
	struct walk *w;
	int fd; /* its number in the image */
	const struct place *place;
	int there;  /* its number at its place */
	int domain; /* of a socket */
	bool tcp, udp;
	struct tcp_state *tcp_state; /* if it is connected */
	struct sock_queue *queue;
	char *why; /* it cannot be brought back; found out early */
	bool cloexec;
	uint32_t flags; /* without O_CLOEXEC */
	struct stat st;
	char *target, *fdinfo;
	/* The first descriptor of this open file, here and in the tree. */
	struct entry *same, *top;
	bool reader, writer; /* of its inode, see struct fd_probe */
	uint32_t group_flags;
	pid_t other;	 /* likewise */
	uint64_t number; /* of an eventfd: tells it from others */
	struct f_owner_ex owner;
	int sig;
	int pipe_size, unread; /* of pipes and FIFOs */
	uint32_t file;
};

struct walk {
	struct snap_ctx *cx;
	pid_t pid;
	struct process *p;
	struct place place, own;
	int root, diag;
	struct entry *v;
	size_t n;
	char *buf; /* for reading fdinfo */
	size_t bufsize;
	char *mountinfo; /* read when it is first asked for */
};

/* All descriptors of all processes. */
struct walks {
	struct snap_ctx *cx;
	struct walk *v;
	size_t n;
	struct entry **order; /* sorted by open file */
	size_t norder;
	int error; /* of a comparison */
};

static void
place_fini(struct place *l)
{
	if (l->pidfd >= 0)
		close(l->pidfd);
	if (l->fddir >= 0)
		close(l->fddir);
	if (l->infodir >= 0)
		close(l->infodir);
}

static void
walk_fini(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		if (w->v[i].queue != NULL)
			sock_queue_fini(w->v[i].queue);
		free(w->v[i].queue);
		free(w->v[i].why);
		if (w->v[i].tcp_state != NULL)
			free(w->v[i].tcp_state->bytes);
		free(w->v[i].tcp_state);
		free(w->v[i].target);
		free(w->v[i].fdinfo);
	}
	free(w->v);
	free(w->buf);
	free(w->mountinfo);
	place_fini(&w->place);
	place_fini(&w->own);
	if (w->diag >= 0)
		close(w->diag);
	if (w->root >= 0)
		close(w->root);
}

/*
 * readlink of /proc/PID/fd/N gives paths from our own root, but for a process
 * of another mount namespace, whose paths begin at its root.
 */
static int
open_root(struct walk *w)
{
	struct stat ours, theirs;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)w->pid);
	if (stat("/proc/self/ns/mnt", &ours) != 0 || stat(path, &theirs) != 0 ||
	    (ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev))
		return 0;
	w->root = proc_open(w->cx, w->pid, "root", O_PATH | O_DIRECTORY);
	return w->root < 0 ? w->root : 0;
}

static int
place_init(struct snap_ctx *cx, struct place *l, pid_t pid)
{
	l->pid = pid;
	l->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (l->pidfd < 0)
		return snap_fail(cx, -errno, "pidfd_open of %d: %s", (int)pid,
		    strerror(errno));
	l->fddir = proc_open(cx, pid, "fd", O_RDONLY | O_DIRECTORY);
	if (l->fddir < 0)
		return l->fddir;
	l->infodir = proc_open(cx, pid, "fdinfo", O_PATH | O_DIRECTORY);
	return l->infodir < 0 ? l->infodir : 0;
}

static int
walk_init(struct walk *w)
{
	int err = place_init(w->cx, &w->place, w->pid);

	if (err < 0)
		return err;
	w->bufsize = 4096;
	w->buf = malloc(w->bufsize);
	return w->buf == NULL ? -ENOMEM : open_root(w);
}

/* ---- one descriptor ---- */

/* A fdinfo file is shown whole: a short read is the end. */
static int
read_info(struct walk *w, const struct place *l, const char *name)
{
	int fd = openat(l->infodir, name, O_RDONLY | O_CLOEXEC);
	size_t n = 0, room;
	ssize_t got;
	char *b;
	int err = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		room = w->bufsize - n - 1;
		got = read(fd, w->buf + n, room);
		if (got < 0) {
			err = -errno;
			break;
		}
		n += (size_t)got;
		if ((size_t)got < room)
			break;
		b = realloc(w->buf, w->bufsize * 2);
		if (b == NULL) {
			err = -ENOMEM;
			break;
		}
		w->buf = b;
		w->bufsize *= 2;
	}
	close(fd);
	w->buf[n] = '\0';
	return err;
}

/*
 * Of files whose attributes another program would have to be asked for (FUSE,
 * network file systems), what the kernel remembers is enough.
 */
static int
stat_object(int fd, struct stat *st)
{
	struct statx x;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS,
		&x) != 0)
		return -errno;
	memset(st, 0, sizeof(*st));
	st->st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
	st->st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
	st->st_ino = x.stx_ino;
	st->st_mode = x.stx_mode;
	st->st_nlink = x.stx_nlink;
	st->st_uid = x.stx_uid;
	st->st_gid = x.stx_gid;
	st->st_size = (off_t)x.stx_size;
	st->st_blksize = (blksize_t)x.stx_blksize;
	st->st_mtim.tv_sec = x.stx_mtime.tv_sec;
	st->st_mtim.tv_nsec = x.stx_mtime.tv_nsec;
	return 0;
}

/* Null and its kind send no signals, and regular files for leases only. */
static bool
has_owner(const struct entry *e)
{
	if ((e->flags & O_PATH) != 0)
		return false;
	if (S_ISREG(e->st.st_mode))
		return strstr(e->fdinfo, "LEASE") != NULL;
	return !S_ISCHR(e->st.st_mode) || major(e->st.st_rdev) != MEM_MAJOR;
}

static void
note_socket(struct entry *e, int fd)
{
	e->domain = sock_int(fd, SO_DOMAIN);
	e->udp = (e->domain == AF_INET || e->domain == AF_INET6) &&
		 sock_int(fd, SO_TYPE) == SOCK_DGRAM &&
		 sock_int(fd, SO_PROTOCOL) == IPPROTO_UDP;
	e->tcp = (e->domain == AF_INET || e->domain == AF_INET6) &&
		 sock_int(fd, SO_TYPE) == SOCK_STREAM &&
		 sock_int(fd, SO_PROTOCOL) == IPPROTO_TCP;
}

/* What can be asked of a duplicate of the descriptor, and nowhere else. */
static int
ask_duplicate(struct walk *w, struct entry *e)
{
	int fd, err;

	(void)w;
	fd = (int)syscall(SYS_pidfd_getfd, e->place->pidfd, e->there, 0);

	if (fd < 0)
		return -errno;
	err = stat_object(fd, &e->st);
	if (err == 0 && has_owner(e)) {
		e->sig = fcntl(fd, F_GETSIG);
		if (fcntl(fd, F_GETOWN_EX, &e->owner) != 0)
			e->owner.pid = 0;
	}
	if (err == 0 && S_ISFIFO(e->st.st_mode) && (e->flags & O_PATH) == 0) {
		e->pipe_size = fcntl(fd, F_GETPIPE_SZ);
		if (e->pipe_size < 0 || ioctl(fd, FIONREAD, &e->unread) != 0)
			err = -errno;
	}
	if (err == 0 && S_ISSOCK(e->st.st_mode) && (e->flags & O_PATH) == 0)
		note_socket(e, fd);
	close(fd);
	return err;
}

static int
add_entry(struct walk *w, const struct place *l, const char *name, int fd)
{
	char target[PATH_MAX + 1];
	struct entry *e;
	uint64_t flags;
	ssize_t len;
	int err;

	e = process_grow(&w->v, &w->n, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	e->w = w;
	e->fd = fd;
	e->place = l;
	e->there = atoi(name);
	len = readlinkat(l->fddir, name, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	target[len] = '\0';
	err = read_info(w, l, name);
	if (err != 0)
		return err;
	if (!proc_field_u64(w->buf, "flags", 8, &flags))
		return -EPROTO;
	if (!proc_field_u64(w->buf, "eventfd-id", 10, &e->number))
		e->number = 0;
	e->cloexec = (flags & O_CLOEXEC) != 0;
	e->flags = (uint32_t)flags & ~(uint32_t)O_CLOEXEC;
	e->target = strdup(target);
	e->fdinfo = strdup(w->buf);
	if (e->target == NULL || e->fdinfo == NULL)
		return -ENOMEM;
	return ask_duplicate(w, e);
}

static int
by_number(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int
list(struct walk *w)
{
	struct dirent *d;
	int dup_fd, err = 0;
	DIR *dir;

	dup_fd = fcntl(w->place.fddir, F_DUPFD_CLOEXEC, 0);
	dir = dup_fd < 0 ? NULL : fdopendir(dup_fd);
	if (dir == NULL) {
		err = -errno;
		if (dup_fd >= 0)
			close(dup_fd);
		return snap_fail(
		    w->cx, err, "/proc/%d/fd: %s", (int)w->pid, strerror(-err));
	}
	while (err == 0 && (errno = 0, d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.')
			continue;
		err = add_entry(w, &w->place, d->d_name, atoi(d->d_name));
		if (err != 0)
			snap_fail(w->cx, err, "/proc/%d/fd/%s: %s", (int)w->pid,
			    d->d_name, strerror(-err));
	}
	if (err == 0 && errno != 0)
		err = snap_fail(w->cx, -errno, "/proc/%d/fd: %s", (int)w->pid,
		    strerror(errno));
	closedir(dir);
	qsort(w->v, w->n, sizeof(*w->v), by_number);
	return err;
}

/* ---- what is on its way ---- */

/*
 * What waits in a socket may take descriptors along.  They are open in us now;
 * in the image they have numbers above all that the process has.
 */
static int
add_rights(struct walk *w, size_t i)
{
	const struct sock_queue *q = w->v[i].queue;
	char name[16];
	int err = 0;

	for (size_t k = 0; k < q->n; k++) {
		struct sock_message *m = &q->v[k];

		for (size_t j = 0; j < m->nfds && err == 0; j++) {
			if (w->own.pidfd < 0)
				err = place_init(w->cx, &w->own, getpid());
			if (err < 0)
				return err;
			snprintf(name, sizeof(name), "%d", m->fds[j]);
			err =
			    add_entry(w, &w->own, name, w->v[w->n - 1].fd + 1);
			m->files[j] = (uint32_t)w->n - 1;
		}
	}
	return err;
}

/* Whose queue can be seen, and can be filled again. */
static bool
has_queue(const struct entry *e)
{
	return e->domain == AF_UNIX || e->udp;
}

/* What cannot be seen is no error of the checkpoint. */
static int
peek_at(struct walk *w, size_t i)
{
	struct snap_ctx cx = { .opt = w->cx->opt };
	struct entry *e = &w->v[i];
	int fd, err;

	cx.opt.log = NULL;
	e->queue = calloc(1, sizeof(*e->queue));
	if (e->queue == NULL)
		return -ENOMEM;
	fd = (int)syscall(SYS_pidfd_getfd, e->place->pidfd, e->there, 0);
	if (fd < 0)
		return -errno;
	err = sock_queue_peek(&cx, fd, e->queue);
	close(fd);
	if (err == -ENOTSUP) {
		e->why = strdup(cx.text);
		return e->why == NULL ? -ENOMEM : 0;
	}
	return err == 0 ? add_rights(w, i) : err;
}

/* What is on its way may itself be a socket, with something in it. */
static int
peek_all(struct walk *w)
{
	int err = 0;

	for (size_t i = 0; i < w->n && err == 0; i++)
		if (has_queue(&w->v[i]))
			err = peek_at(w, i);
	return err;
}

struct connections {
	uint32_t *of; /* entries */
	int *fd, *err;
	struct tcp_state *v;
	size_t n;
};

static int
take_connections(struct walk *w, struct connections *c)
{
	for (size_t k = 0; k < c->n; k++) {
		struct entry *e = &w->v[c->of[k]];

		if (c->err[k] != 0) {
			char why[128];

			snprintf(why, sizeof(why),
			    "a connection of TCP that cannot be seen: %s",
			    strerror(-c->err[k]));
			e->why = strdup(why);
			if (e->why == NULL)
				return -ENOMEM;
		}
		e->tcp_state = malloc(sizeof(*e->tcp_state));
		if (e->tcp_state == NULL)
			return -ENOMEM;
		*e->tcp_state = c->v[k];
		c->v[k].bytes = NULL;
	}
	return 0;
}

/* All at once, since it takes a guard, which is a process. */
static int
peek_connections(struct walk *w)
{
	struct connections c = { 0 };
	int err = 0;

	c.of = calloc(w->n + 1, sizeof(*c.of));
	c.fd = calloc(w->n + 1, sizeof(*c.fd));
	c.err = calloc(w->n + 1, sizeof(*c.err));
	c.v = calloc(w->n + 1, sizeof(*c.v));
	if (c.of == NULL || c.fd == NULL || c.err == NULL || c.v == NULL)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < w->n; i++) {
		struct entry *e = &w->v[i];
		int fd;

		if (!e->tcp || e->same != e)
			continue;
		fd =
		    (int)syscall(SYS_pidfd_getfd, e->place->pidfd, e->there, 0);
		if (fd < 0)
			err = -errno;
		else if (!tcp_is_connected(fd))
			close(fd);
		else {
			c.of[c.n] = (uint32_t)i;
			c.fd[c.n++] = fd;
		}
	}
	if (err == 0 && c.n > 0)
		err = tcp_peek(w->cx, c.fd, c.n, c.v, c.err);
	if (err == 0)
		err = take_connections(w, &c);
	for (size_t k = 0; k < c.n; k++) {
		close(c.fd[k]);
		free(c.v[k].bytes);
	}
	free(c.of);
	free(c.fd);
	free(c.err);
	free(c.v);
	return err;
}

static void
name_rights(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		const struct sock_queue *q = w->v[i].queue;

		for (size_t k = 0; q != NULL && k < q->n; k++)
			for (size_t j = 0; j < q->v[k].nfds; j++) {
				uint32_t *f = &q->v[k].files[j];

				*f = (uint32_t)w->v[*f].same->fd;
			}
	}
}

/* ---- which are one open file ---- */

static int
by_inode(const struct entry *x, const struct entry *y)
{
	if (x->st.st_dev != y->st.st_dev)
		return x->st.st_dev < y->st.st_dev ? -1 : 1;
	if (x->st.st_ino != y->st.st_ino)
		return x->st.st_ino < y->st.st_ino ? -1 : 1;
	return 0;
}

static int
by_place(const struct entry *x, const struct entry *y)
{
	if (x->w != y->w)
		return x->w < y->w ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int
by_file(struct walks *ws, const struct entry *x, const struct entry *y)
{
	long c;

	if (x->flags != y->flags)
		return x->flags < y->flags ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	c = syscall(SYS_kcmp, x->place->pid, y->place->pid, KCMP_FILE, x->there,
	    y->there);
	if (c < 0 || c > 2) {
		ws->error = c < 0 ? -errno : -EPROTO;
		return by_place(x, y);
	}
	return c == 0 ? 0 : c == 1 ? -1 : 1;
}

/*
 * However it sorts, what ends up side by side was compared.  So where two are
 * one, that is noted here, in the one that comes later.
 */
static int
compare(const void *a, const void *b, void *arg)
{
	struct walks *ws = arg;
	struct entry *x = *(struct entry *const *)a;
	struct entry *y = *(struct entry *const *)b;
	int c = by_inode(x, y);

	if (c == 0)
		c = by_file(ws, x, y);
	if (c != 0 || x == y)
		return c;
	c = by_place(x, y);
	if (c < 0)
		y->top = x;
	else
		x->top = y;
	return c;
}

/* The process at the other end of a pipe, if x's own has not both. */
static pid_t
other_end(struct walks *ws, size_t from, size_t to, const struct entry *x)
{
	bool reader = false, writer = false;
	pid_t other = 0;

	if (!S_ISFIFO(x->st.st_mode))
		return 0;
	for (size_t k = from; k < to; k++) {
		const struct entry *e = ws->order[k];
		uint32_t acc = e->flags & O_ACCMODE;

		if (e->w == x->w) {
			reader |= acc != O_WRONLY;
			writer |= acc != O_RDONLY;
		} else if (other == 0 && acc != (x->flags & O_ACCMODE)) {
			other = e->w->pid;
		}
	}
	return reader && writer ? 0 : other;
}

/* Of the entries order[from..to), which share an inode. */
static void
join_group(struct walks *ws, size_t from, size_t to)
{
	bool reader = false, writer = false;
	uint32_t flags = 0;

	for (size_t k = from; k < to; k++) {
		struct entry *e = ws->order[k];
		uint32_t acc = e->flags & O_ACCMODE;

		reader |= acc != O_WRONLY;
		writer |= acc != O_RDONLY;
		flags |= e->flags;
		/* The earlier one comes first, and is settled. */
		e->top = e->top->top;
		e->same = e;
		if (k > from && ws->order[k - 1]->w == e->w &&
		    ws->order[k - 1]->top == e->top)
			e->same = ws->order[k - 1]->same;
	}
	for (size_t k = from; k < to; k++) {
		struct entry *e = ws->order[k];

		e->reader = reader;
		e->writer = writer;
		e->group_flags = flags;
		e->other = other_end(ws, from, to, e);
	}
}

static int
group(struct walks *ws)
{
	size_t from = 0, n = 0;

	for (size_t i = 0; i < ws->n; i++)
		n += ws->v[i].n;
	ws->order = calloc(n + 1, sizeof(struct entry *));
	if (ws->order == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < ws->n; i++)
		for (size_t k = 0; k < ws->v[i].n; k++) {
			struct entry *e = &ws->v[i].v[k];

			e->same = e->top = e;
			ws->order[ws->norder++] = e;
		}
	qsort_r(ws->order, n, sizeof(struct entry *), compare, ws);
	for (size_t k = 1; k <= n; k++) {
		if (k < n && by_inode(ws->order[k], ws->order[from]) == 0)
			continue;
		join_group(ws, from, k);
		from = k;
	}
	if (ws->error != 0)
		return snap_fail(ws->cx, ws->error,
		    "comparing descriptors (kcmp): %s", strerror(-ws->error));
	return 0;
}

/* ---- what they are ---- */

/*
 * Could its file system be FUSE?  Neither a device nor a memfd is asked of a
 * file system, and those of block devices are none.
 */
static bool
may_be_fuse(const struct entry *e)
{
	return major(e->st.st_dev) == 0 && e->target[0] == '/' &&
	       !S_ISCHR(e->st.st_mode) &&
	       strncmp(e->target, "/memfd:", 7) != 0 &&
	       strncmp(e->target, "/proc/", 6) != 0;
}

/*
 * Whether the file lies on a FUSE mount: 1, or 2 for one of snapfs itself.
 * mountinfo is long, and rarely read.
 */
static int
on_fuse(struct walk *w, const struct entry *e)
{
	uint64_t id;
	char head[24], *line, *end, *type;

	if (!may_be_fuse(e) || !proc_field_u64(e->fdinfo, "mnt_id", 10, &id))
		return 0;
	if (w->mountinfo == NULL &&
	    proc_read(w->cx, w->pid, "mountinfo", &w->mountinfo, NULL) != 0)
		return -1;
	snprintf(head, sizeof(head), "\n%llu ", (unsigned long long)id);
	line = strncmp(w->mountinfo, head + 1, strlen(head + 1)) == 0
		   ? w->mountinfo
		   : strstr(w->mountinfo, head);
	if (line == NULL)
		return 0;
	end = strchr(line + 1, '\n');
	type = strstr(line, " - ");
	if (type == NULL || (end != NULL && type > end) ||
	    strncmp(type + 3, "fuse", 4) != 0)
		return 0;
	return strncmp(type + 3, "fuse.snapfs ", 12) == 0 ? 2 : 1;
}

static int
run_kind(struct walk *w, struct snap_ctx *cx, const struct entry *e,
    const struct fd_probe *q, struct openfile *f, int fuse)
{
	const struct resource *kind;
	int err;
	size_t i;

	for (i = 0; !resources[i]->match(q); i++)
		;
	kind = resources[i];
	snprintf(f->kind, sizeof(f->kind), "%s", kind->name);
	if (openfile_put(f, "target", "%s", f->target) != 0)
		return -ENOMEM;
	if (fuse == 2)
		return snap_fail(
		    cx, -ENOTSUP, "a file of this very file system");
	if (e->why != NULL)
		return snap_fail(cx, -ENOTSUP, "%s", e->why);
	if (f->pos > INT64_MAX)
		return snap_fail(
		    cx, -ENOTSUP, "its position is %lld", (long long)f->pos);
	err = kind->collect(cx, q, w->p, f);
	if (err == 0)
		err = fdlock_collect(cx, q, f);
	if (err == 0)
		err = fdowner_collect(cx, q, f);
	return err;
}

/*
 * Keep it as a descriptor of which nothing but the reason is known.  It is
 * still in the image, so that something else can be put in its place there.
 */
static int
demote(struct openfile *f, const char *why)
{
	openfile_forget(f);
	snprintf(f->kind, sizeof(f->kind), "unsupported");
	if (openfile_put(f, "target", "%s", f->target) != 0)
		return -ENOMEM;
	return openfile_put(f, "why", "%s", why);
}

static bool
demoted(const struct openfile *f)
{
	return strcmp(f->kind, "unsupported") == 0;
}

static struct openfile *
file_of(const struct entry *e)
{
	return &e->w->p->files[e->file];
}

/* What the kind makes of it; e->file is known. */
static int
collect_kind(struct walk *w, struct entry *e, int fuse)
{
	/* That it is not supported is no error of the checkpoint. */
	struct snap_ctx cx = { .opt = w->cx->opt };
	const struct fd_probe q = {
		.pid = e->place->pid,
		.pidfd = e->place->pidfd,
		.fd = e->there,
		.domain = e->domain,
		.queue = e->queue,
		.tcp = e->tcp,
		.tcp_state = e->tcp_state,
		.diag = &w->diag,
		.target = e->target,
		.st = e->st,
		.fdinfo = e->fdinfo,
		.flags = e->flags,
		.reader = e->reader,
		.writer = e->writer,
		.group_flags = e->group_flags,
		.other = e->other,
		.owner = e->owner,
		.sig = e->sig,
		.pipe_size = e->pipe_size,
		.unread = e->unread,
		.fuse = fuse != 0,
		.root = w->root >= 0 ? w->root : AT_FDCWD,
		.p = w->p,
	};
	int err;

	cx.opt.log = NULL;
	err = run_kind(w, &cx, e, &q, file_of(e), fuse);
	if (err == -ENOTSUP)
		err = demote(file_of(e), cx.text);
	if (err == 0 && e->place == &w->own)
		err = openfile_put(file_of(e), "in-flight", "1");
	return err == 0 || err == -ENOMEM
		   ? err
		   : snap_fail(w->cx, err, "%s", cx.text);
}

/* Of a terminal whose master is the process's, too, nothing waits outside. */
static int
list_input(struct walk *w, const struct entry *e, const struct openfile *f)
{
	const char *unread = openfile_get(f, "unread");
	char what[32];
	uint64_t n;

	if (unread == NULL || !res_tty_number(f, &n) ||
	    res_ptmx_find(w->p, n) == NULL)
		return 0;
	snprintf(what, sizeof(what), "input of fd %d", e->fd);
	return process_unsupported(w->p, what,
	    "%s bytes that were typed into a pseudo-terminal and not yet read "
	    "cannot be seen",
	    unread);
}

static int
collect_file(struct walk *w, struct entry *e)
{
	struct openfile *f;
	int fuse;

	f = process_grow(&w->p->files, &w->p->nfiles, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	e->file = (uint32_t)w->p->nfiles - 1;
	f->id = (uint32_t)e->fd;
	f->flags = e->flags;
	if (!proc_field_u64(e->fdinfo, "pos", 10, &f->pos))
		f->pos = 0;
	f->target = strdup(e->target);
	fuse = on_fuse(w, e);
	if (f->target == NULL || fuse < 0)
		return f->target == NULL ? -ENOMEM : w->cx->error;
	return collect_kind(w, e, fuse);
}

/*
 * The first process of the tree that can tell what it is tells for all: an
 * epoll, for one, is known where the descriptors that it watches are open.
 */
static void
choose_top(struct entry *e)
{
	struct entry *best = e->top->top;

	if (best != e && demoted(file_of(best)) && !demoted(file_of(e)))
		e->top->top = e;
}

static int
collect_files(struct walk *w)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < w->n; i++) {
		struct entry *e = &w->v[i];

		if (e->same == e) {
			err = collect_file(w, e);
			if (err == 0)
				choose_top(e);
		} else {
			e->file = e->same->file;
		}
	}
	return err;
}

/* ---- what processes have in common ---- */

static bool
is_posix_lock(const struct kv *kv)
{
	return strcmp(kv->key, "lock") == 0 &&
	       strncmp(kv->value, "posix ", strlen("posix ")) == 0;
}

/* Everything but the locks that belong to a process. */
static int
copy_lines(struct openfile *to, const struct openfile *from)
{
	struct openfile own = *to;
	int err = 0;

	to->kv = NULL;
	to->nkv = 0;
	strcpy(to->kind, from->kind);
	for (size_t i = 0; err == 0 && i < from->nkv; i++)
		if (!is_posix_lock(&from->kv[i]) &&
		    strcmp(from->kv[i].key, "in-flight") != 0)
			err = openfile_put(
			    to, from->kv[i].key, "%s", from->kv[i].value);
	for (size_t i = 0; err == 0 && i < own.nkv; i++)
		if (is_posix_lock(&own.kv[i]))
			err = openfile_put(to, "lock", "%s", own.kv[i].value);
	openfile_forget(&own);
	return err;
}

/* The bytes of a pipe, which only one has to keep, are the others' too. */
static void
refer_content(struct process *p, const struct entry *top)
{
	const char *id = openfile_get(file_of(top), "content");

	if (id != NULL && process_content(p, (uint32_t)atoi(id)) == NULL)
		(void)shared_find(p, &top->st);
}

static int
name_top(const struct entry *e, const struct entry *top)
{
	return openfile_put(
	    file_of(e), "same", "%d/%d", (int)top->w->pid, top->fd);
}

/* Only the other can tell what it is, or has kept what is in it. */
static bool
knows_more(const struct entry *top, const struct entry *e)
{
	return demoted(file_of(e)) ||
	       (openfile_get(file_of(top), "content") != NULL &&
		   openfile_get(file_of(e), "content") == NULL);
}

/* An open file that several have says so, and is the same everywhere. */
static int
share(struct entry *e)
{
	struct entry *top = e->top->top;
	int err = 0;

	if (e->same != e || top == e || demoted(file_of(top)))
		return 0;
	if (openfile_get(file_of(top), "same") == NULL)
		err = name_top(top, top);
	if (err == 0 && knows_more(top, e)) {
		err = copy_lines(file_of(e), file_of(top));
		refer_content(e->w->p, top);
	} else if (err == 0) {
		err = name_top(e, top);
	}
	return err;
}

static int
list_unsupported(struct walk *w, const struct entry *e)
{
	const struct openfile *f = &w->p->files[e->file];
	char what[24], outside[UNIX_WHY_MAX] = "";
	const char *why = outside;

	if (strcmp(f->kind, "unix") == 0)
		unix_sock_outside(w->p, f, outside);
	else if (strcmp(f->kind, "ptmx") == 0)
		why = res_ptmx_outside(w->p, f) ? PTMX_OUTSIDE : "";
	else if (strcmp(f->kind, "unsupported") == 0)
		why = openfile_get(f, "why");
	if (strcmp(f->kind, "tty") == 0)
		return list_input(w, e, f);
	if (why[0] == '\0')
		return 0;
	snprintf(what, sizeof(what), "fd %d", e->fd);
	return process_unsupported(
	    w->p, what, "%s; to restore without it: ignore=fd %d", why, e->fd);
}

static int
list_fds(struct walk *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct entry *e = &w->v[i];
		struct fdent *d;

		/* One on its way that the process has, too. */
		if (e->place == &w->own && e->same != e)
			continue;
		d = process_grow(&w->p->fds, &w->p->nfds, sizeof(*d));
		if (d == NULL)
			return -ENOMEM;
		d->fd = e->fd;
		d->cloexec = e->cloexec;
		d->file = e->file;
	}
	return 0;
}

static int
list_all_unsupported(struct walk *w)
{
	int err = 0;

	for (size_t i = 0; i < w->n && err == 0; i++)
		if (w->v[i].place != &w->own || w->v[i].same == &w->v[i])
			err = list_unsupported(w, &w->v[i]);
	return err;
}

static int
collect_all(struct walks *ws)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = collect_files(&ws->v[i]);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		for (size_t k = 0; err == 0 && k < ws->v[i].n; k++)
			err = share(&ws->v[i].v[k]);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = list_fds(&ws->v[i]);
	/* Whose other end is in another process is known when all are. */
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = list_all_unsupported(&ws->v[i]);
	return err;
}

static int
run(struct walks *ws, struct process *const *p)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < ws->n; i++) {
		ws->v[i] = (struct walk){
			.cx = ws->cx,
			.pid = p[i]->pid,
			.p = p[i],
			.place = { 0, -1, -1, -1 },
			.own = { 0, -1, -1, -1 },
			.root = -1,
			.diag = -1,
		};
	}
	for (size_t i = 0; err == 0 && i < ws->n; i++) {
		err = walk_init(&ws->v[i]);
		if (err == 0)
			err = list(&ws->v[i]);
		if (err == 0)
			err = peek_all(&ws->v[i]);
	}
	if (err == 0)
		err = group(ws);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		name_rights(&ws->v[i]);
	for (size_t i = 0; err == 0 && i < ws->n; i++)
		err = peek_connections(&ws->v[i]);
	return err == 0 ? collect_all(ws) : err;
}

int
fds_collect(struct snap_ctx *cx, struct process *const *p, size_t n)
{
	struct walks ws = { .cx = cx, .n = n };
	int err = -ENOMEM;

	ws.v = calloc(n, sizeof(*ws.v));
	if (ws.v != NULL) {
		err = run(&ws, p);
		for (size_t i = 0; i < n; i++)
			walk_fini(&ws.v[i]);
	}
	free(ws.order);
	free(ws.v);
	if (err == -ENOMEM)
		return snap_fail(cx, err, "descriptors of %d: out of memory",
		    (int)p[0]->pid);
	return err;
}
