#include "spare.h"

#include "procinfo.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define PROCESS_BYTES (64u << 10) /* what the kernel has of any */

uint64_t
spare_cost(uint64_t image_bytes)
{
	return image_bytes / PAGE * sizeof(uint64_t) + PROCESS_BYTES;
}

void
spare_order(struct spare *s, const struct snap_template *t, uint64_t bytes)
{
	int sock;

	if (s->sock > 0)
		return;
	sock = snap_template_spare(t->control);
	if (sock > 0)
		*s = (struct spare){ .sock = sock, .bytes = bytes };
}

bool
spare_is_deaf(const struct spare *s, int proc)
{
	return s->pid > 0 && procinfo_is_stopped(proc, s->pid);
}

struct spare
spare_take(struct spare *s)
{
	struct spare taken = *s;

	*s = (struct spare){ 0 };
	return taken;
}

void
spare_forget(struct spare *s)
{
	if (s->pidfd > 0)
		close(s->pidfd);
	if (s->sock > 0)
		close(s->sock);
	*s = (struct spare){ 0 };
}

/* It ends when it sees its socket closed; but it may be stopped. */
void
spare_end(struct spare *s)
{
	if (s->pidfd > 0)
		pidfd_send_signal(s->pidfd, SIGKILL, NULL, 0);
	spare_forget(s);
}

/*
 * The pid of whoever sent the message, as the kernel says: 0: nothing was sent;
 * -1: it is at its end.  There is no room for descriptors.
 */
static pid_t
receive_pid(int sock)
{
	char byte;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} c;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c) };
	struct ucred cred;
	ssize_t n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0 || m.msg_controllen < CMSG_LEN(sizeof(cred)) ||
	    c.head.cmsg_level != SOL_SOCKET ||
	    c.head.cmsg_type != SCM_CREDENTIALS)
		return -1;
	memcpy(&cred, CMSG_DATA(&c.head), sizeof(cred));
	return cred.pid > 0 ? cred.pid : -1;
}

static bool
is_of(int proc, pid_t pid, uid_t uid)
{
	struct stat st;
	char dir[16];

	snprintf(dir, sizeof(dir), "%d", (int)pid);
	return fstatat(proc, dir, &st, 0) == 0 && st.st_uid == uid;
}

/* Nobody has the other end. */
static bool
has_ended(int sock)
{
	struct pollfd p = { .fd = sock };

	return poll(&p, 1, 0) == 1;
}

/* It is killed by a signal of ours, so it must be what it says that it is. */
static bool
learn(struct spare *s, int proc, uid_t uid)
{
	pid_t pid = receive_pid(s->sock);
	int pidfd;

	if (pid <= 0)
		return pid == 0;
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		return false;
	if (!is_of(proc, pid, uid) || has_ended(s->sock)) {
		close(pidfd);
		return false;
	}
	s->pid = pid;
	s->pidfd = pidfd;
	return true;
}

bool
spare_look(struct spare *s, int proc, uid_t uid)
{
	bool is;

	if (s->sock <= 0)
		return false;
	is = s->pid == 0 ? learn(s, proc, uid) : !has_ended(s->sock);
	if (!is)
		spare_end(s);
	return is;
}
