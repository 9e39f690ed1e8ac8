/*
 * gather_msgqueues.c - which System V message queues only the tree uses.
 *
 * A queue belongs to no process.  Its users are who sent and who received last,
 * and who waits in it: of the tree that is known from the calls that the freeze
 * has interrupted; of others it is looked for when the tree goes on.
 *
 * Messages are read where they are, each by its number, for which the kernel
 * counts from the first: so there is a bound to how many are read, and of all of
 * the tree together.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "ctx.h"
#include "gather.h"
#include "gather_ipc.h"
#include "msgqueue.h"
#include "sysv.h"

static int
leave_out(struct process *p, int32_t id, const char *why)
{
	char what[32];

	snprintf(what, sizeof(what), "queue %d", id);
	return process_unsupported(p, what,
	    "%s: this message queue is no part of the checkpoint, and is found "
	    "as it is by then",
	    why);
}

static const char *
reason(int err)
{
	switch (err) {
	case -EACCES:
		return "whoever reads this may not read it";
	case -E2BIG:
		return "there are too many messages, or too large ones, in it";
	case -ENOSYS:
		return "this kernel shows no messages (without "
		       "CONFIG_CHECKPOINT_RESTORE)";
	case -EAGAIN:
		return "a process outside uses it, too";
	default:
		return strerror(-err);
	}
}

/* Takes over what is in q. */
static int
keep(struct process *p, struct msgqueue *q)
{
	struct msgqueue *slot =
	    process_grow(&p->queues, &p->nqueues, sizeof(*slot));

	if (slot == NULL) {
		msgqueue_fini(q);
		return -ENOMEM;
	}
	*slot = *q;
	return 0;
}

static int
read_queue(struct ipc_look *l, struct process *first, int32_t id,
    struct msgqueue_room *room)
{
	struct msgqueue q;
	struct process *p;
	int err = msgqueue_read(id, &q, room);

	if (err == -EINVAL || err == -EIDRM)
		return 0;
	if (err == -ENOMEM)
		return err;
	if (err < 0)
		return leave_out(first, id, reason(err));
	p = ipc_look_reader(l, &q.ipc);
	if (p != NULL)
		return keep(p, &q);
	msgqueue_fini(&q);
	return leave_out(first, id, "it may not be read by who uses it");
}

/* A line of /proc/sysvipc/msg. */
static int
collect(struct ipc_look *l, const char *line, struct msgqueue_room *room)
{
	int32_t id;
	int sender, receiver;
	size_t first;
	pid_t other;
	char why[64];

	/* key id mode bytes messages lspid lrpid */
	if (sscanf(line, "%*d %" SCNd32 " %*o %*u %*u %d %d", &id, &sender,
		&receiver) != 3)
		return 0;
	ipc_look_at(l, id);
	ipc_look_used(l, sender);
	ipc_look_used(l, receiver);
	first = ipc_look_first(l);
	if (first == l->t->n)
		return 0;
	other = sysv_other(sender, l->t)     ? sender
		: sysv_other(receiver, l->t) ? receiver
					     : 0;
	if (other == 0)
		return read_queue(l, l->t->v[first], id, room);
	snprintf(why, sizeof(why), "process %d uses it, too", (int)other);
	return leave_out(l->t->v[first], id, why);
}

static int
collect_all(struct ipc_look *l, const char *lines)
{
	struct msgqueue_room room = { MSGQUEUE_MESSAGES, MSGQUEUE_BYTES };
	int err = 0;

	for (; err == 0 && lines != NULL; lines = strchr(lines + 1, '\n'))
		err = collect(l, lines + 1, &room);
	for (size_t i = 0; i < l->t->n; i++)
		if (l->t->v[i]->nqueues > 0)
			qsort(l->t->v[i]->queues, l->t->v[i]->nqueues,
			    sizeof(struct msgqueue), sysv_by_id);
	return err;
}

int
gather_msgqueues(struct snap_ctx *cx, struct frozen_tree *ft, struct family *t)
{
	static const struct ipc_look_kind queues = { "msg",
		"message queues read", { SYS_msgrcv, SYS_msgsnd },
		collect_all };

	return ipc_look(cx, ft, t, &queues);
}

/* ---- when they go on ---- */

static int
leave_out_waited(void *arg, pid_t pid, int32_t id)
{
	const struct family *t = arg;
	const struct msgqueue key = { .ipc.id = id };
	char why[64];

	for (size_t i = 0; i < t->n; i++) {
		struct process *p = t->v[i];
		struct msgqueue *q = p->nqueues == 0
					 ? NULL
					 : bsearch(&key, p->queues, p->nqueues,
					       sizeof(key), sysv_by_id);

		if (q == NULL)
			continue;
		msgqueue_fini(q);
		memmove(q, q + 1,
		    (size_t)(p->queues + p->nqueues - (q + 1)) * sizeof(*q));
		p->nqueues--;
		snprintf(why, sizeof(why), "process %d waits for it", (int)pid);
		return leave_out(p, id, why);
	}
	return 0;
}

int
gather_msgqueues_waited(struct snap_ctx *cx, struct family *t)
{
	size_t n = 0;
	int err;

	for (size_t i = 0; i < t->n; i++)
		n += t->v[i]->nqueues;
	if (n == 0)
		return 0;
	err = msgqueue_waiters(t, leave_out_waited, t);
	return err == 0 ? 0
			: snap_fail(cx, err,
			      "looking for who waits for messages: %s",
			      strerror(-err));
}
