/*
 * fd_signalfd - a signalfd, its mask, and a signal that waits in it.
 */
#include <sys/signalfd.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	struct signalfd_siginfo si;
	sigset_t set;
	int fd;

	subject_init(argc, argv);
	subject_allow(SUBJECT_STATUS);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 5);
	sigprocmask(SIG_BLOCK, &set, NULL);
	must((fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) >= 0);
	must(sigqueue(getpid(), SIGRTMIN + 5,
		 (union sigval){ .sival_int = 99 }) == 0);

	subject_wait();

	expect(read(fd, &si, sizeof(si)) == sizeof(si) &&
		   (int)si.ssi_signo == SIGRTMIN + 5 && si.ssi_int == 99,
	    "the signal that waited");
	must(kill(getpid(), SIGUSR1) == 0);
	expect(
	    read(fd, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGUSR1,
	    "a new signal");
	expect(read(fd, &si, sizeof(si)) == -1 && errno == EAGAIN, "the end");
	return subject_done();
}
