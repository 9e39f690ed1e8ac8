/*
 * tree_creds - who made a socket (SO_PEERCRED), and pidfds, in a tree: of a
 * child, of the parent, of one that has ended and one that was waited for.
 *
 * phases: survive twice
 */
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "subject.h"

static int pair[2], server, client, listener;
static pid_t child, parent;
static int of_child, of_parent, of_zombie, of_reaped;

static pid_t
maker(int fd)
{
	struct ucred c = { 0 };
	socklen_t len = sizeof(c);

	must(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0);
	expect(c.uid == geteuid() && c.gid == getegid(), "uid %u, gid %u",
	    c.uid, c.gid);
	return c.pid;
}

static void
send_fd(int to, int fd)
{
	struct iovec iov = { "x", 1 };
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int))];
	} c = { 0 };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c) };

	c.h.cmsg_len = CMSG_LEN(sizeof(int));
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	must(sendmsg(to, &m, 0) == 1);
}

static int
get_fd(int from)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr h;
		char b[CMSG_SPACE(sizeof(int))];
	} c = { 0 };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c) };
	int fd;

	must(recvmsg(from, &m, 0) == 1);
	must(CMSG_FIRSTHDR(&m) != NULL);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static socklen_t
name(struct sockaddr_un *u)
{
	memset(u, 0, sizeof(*u));
	u->sun_family = AF_UNIX;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			   (size_t)sprintf(u->sun_path + 1,
			       "snapfs-test-creds-%d", (int)parent) +
			   1);
}

/* It makes a pair and a client; then it answers whether all is as it was. */
static void
be_child(int ctl)
{
	struct sockaddr_un u;
	socklen_t len = name(&u);
	int v[2], mine = (int)syscall(SYS_pidfd_open, getpid(), 0);
	bool ok;
	char c;

	must(mine >= 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, v) == 0);
	must((client = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	must(connect(client, (const void *)&u, len) == 0);
	send_fd(ctl, v[0]);
	send_fd(ctl, v[1]);
	send_fd(ctl, client);
	must(read(ctl, &c, 1) == 1);
	ok = maker(v[0]) == getpid() && maker(v[1]) == getpid() &&
	     maker(client) == parent &&
	     syscall(SYS_pidfd_send_signal, mine, 0, NULL, 0) == 0 &&
	     syscall(SYS_pidfd_send_signal, of_parent, 0, NULL, 0) == 0 &&
	     getppid() == parent;
	must(write(ctl, ok ? "y" : "n", 1) == 1);
	/* Until it is killed by its pidfd. */
	for (;;)
		pause();
}

static void
set_up(int ctl[2])
{
	struct sockaddr_un u;
	socklen_t len = name(&u);
	siginfo_t si;
	pid_t p;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ctl) == 0);
	must((listener = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	must(bind(listener, (const void *)&u, len) == 0);
	must(listen(listener, 5) == 0);
	must((of_parent = (int)syscall(SYS_pidfd_open, parent, 0)) >= 0);
	must((child = fork()) >= 0);
	if (child == 0)
		be_child(ctl[1]);
	pair[0] = get_fd(ctl[0]);
	pair[1] = get_fd(ctl[0]);
	client = get_fd(ctl[0]);
	must((server = accept(listener, NULL, NULL)) >= 0);
	must((of_child = (int)syscall(SYS_pidfd_open, child, 0)) >= 0);
	for (int i = 0; i < 2; i++) {
		must((p = fork()) >= 0);
		if (p == 0)
			_exit(3);
		must(waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT) == 0);
		must((*(i == 0 ? &of_zombie : &of_reaped) =
			     (int)syscall(SYS_pidfd_open, p, 0)) >= 0);
		if (i == 1)
			must(waitpid(p, NULL, 0) == p);
	}
}

static bool
is_ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void
check_pidfds(void)
{
	siginfo_t si = { 0 };

	expect(!is_ready(of_child), "the child has ended");
	expect(is_ready(of_zombie), "the zombie has not ended");
	expect(is_ready(of_reaped), "what was waited for has not ended");
	expect(syscall(SYS_pidfd_send_signal, of_parent, 0, NULL, 0) == 0,
	    "its own: %s", strerror(errno));
	expect(syscall(SYS_pidfd_send_signal, of_reaped, 0, NULL, 0) == -1 &&
		   errno == ESRCH,
	    "what was waited for is there");
	expect(waitid(P_PIDFD, (id_t)of_zombie, &si, WEXITED) == 0 &&
		   si.si_status == 3,
	    "the zombie: status %d, %s", si.si_status, strerror(errno));
	expect(syscall(SYS_pidfd_send_signal, of_child, SIGKILL, NULL, 0) == 0,
	    "killing the child: %s", strerror(errno));
	expect(waitid(P_PIDFD, (id_t)of_child, &si, WEXITED) == 0 &&
		   si.si_pid == child && si.si_status == SIGKILL,
	    "the child: pid %d, status %d", (int)si.si_pid, si.si_status);
}

int
main(int argc, char **argv)
{
	int ctl[2];
	char c = '?';

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	parent = getpid();
	set_up(ctl);

	subject_wait();

	must(write(ctl[0], "?", 1) == 1);
	must(read(ctl[0], &c, 1) == 1);
	expect(c == 'y', "the child finds something else");
	expect(maker(pair[0]) == child && maker(pair[1]) == child,
	    "the pair was made by %d and %d, not %d", (int)maker(pair[0]),
	    (int)maker(pair[1]), (int)child);
	expect(maker(server) == child, "the client was %d, not %d",
	    (int)maker(server), (int)child);
	expect(maker(client) == parent, "the server was %d, not %d",
	    (int)maker(client), (int)parent);
	expect(maker(listener) == parent, "the listening one was %d's, not %d",
	    (int)maker(listener), (int)parent);
	check_pidfds();
	subject_forget();
	return subject_done();
}
