#include "run_send.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(RUN_FDS * sizeof(int))];
};

int
run_send(int sock, const void *body, size_t len, const int *fds, size_t n)
{
	union control c = { 0 };
	struct iovec iov = { (void *)(uintptr_t)body, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (n > 0) {
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c.head.cmsg_level = SOL_SOCKET;
		c.head.cmsg_type = SCM_RIGHTS;
		c.head.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&c.head), fds, n * sizeof(int));
	}
	do
		r = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* Those for whom there is no room are closed. */
static void
take(const struct cmsghdr *c, int *fds, size_t n)
{
	size_t got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int fd;

	for (size_t i = 0; i < got; i++) {
		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		if (i < n)
			fds[i] = fd;
		else
			close(fd);
	}
}

ssize_t
run_receive(int sock, void *body, size_t len, int *fds, size_t n)
{
	union control c;
	struct iovec iov = { body, len };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c) };
	struct cmsghdr *h;
	ssize_t r;

	for (size_t i = 0; i < n; i++)
		fds[i] = -1;
	do
		r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	h = CMSG_FIRSTHDR(&m);
	if (h != NULL && h->cmsg_level == SOL_SOCKET &&
	    h->cmsg_type == SCM_RIGHTS && h->cmsg_len >= CMSG_LEN(0))
		take(h, fds, n);
	return r;
}
