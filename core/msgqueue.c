#include "msgqueue.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "family.h"
#include "sysv.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#define BUFFER 4096u /* most messages are smaller */

/* ---- one ---- */

void
msgqueue_fini(struct msgqueue *q)
{
	for (size_t i = 0; i < q->n; i++)
		free(q->v[i].bytes);
	free(q->v);
	q->v = NULL;
	q->n = 0;
}

struct msgbuffer {
	struct msgbuf *m;
	size_t size;
};

static int
grow(struct msgbuffer *b, size_t size)
{
	struct msgbuf *m = realloc(b->m, sizeof(long) + size + 1);

	if (m == NULL)
		return -ENOMEM;
	b->m = m;
	b->size = size;
	return 0;
}

/*
 * Message number n stays where it is.  A buffer costs as much as a message of
 * its size, so it is no larger than need be.
 */
static ssize_t
copy(int32_t id, size_t n, struct msgbuffer *b)
{
	ssize_t got;
	int err = b->m == NULL ? grow(b, BUFFER) : 0;

	while (err == 0) {
		got = msgrcv(id, b->m, b->size, (long)n, MSG_COPY | IPC_NOWAIT);
		if (got >= 0)
			return got;
		if (errno == EINVAL) /* msgmax is less than it was */
			return -E2BIG;
		if (errno == ENOMSG)
			return -EAGAIN;
		if (errno != E2BIG)
			return -errno;
		err = b->size >= MSGQUEUE_BYTES ? -E2BIG : grow(b, 2 * b->size);
	}
	return err;
}

static int
read_message(struct msgqueue *q, struct msgbuffer *b, size_t n,
    struct msgqueue_room *room)
{
	ssize_t size = copy(q->ipc.id, n, b);
	struct message *m;

	if (size < 0)
		return (int)size;
	if (room->messages == 0 || (size_t)size > room->bytes)
		return -E2BIG;
	m = process_grow(&q->v, &q->n, sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	m->bytes = malloc((size_t)size + 1);
	if (m->bytes == NULL)
		return -ENOMEM;
	memcpy(m->bytes, b->m->mtext, (size_t)size);
	m->type = b->m->mtype;
	m->size = (size_t)size;
	q->bytes += (size_t)size;
	room->messages--;
	room->bytes -= (size_t)size;
	return 0;
}

int
msgqueue_read(int32_t id, struct msgqueue *q, struct msgqueue_room *room)
{
	struct msgbuffer b = { 0 };
	struct msqid_ds ds, now;
	int err = 0;

	*q = (struct msgqueue){ .ipc.id = id };
	if (msgctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	q->ipc = sysv_object(id, &ds.msg_perm);
	q->qbytes = ds.msg_qbytes;
	q->sender = ds.msg_lspid;
	q->receiver = ds.msg_lrpid;
	if (ds.msg_qnum > room->messages || ds.__msg_cbytes > room->bytes)
		return -E2BIG;
	for (size_t i = 0; err == 0 && i < ds.msg_qnum; i++)
		err = read_message(q, &b, i, room);
	if (err == 0 && msgctl(id, IPC_STAT, &now) < 0)
		err = -errno;
	if (err == 0 &&
	    (now.msg_lspid != ds.msg_lspid || now.msg_lrpid != ds.msg_lrpid ||
		now.msg_qnum != ds.msg_qnum ||
		now.__msg_cbytes != ds.__msg_cbytes))
		err = -EAGAIN;
	free(b.m);
	if (err != 0)
		msgqueue_fini(q);
	return err;
}

/* ---- who waits ---- */

static bool
waits(pid_t pid, pid_t tid, int32_t *id)
{
	char path[64], text[256];
	unsigned long long first;
	ssize_t n;
	long nr;
	int fd;

	snprintf(
	    path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* One that runs has a word there. */
	if (sscanf(text, "%ld %llx", &nr, &first) != 2 ||
	    (nr != SYS_msgrcv && nr != SYS_msgsnd) || first > INT32_MAX)
		return false;
	*id = (int32_t)first;
	return true;
}

static pid_t
next_number(DIR *dir)
{
	struct dirent *d;

	while ((d = readdir(dir)) != NULL)
		if (atoi(d->d_name) > 0)
			return (pid_t)atoi(d->d_name);
	return 0;
}

static int
look_into(pid_t pid, int (*found)(void *arg, pid_t pid, int32_t id), void *arg)
{
	char path[64];
	pid_t tid;
	int32_t id;
	int r = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir != NULL && r == 0 && (tid = next_number(dir)) > 0)
		if (waits(pid, tid, &id) && sysv_same_namespace(pid))
			r = found(arg, pid, id);
	if (dir != NULL)
		closedir(dir);
	return r;
}

int
msgqueue_waiters(const struct family *t,
    int (*found)(void *arg, pid_t pid, int32_t id), void *arg)
{
	DIR *dir = opendir("/proc");
	pid_t pid;
	int r = 0;

	if (dir == NULL)
		return -errno;
	while (r == 0 && (pid = next_number(dir)) > 0)
		if (t == NULL || family_find(t, pid) == NULL)
			r = look_into(pid, found, arg);
	closedir(dir);
	return r;
}
