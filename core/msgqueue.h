/*
 * msgqueue.h - System V message queues, as the kernel tells of them.
 */
#ifndef MSGQUEUE_H
#define MSGQUEUE_H

#include "process.h"

/* How much is read of all queues of a tree, and may be in one of an image. */
#define MSGQUEUE_MESSAGES 4096u
#define MSGQUEUE_BYTES (4u << 20)

/* What may be read still. */
struct msgqueue_room {
	size_t messages, bytes;
};

/*
 * All of the queue with this id, and the messages that wait in it, which stay
 * there; *q is the caller's, for msgqueue_fini().  -EINVAL, -EIDRM: there is none;
 * -EACCES: we may not read it; -E2BIG: there is no room, or a message is larger
 * than any may be by now; -ENOSYS: the kernel shows no messages; -EAGAIN: it was
 * used meanwhile.
 */
int msgqueue_read(int32_t id, struct msgqueue *q, struct msgqueue_room *room);
void msgqueue_fini(struct msgqueue *q);

/*
 * Who has used one is known, and not who waits for one.  Look for threads that do,
 * and are not of the tree (NULL: none is), up to the first answer that is not 0.
 * Those that we may not trace are not seen.
 */
int msgqueue_waiters(const struct family *t,
    int (*found)(void *arg, pid_t pid, int32_t id), void *arg);

#endif
