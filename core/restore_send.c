#include "restore_send.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "restorer/restorer.h"

int
restore_send_fds(
    int sock, const void *body, size_t len, const int *fds, size_t n, int flags)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(FDS_BATCH * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)body, len };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	ssize_t r;

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(&control.head), fds, n * sizeof(int));
	do
		r = sendmsg(sock, &m, MSG_NOSIGNAL | flags);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}
