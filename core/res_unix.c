/*
 * res_unix.c - sockets of the UNIX domain, as a checkpoint sees them: their
 * name, their peer, what waits in them.  How they are made again is in
 * unix_restore.c.
 *
 * The kernel tells a socket's peer by its inode, so two ends find one another
 * whoever holds them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"
#include "sock_diag_all.h"
#include "sock_name.h"
#include "sock_option.h"
#include "sock_queue.h"
#include "unix_index.h"
#include "unix_sock.h"

#include <linux/sockios.h>

#define SHUT_BOTH 3

static bool
unix_match(const struct fd_probe *q)
{
	return S_ISSOCK(q->st.st_mode) && q->domain == AF_UNIX;
}

/* ---- a checkpoint ---- */

/*
 * Does the path, if it is one, still lead to the file that was made when it
 * was bound?  It begins at the process's own root, or working directory.
 */
static bool
stat_name(const struct fd_probe *q, const char *path, struct stat *st)
{
	const bool relative = path[0] != '/';
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
		.resolve = relative ? 0 : RESOLVE_IN_ROOT,
	};
	char from[40];
	int dir, fd, n;

	snprintf(from, sizeof(from), "/proc/%d/%s", (int)q->p->pid,
	    relative ? "cwd" : "root");
	dir = open(from, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return false;
	fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
	close(dir);
	if (fd < 0)
		return false;
	n = fstat(fd, st);
	close(fd);
	return n == 0;
}

static int
put_name(struct openfile *f, const struct fd_probe *q, int fd,
    const struct unix_info *u)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	char name[SOCK_NAME_MAX], path[SOCK_NAME_MAX];
	struct stat st;
	int err;

	if (getsockname(fd, (void *)&a, &len) != 0)
		return -errno;
	if (len <= sizeof(sa_family_t))
		return 0;
	sock_name_format(name, &a, len);
	err = openfile_put(f, "name", "%s", name);
	if (err != 0 || !u->has_file)
		return err;
	if (!stat_name(q, sock_name_path(&a, len, path), &st) ||
	    (uint32_t)st.st_ino != u->file_ino)
		return openfile_put(f, "name-gone", "1");
	return openfile_put(f, "name-file", "%o %u %u", st.st_mode & 07777,
	    st.st_uid, st.st_gid);
}

static int
put_listening(struct openfile *f, const struct unix_info *u)
{
	int err;

	err = openfile_put(f, "backlog", "%u", u->backlog);
	for (size_t i = 0; i < u->npending && err == 0; i++)
		err = openfile_put(f, "pending", "%u", u->pending[i]);
	return err;
}

static bool
has_error(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

/*
 * A stream without a peer that the kernel can name has lost it, or was not
 * accepted yet: then it is not shut down.
 */
static int
put_peer(struct snap_ctx *cx, struct openfile *f, int fd, int type,
    const struct unix_info *u)
{
	int sent = 0;

	/* Of datagrams, one that others are connected to is in that state. */
	if (!u->has_peer && (type == SOCK_DGRAM || u->state != TCP_ESTABLISHED))
		return openfile_put(f, "peer", "none");
	if (u->peer != 0)
		return openfile_put(f, "peer", "socket %u", u->peer);
	if (type == SOCK_DGRAM || u->shutdown == SHUT_BOTH || !u->has_peer)
		return openfile_put(f, "peer", "closed");
	if (ioctl(fd, SIOCOUTQ, &sent) != 0 || sent != 0)
		return snap_fail(cx, -ENOTSUP,
		    "a socket that has sent something and was not accepted "
		    "yet: what it has sent cannot be seen");
	return openfile_put(f, "peer", "waiting");
}

static int
put_peer_name(struct openfile *f, int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	char name[SOCK_NAME_MAX];

	if (getpeername(fd, (void *)&a, &len) != 0 ||
	    len <= sizeof(sa_family_t))
		return 0;
	sock_name_format(name, &a, len);
	return openfile_put(f, "peer-name", "%s", name);
}

static int
put_cred(struct openfile *f, int fd)
{
	struct ucred c;
	socklen_t len = sizeof(c);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) != 0 ||
	    c.uid == (uid_t)-1)
		return 0;
	return openfile_put(
	    f, "peer-cred", "%d %u %u", (int)c.pid, c.uid, c.gid);
}

static int
put_state(struct snap_ctx *cx, const struct fd_probe *q, struct openfile *f,
    int fd, const struct unix_info *u)
{
	int type = sock_int(fd, SO_TYPE), err;

	err = openfile_put(f, "type", "%d", type);
	if (err == 0)
		err = put_name(f, q, fd, u);
	if (err == 0 && u->state == TCP_LISTEN)
		err = put_listening(f, u);
	else if (err == 0)
		err = put_peer(cx, f, fd, type, u);
	if (err == 0 && type == SOCK_DGRAM)
		err = put_peer_name(f, fd);
	if (err == 0 && u->shutdown != 0)
		err = openfile_put(f, "shutdown", "%u", u->shutdown);
	if (err == 0 && type != SOCK_DGRAM && has_error(fd))
		err = openfile_put(f, "reset", "1");
	return err == 0 ? put_cred(f, fd) : err;
}

static int
collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f, int fd)
{
	struct unix_info u = { 0 };
	int err;

	err =
	    sock_diag_all_get(cx, q->diag, p->pid, (uint32_t)q->st.st_ino, &u);
	if (err != 0)
		return err;
	err = put_state(cx, q, f, fd, &u);
	unix_info_fini(&u);
	if (err == 0 && q->queue != NULL)
		err = sock_queue_put(p, f, q->queue);
	return err == 0 ? sock_option_collect(cx, f, fd) : err;
}

static int
unix_collect(struct snap_ctx *cx, const struct fd_probe *q, struct process *p,
    struct openfile *f)
{
	int fd = resource_getfd(cx, q), err;

	if (fd < 0)
		return fd;
	err = resource_put_object(f, q);
	if (err == 0)
		err = collect(cx, q, p, f, fd);
	close(fd);
	return err;
}

/* ---- an image ---- */

uint64_t
unix_sock_ino(const struct openfile *f)
{
	const char *object = openfile_get(f, "object");
	const char *ino = object == NULL ? NULL : strrchr(object, ':');
	uint64_t v;

	return ino != NULL && kv_number(ino + 1, 10, UINT64_MAX, &v) ? v : 0;
}

static bool
parse_file(const char *s, struct unix_sock *u)
{
	uint64_t mode, uid, gid;

	if (!kv_scan_u64(&s, 8, 07777, &mode) || !kv_scan_text(&s, " ") ||
	    !kv_scan_u64(&s, 10, UINT32_MAX, &uid) || !kv_scan_text(&s, " ") ||
	    !kv_number(s, 10, UINT32_MAX, &gid))
		return false;
	u->mode = (unsigned)mode;
	u->uid = (uid_t)uid;
	u->gid = (gid_t)gid;
	return true;
}

static bool
parse_cred(const char *s, struct unix_sock *u)
{
	uint64_t pid, uid, gid;

	if (!kv_scan_u64(&s, 10, INT32_MAX, &pid) || !kv_scan_text(&s, " ") ||
	    !kv_scan_u64(&s, 10, UINT32_MAX, &uid) || !kv_scan_text(&s, " ") ||
	    !kv_number(s, 10, UINT32_MAX, &gid))
		return false;
	u->has_cred = true;
	u->cred = (struct ucred){ (pid_t)pid, (uid_t)uid, (gid_t)gid };
	return true;
}

static bool
parse_peer(const char *s, struct unix_sock *u)
{
	if (strcmp(s, "none") == 0)
		u->peer = UNIX_NONE;
	else if (strcmp(s, "closed") == 0)
		u->peer = UNIX_CLOSED;
	else if (strcmp(s, "waiting") == 0)
		u->peer = UNIX_WAITING;
	else if (kv_scan_text(&s, "socket ")) {
		u->peer = UNIX_SOCKET;
		return kv_number(s, 10, UINT32_MAX, &u->ino);
	} else
		return false;
	return true;
}

static bool
parse_name(const char *s, struct sockaddr_storage *a, socklen_t *len)
{
	return sock_name_parse(s, a, len) && a->ss_family == AF_UNIX;
}

static bool
parse_number(const char *s, uint64_t max, uint64_t *v)
{
	*v = 0;
	return s == NULL || kv_number(s, 10, max, v);
}

bool
unix_sock_parse(const struct openfile *f, struct unix_sock *u)
{
	const char *name = openfile_get(f, "name");
	const char *file = openfile_get(f, "name-file");
	const char *peer = openfile_get(f, "peer");
	const char *peer_name = openfile_get(f, "peer-name");
	const char *cred = openfile_get(f, "peer-cred");
	const char *backlog = openfile_get(f, "backlog");
	uint64_t type, shut, log;

	memset(u, 0, sizeof(*u));
	if (!kv_number(openfile_get(f, "type"), 10, SOCK_SEQPACKET, &type) ||
	    (type != SOCK_STREAM && type != SOCK_DGRAM &&
		type != SOCK_SEQPACKET) ||
	    !parse_number(openfile_get(f, "shutdown"), SHUT_BOTH, &shut) ||
	    !parse_number(backlog, INT32_MAX, &log) ||
	    (name != NULL && !parse_name(name, &u->name, &u->name_len)) ||
	    (file != NULL && !parse_file(file, u)) ||
	    (peer_name != NULL &&
		!parse_name(peer_name, &u->peer_name, &u->peer_name_len)) ||
	    (cred != NULL && !parse_cred(cred, u)))
		return false;
	u->type = (int)type;
	u->shutdown = (unsigned)shut;
	u->listening = backlog != NULL;
	u->backlog = (int)log;
	u->name_gone = openfile_get(f, "name-gone") != NULL;
	u->reset = openfile_get(f, "reset") != NULL;
	/* It listens, or it has a peer or none. */
	if (u->listening)
		return peer == NULL && u->type != SOCK_DGRAM &&
		       u->name_len != 0;
	return peer != NULL && parse_peer(peer, u);
}

int
unix_sock_fits(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	const struct openfile *g;
	struct unix_sock u, v;

	if (!unix_sock_parse(f, &u))
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: not a well-formed socket of the UNIX domain",
		    f->id);
	if (unix_index_find(p, unix_sock_ino(f)) != f)
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: another socket has its `object'", f->id);
	if (u.peer == UNIX_SOCKET && !u.listening &&
	    (g = unix_index_find(p, u.ino)) != NULL &&
	    (g == f || !unix_sock_parse(g, &v) || v.type != u.type ||
		(u.type != SOCK_DGRAM &&
		    (v.peer != UNIX_SOCKET || v.ino != unix_sock_ino(f)))))
		return snap_fail(cx, -EBADMSG,
		    "fdinfo/%u: its peer, fdinfo/%u, says otherwise", f->id,
		    g->id);
	return 0;
}

static int
unix_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	uint64_t ino;
	int err;

	err = kv_need(cx, f, "object");
	for (size_t i = 0; i < f->nkv && err == 0; i++)
		if (strcmp(f->kv[i].key, "pending") == 0 &&
		    !kv_number(f->kv[i].value, 10, UINT32_MAX, &ino))
			err = snap_fail(cx, -EBADMSG,
			    "fdinfo/%u: bad `pending: %.20s'", f->id,
			    f->kv[i].value);
	if (err == 0)
		err = unix_sock_fits(cx, p, f);
	if (err == 0)
		err = sock_option_check(cx, f);
	return err == 0 ? sock_queue_check(cx, p, f) : err;
}

/* Does a listening socket of the image have `ino` among those that wait? */
static bool
is_awaited_in(const struct process *p, uint64_t ino)
{
	uint64_t v;

	for (size_t i = 0; i < p->nfiles; i++) {
		const struct openfile *f = &p->files[i];

		if (strcmp(f->kind, "unix") != 0 || resource_edited(f))
			continue;
		for (size_t k = 0; k < f->nkv; k++)
			if (strcmp(f->kv[k].key, "pending") == 0 &&
			    kv_number(f->kv[k].value, 10, UINT32_MAX, &v) &&
			    v == ino)
				return true;
	}
	return false;
}

/* The same in the tree of which p is. */
static bool
is_awaited(const struct process *p, uint64_t ino)
{
	if (p->tree == NULL)
		return is_awaited_in(p, ino);
	for (size_t i = 0; i < p->tree->n; i++)
		if (is_awaited_in(p->tree->v[i], ino))
			return true;
	return false;
}

static bool
is_there(const struct process *p, uint64_t ino)
{
	if (p->tree == NULL)
		return unix_index_find(p, ino) != NULL;
	for (size_t i = 0; i < p->tree->n; i++)
		if (unix_index_find(p->tree->v[i], ino) != NULL)
			return true;
	return false;
}

void
unix_sock_outside(
    const struct process *p, const struct openfile *f, char why[UNIX_WHY_MAX])
{
	struct unix_sock u;

	why[0] = '\0';
	if (!unix_sock_parse(f, &u))
		return;
	if (u.peer == UNIX_SOCKET && !is_there(p, u.ino) &&
	    u.peer_name_len == 0)
		snprintf(why, UNIX_WHY_MAX,
		    "one end of a connection, whose other end (socket:[%llu]) "
		    "is in another process",
		    (unsigned long long)u.ino);
	else if (u.peer == UNIX_WAITING && !is_awaited(p, unix_sock_ino(f)))
		snprintf(why, UNIX_WHY_MAX,
		    "a connection that waits to be accepted by another "
		    "process");
}

/* It may be one that is not brought back: that is said of it elsewhere. */
static bool
is_known(const struct process *p, uint64_t ino)
{
	char target[40];

	snprintf(
	    target, sizeof(target), "socket:[%llu]", (unsigned long long)ino);
	for (size_t i = 0; i < p->nfiles; i++)
		if (strcmp(p->files[i].target, target) == 0)
			return true;
	return false;
}

static bool
is_known_in_tree(const struct process *p, uint64_t ino)
{
	if (p->tree == NULL)
		return is_known(p, ino);
	for (size_t i = 0; i < p->tree->n; i++)
		if (is_known(p->tree->v[i], ino))
			return true;
	return false;
}

unsigned
unix_sock_waiting(const struct process *p, const struct openfile *f)
{
	unsigned n = 0;
	uint64_t ino;

	for (size_t k = 0; k < f->nkv; k++)
		n += strcmp(f->kv[k].key, "pending") == 0 &&
		     kv_number(f->kv[k].value, 10, UINT32_MAX, &ino) &&
		     !is_known_in_tree(p, ino);
	return n;
}

const struct resource res_unix = {
	.name = "unix",
	.match = unix_match,
	.collect = unix_collect,
	.check = unix_check,
	.try = unix_try,
	.restore = unix_restore,
	.settle = unix_settle,
};
