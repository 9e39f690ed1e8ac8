/*
 * tree_shared - a process and its child, with all that two can share: pipes
 * with unread bytes, a file's offset, an eventfd, shared memory with and
 * without a name, an epoll, a pair of sockets.
 *
 * phases: survive twice
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "subject.h"

/* As waitpid(2), but for what SIGCHLD interrupts. */
static pid_t
await(pid_t pid, int *st, int flags)
{
	pid_t got;

	do
		got = waitpid(pid, st, flags);
	while (got < 0 && errno == EINTR);
	return got;
}

#define PAGE 4096

static int to_child[2], to_parent[2], file, event, memfd, epoll, pair[2];
static char *anon, *named, *deleted;

static void
set_up(void)
{
	int fd;

	must(pipe(to_child) == 0 && pipe(to_parent) == 0);
	file = open(subject_file("file", 1000, 1), O_RDWR);
	must(file >= 0 && lseek(file, 100, SEEK_SET) == 100);
	event = eventfd(5, EFD_SEMAPHORE);
	memfd = memfd_create("both", 0);
	must(event >= 0 && memfd >= 0 && ftruncate(memfd, PAGE) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	epoll = epoll_create1(0);
	must(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, to_parent[0],
			       &(struct epoll_event){
				   .events = EPOLLIN, .data.u64 = 77 }) == 0);
	anon = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	named = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	fd = open(subject_file("gone", PAGE, 3), O_RDWR);
	must(fd >= 0 && unlink(subject_path("gone")) == 0);
	deleted = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(anon != MAP_FAILED && named != MAP_FAILED &&
	     deleted != MAP_FAILED && close(fd) == 0);
	subject_fill(anon + PAGE, PAGE, 2);
}

/* One letter is asked, and answered with what it came to. */
static int
answer(char what)
{
	char buf[10];
	uint64_t n = 0;

	switch (what) {
	case 'o': /* the offset moves for both */
		return read(file, buf, sizeof(buf)) == sizeof(buf)
			   ? (int)lseek(file, 0, SEEK_CUR)
			   : -1;
	case 'm':
		anon[0]++;
		named[1]++;
		deleted[2]++;
		return anon[0] == named[1];
	case 'e':
		return read(event, &n, sizeof(n)) == sizeof(n) ? (int)n : -1;
	case 's':
		return send(pair[1], "packet", 6, 0) == 6;
	case 'p':
		return (int)getppid();
	}
	return -2;
}

static void
child(void)
{
	char what;
	int n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(to_child[1]);
	close(to_parent[0]);
	/* What the parent reads only when it is told to check. */
	n = 1000;
	must(write(to_parent[1], &n, sizeof(n)) == sizeof(n));
	while (read(to_child[0], &what, 1) == 1) {
		n = answer(what);
		if (write(to_parent[1], &n, sizeof(n)) != sizeof(n))
			_exit(1);
	}
	_exit(42);
}

static int
ask(char what)
{
	int n = -3;

	if (write(to_child[1], &what, 1) != 1 ||
	    read(to_parent[0], &n, sizeof(n)) != sizeof(n))
		return -4;
	return n;
}

static void
check(void)
{
	struct epoll_event ev = { 0 };
	char buf[10];
	int n = 0;

	expect(epoll_wait(epoll, &ev, 1, 0) == 1 && ev.data.u64 == 77,
	    "the epoll does not see the pipe");
	expect(read(to_parent[0], &n, sizeof(n)) == sizeof(n) && n == 1000,
	    "what was in the pipe: %d", n);
	expect((n = ask('p')) == (int)getpid(), "its parent is %d", n);
	expect((n = ask('o')) == 110, "offset %d", n);
	expect(lseek(file, 0, SEEK_CUR) == 110, "the offset is not shared");
	expect(
	    read(file, buf, 10) == 10 && (n = ask('o')) == 130, "offset %d", n);
	expect((n = ask('e')) == 1, "eventfd: %d", n);
	expect(lseek(memfd, 0, SEEK_END) == PAGE, "the memfd's size");
	anon[0] = named[1] = deleted[2] = 7;
	expect(
	    ask('m') == 1 && anon[0] == 8 && named[1] == 8 && deleted[2] == 8,
	    "memory is not shared: %d %d %d", anon[0], named[1], deleted[2]);
	expect(pread(memfd, buf, 2, 0) == 2 && buf[1] == 8,
	    "the memfd is not what is mapped");
	subject_filled("shared", anon + PAGE, PAGE, 2);
	expect(ask('s') == 1 && recv(pair[0], buf, 10, 0) == 6,
	    "the pair of sockets");
}

int
main(int argc, char **argv)
{
	int st;
	pid_t pid;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS | SUBJECT_FDS | SUBJECT_SIGNALS);
	set_up();
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		child();
	close(to_child[0]);
	close(to_parent[1]);

	subject_wait();

	subject_forget();
	check();
	/* It sees the end of its pipe only if nobody else has it. */
	close(to_child[1]);
	expect(await(pid, &st, 0) == pid, "it is not our child");
	expect(WIFEXITED(st) && WEXITSTATUS(st) == 42, "its status %#x", st);
	return subject_done();
}
