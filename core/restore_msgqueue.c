/*
 * restore_msgqueue.c - System V message queues, made again with their ids.
 *
 * One that is still there, the same and used by nobody else, is taken, and gets
 * the messages of the image instead of those that it has.
 *
 * Who sent and who received last is remembered.  So the process that was the last
 * to send sends all of them; before that it sends an empty one, and who was the
 * last to receive receives that.  Of those that are not of the tree, another of
 * it takes the place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include "ctx.h"
#include "restore_ipc.h"
#include "sysv.h"

#define QUEUE "message queue %d: "

/* ---- making one ---- */

static int
get(const void *what)
{
	const struct msgqueue *q = what;
	int id = msgget((key_t)q->ipc.key, IPC_CREAT | IPC_EXCL | 0600);

	return id < 0 ? -errno : id;
}

static uint64_t
size_of(const void *what)
{
	return ((const struct msgqueue *)what)->qbytes;
}

static int
give(int id, uid_t uid, gid_t gid, uint32_t mode)
{
	struct msqid_ds ds;

	if (msgctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	ds.msg_perm.uid = uid;
	ds.msg_perm.gid = gid;
	ds.msg_perm.mode = (unsigned short)mode;
	return msgctl(id, IPC_SET, &ds) < 0 ? -errno : 0;
}

static void
remove_it(int id)
{
	msgctl(id, IPC_RMID, NULL);
}

/* ---- what is in it ---- */

static int
empty(int32_t id)
{
	struct msgbuf m;
	ssize_t n;

	do
		n = msgrcv(id, &m, 0, 0, IPC_NOWAIT | MSG_NOERROR);
	while (n >= 0);
	return errno == ENOMSG ? 0 : -errno;
}

static int
set_size(int32_t id, uint64_t bytes)
{
	struct msqid_ds ds;

	if (msgctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	if (ds.msg_qbytes == bytes)
		return 0;
	ds.msg_qbytes = bytes;
	return msgctl(id, IPC_SET, &ds) < 0 ? -errno : 0;
}

/* It may have been made smaller when there was much in it, or full. */
static uint64_t
room_for(const struct msgqueue *q)
{
	uint64_t most = q->qbytes > q->bytes ? q->qbytes : q->bytes;

	if (most < q->n)
		most = q->n;
	return most > 0 ? most : 1;
}

static int
send(int32_t id, const struct message *m)
{
	struct msgbuf *b = malloc(sizeof(*b) + m->size);
	int err = 0;

	if (b == NULL)
		return -ENOMEM;
	b->mtype = (long)m->type;
	if (m->size > 0)
		memcpy(b->mtext, m->bytes, m->size);
	if (msgsnd(id, b, m->size, IPC_NOWAIT) < 0)
		err = -errno;
	free(b);
	return err;
}

static int
send_all(const struct msgqueue *q)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < q->n; i++)
		err = send(q->ipc.id, &q->v[i]);
	return err;
}

/* ---- one that is there ---- */

static const struct ipc *
nth(const struct process *p, size_t i)
{
	return i < p->nqueues ? &p->queues[i].ipc : NULL;
}

static const struct msgqueue *
wanted(const struct taken_ipc *x)
{
	return (const struct msgqueue *)(const void *)x->want;
}

static int
read_it(struct taken_ipc *x)
{
	struct msgqueue_room room = { MSGQUEUE_MESSAGES, MSGQUEUE_BYTES };

	return msgqueue_read(x->want->id, &x->before.queue, &room);
}

/* Its size is set, as what is in it is. */
static bool
fits(const struct taken_ipc *x)
{
	(void)x;
	return true;
}

static int
is_for(void *arg, pid_t pid, int32_t id)
{
	return id == *(const int32_t *)arg ? pid : 0;
}

static pid_t
user(const struct taken_ipc *x)
{
	const struct msgqueue *q = &x->before.queue;
	int32_t id = q->ipc.id;
	int r;

	if (sysv_other(q->sender, NULL))
		return q->sender;
	if (sysv_other(q->receiver, NULL))
		return q->receiver;
	r = msgqueue_waiters(NULL, is_for, &id);
	return r > 0 ? r : 0;
}

static void
put_back(const struct taken_ipc *x)
{
	const struct msgqueue *q = &x->before.queue;

	if (empty(q->ipc.id) == 0 && set_size(q->ipc.id, room_for(q)) == 0 &&
	    send_all(q) == 0)
		(void)set_size(q->ipc.id, q->qbytes);
}

static void
forget(struct taken_ipc *x)
{
	msgqueue_fini(&x->before.queue);
}

const struct ipc_kind restore_queues = {
	.name = "message queue",
	.unit = "bytes",
	.next_id = "/proc/sys/kernel/msg_next_id",
	.make = get,
	.size = size_of,
	.give = give,
	.remove = remove_it,
	.nth = nth,
	.read = read_it,
	.fits = fits,
	.user = user,
	.put_back = put_back,
	.forget = forget,
};

/* ---- in the new processes ---- */

/* Who does what, as indices. */
struct parts {
	size_t sender, receiver;
	bool mark; /* an empty message goes from the one to the other */
};

static bool
find(const struct restore_tree *t, pid_t pid, size_t *index)
{
	for (size_t i = 0; pid > 0 && i < t->n; i++)
		if (t->v[i].p->pid == pid) {
			*index = i;
			return true;
		}
	return false;
}

static struct parts
parts_of(const struct restore_tree *t, const struct taken_ipc *x)
{
	const struct msgqueue *q = wanted(x);
	struct parts w = { x->owner, x->owner, false };
	bool sent = find(t, q->sender, &w.sender);

	if (find(t, q->receiver, &w.receiver)) {
		w.mark = true;
		if (!sent)
			w.sender = w.receiver;
	} else if (sent && q->n == 0) {
		w.mark = true;
		w.receiver = w.sender;
	}
	return w;
}

static int
begin(struct restore *r, const struct taken_ipc *x, const struct parts *w)
{
	const struct msgqueue *q = wanted(x);
	const struct message mark = { .type = 1 };
	int err = 0;

	if (r->index != w->sender)
		return 0;
	if (!x->created)
		err = empty(q->ipc.id);
	if (err == 0)
		err = set_size(q->ipc.id, room_for(q));
	return err == 0 && w->mark ? send(q->ipc.id, &mark) : err;
}

static int
receive(struct restore *r, const struct taken_ipc *x, const struct parts *w)
{
	struct msgbuf m;

	if (r->index != w->receiver || !w->mark)
		return 0;
	if (msgrcv(x->want->id, &m, 0, 0, IPC_NOWAIT) == 0)
		return 0;
	/* Somebody else was sooner. */
	return errno == ENOMSG || errno == E2BIG ? -EBUSY : -errno;
}

static int
fill(struct restore *r, const struct taken_ipc *x, const struct parts *w)
{
	const struct msgqueue *q = wanted(x);
	int err;

	if (r->index != w->sender)
		return 0;
	err = send_all(q);
	return err == 0 ? set_size(q->ipc.id, q->qbytes) : err;
}

static int
for_each(
    struct restore *r, int (*step)(struct restore *r, const struct taken_ipc *x,
			   const struct parts *w))
{
	const struct restore_tree *t = r->tree;
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->nipc; i++) {
		const struct taken_ipc *x = &t->ipc[i];
		struct parts w;

		if (x->kind != &restore_queues)
			continue;
		w = parts_of(t, x);
		err = step(r, x, &w);
		if (err != 0)
			snap_fail(r->cx, err,
			    QUEUE "%zu messages in %llu bytes: %s", x->want->id,
			    wanted(x)->n, (unsigned long long)wanted(x)->qbytes,
			    strerror(-err));
	}
	return err;
}

int
restore_msgqueues(struct restore *r)
{
	int err;

	err = for_each(r, begin);
	restore_meet(r->tree, MEET_SENT);
	if (err == 0)
		err = for_each(r, receive);
	restore_meet(r->tree, MEET_RECEIVED);
	return err == 0 ? for_each(r, fill) : err;
}
