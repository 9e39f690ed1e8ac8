/*
 * res_epoll.h - what an epoll watches that no other process can add to it: a
 * signalfd is watched for the signals of whoever adds it.
 */
#ifndef RES_EPOLL_H
#define RES_EPOLL_H

#include <sys/epoll.h>

#include "process.h"

struct epoll_own {
	int epfd, fd;
	struct epoll_event ev; /* for epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) */
};

/* Their number, or -ENOMEM; *v is to be freed. */
ssize_t epoll_own(const struct process *p, struct epoll_own **v);

#endif
