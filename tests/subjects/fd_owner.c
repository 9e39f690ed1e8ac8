/*
 * fd_owner - who gets a descriptor's signals, and which.
 */
#include <fcntl.h>

#include "subject.h"

static volatile sig_atomic_t got_fd;

static void
handler(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	got_fd = info->si_fd;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_RESTART };
	struct f_owner_ex owner = { F_OWNER_PID, 0 };
	int p[2];

	subject_init(argc, argv);
	must(sigaction(SIGRTMIN, &sa, NULL) == 0);
	must(pipe(p) == 0);
	must(fcntl(p[0], F_SETOWN, getpid()) == 0);
	must(fcntl(p[0], F_SETSIG, SIGRTMIN) == 0);
	must(fcntl(p[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);

	subject_wait();

	must(fcntl(p[0], F_GETOWN_EX, &owner) == 0);
	expect(owner.type == F_OWNER_PID && owner.pid == getpid(),
	    "the owner is %d", owner.pid);
	expect(fcntl(p[0], F_GETSIG) == SIGRTMIN, "the signal is %d",
	    fcntl(p[0], F_GETSIG));
	expect(fcntl(p[0], F_GETFL) & O_ASYNC, "O_ASYNC is gone");
	must(write(p[1], "x", 1) == 1);
	expect(got_fd == p[0], "no signal came for it");
	return subject_done();
}
