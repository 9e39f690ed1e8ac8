/*
 * fd_signalfd - a signalfd, its mask, a signal that waits in it, and an epoll
 * that watches it.
 */
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	struct epoll_event ev = { EPOLLIN, { .u64 = 4321 } };
	struct signalfd_siginfo si;
	sigset_t set;
	int fd, ep;

	subject_init(argc, argv);
	subject_allow(SUBJECT_STATUS);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 5);
	sigprocmask(SIG_BLOCK, &set, NULL);
	must((fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) >= 0);
	must((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	must(sigqueue(getpid(), SIGRTMIN + 5,
		 (union sigval){ .sival_int = 99 }) == 0);

	subject_wait();

	expect(read(fd, &si, sizeof(si)) == sizeof(si) &&
		   (int)si.ssi_signo == SIGRTMIN + 5 && si.ssi_int == 99,
	    "the signal that waited");
	expect(epoll_wait(ep, &ev, 1, 0) == 0, "nothing waits any more");
	must(kill(getpid(), SIGUSR1) == 0);
	expect(epoll_wait(ep, &ev, 1, 0) == 1 && ev.data.u64 == 4321,
	    "the epoll does not see the signal");
	expect(
	    read(fd, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGUSR1,
	    "a new signal");
	expect(read(fd, &si, sizeof(si)) == -1 && errno == EAGAIN, "the end");
	return subject_done();
}
