/*
 * tree_pidfds - pidfds of a child, of a zombie, of a grandchild, of oneself and
 * of one's parent, and one of the parent's own that a child has inherited.
 *
 * phases: survive twice
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "subject.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static struct shared {
	pid_t child, below;
	uint32_t ask;
	int own, parents, told, signals;
} * s;

static int self_fd, child_fd, zombie_fd, below_fd, epoll;
static pid_t zombie;

static int
open_pid(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int
send_by(int fd, int signo)
{
	return (int)syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0);
}

static int
pid_of(int fd)
{
	char path[64], line[128];
	FILE *file;
	int pid = -2;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "Pid:", 4) == 0)
			pid = atoi(line + 4);
	if (file != NULL)
		fclose(file);
	return pid;
}

static void
await(const void *what)
{
	while (__atomic_load_n((const uint32_t *)what, __ATOMIC_ACQUIRE) == 0)
		usleep(1000);
}

static void
on_signal(int signo)
{
	(void)signo;
	s->signals++;
}

static void
below(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	__atomic_store_n(&s->below, getpid(), __ATOMIC_RELEASE);
	for (;;)
		pause();
}

/* It has its parent's pidfd of itself, and one that it opened. */
static void
child(void)
{
	int fd = open_pid(getppid());

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGUSR1, on_signal);
	if (fork() == 0)
		below();
	await(&s->below);
	__atomic_store_n(&s->child, getpid(), __ATOMIC_RELEASE);
	await(&s->ask);
	s->own = pid_of(self_fd);
	s->parents = pid_of(fd);
	s->told = send_by(fd, 0);
	_exit(6);
}

static void
set_up(void)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 5 };
	pid_t pid;

	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(s != MAP_FAILED);
	self_fd = open_pid(getpid());
	if (self_fd < 0 && errno == ENOSYS)
		subject_skip("the kernel has no pidfds");
	must(self_fd >= 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		child();
	zombie = fork();
	must(zombie >= 0);
	if (zombie == 0)
		_exit(7);
	await(&s->child);
	child_fd = open_pid(s->child);
	zombie_fd = open_pid(zombie);
	below_fd = open_pid(s->below);
	epoll = epoll_create1(0);
	must(child_fd >= 0 && zombie_fd >= 0 && below_fd >= 0 && epoll >= 0);
	must(epoll_ctl(epoll, EPOLL_CTL_ADD, child_fd, &ev) == 0);
	must(poll(&(struct pollfd){ zombie_fd, POLLIN, 0 }, 1, 20000) == 1);
}

static void
check_numbers(void)
{
	expect(pid_of(self_fd) == getpid(), "our own: %d", pid_of(self_fd));
	expect(pid_of(child_fd) == s->child, "the child: %d", pid_of(child_fd));
	expect(pid_of(below_fd) == s->below, "the grandchild: %d",
	    pid_of(below_fd));
	expect(
	    pid_of(zombie_fd) == zombie, "the zombie: %d", pid_of(zombie_fd));
}

static void
check(void)
{
	struct pollfd p = { child_fd, POLLIN, 0 };
	struct epoll_event ev = { 0 };
	siginfo_t si = { 0 };

	expect(poll(&p, 1, 0) == 0, "the child has ended");
	expect(
	    send_by(child_fd, SIGUSR1) == 0, "a signal: %s", strerror(errno));
	for (int i = 0; i < 2000 && s->signals == 0; i++)
		usleep(5000);
	expect(s->signals == 1, "it did not come");
	expect(waitid(P_PIDFD, (id_t)zombie_fd, &si, WEXITED | WNOHANG) == 0 &&
		   si.si_pid == zombie && si.si_status == 7,
	    "the zombie: %d, %d", (int)si.si_pid, si.si_status);
	__atomic_store_n(&s->ask, 1, __ATOMIC_RELEASE);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	expect(epoll_wait(epoll, &ev, 1, 0) == 1 && ev.data.u64 == 5,
	    "the epoll does not see it");
	expect(s->own == getpid() && s->parents == getpid() && s->told == 0,
	    "what the child had: %d, %d, %d", s->own, s->parents, s->told);
	si.si_pid = 0;
	expect(waitid(P_PIDFD, (id_t)child_fd, &si, WEXITED | WNOHANG) == 0 &&
		   si.si_pid == s->child && si.si_status == 6,
	    "the child: %d, %d", (int)si.si_pid, si.si_status);
}

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS | SUBJECT_FDS | SUBJECT_MAPS);
	signal(SIGCHLD, SIG_DFL);
	set_up();

	subject_wait();

	subject_forget();
	check_numbers();
	check();
	return subject_done();
}
