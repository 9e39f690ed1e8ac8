/*
 * check_sockets.c - sockets: what an image may say of them, the way round, and
 * what is refused because it belongs to another process.
 */
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "roundtrip.h"
#include "sock_guard.h"
#include "sock_name.h"
#include "sock_queue.h"
#include "unit.h"

/* ---- names ---- */

static const struct {
	const char *text;
	bool good;
} names[] = {
	{ "path:/run/a.sock", true },
	{ "path:/with%20space", true },
	{ "path:relative", true },
	{ "path:", false },
	{ "path:/a%00b", false },
	{ "path:/a%2", false },
	{ "path:/a%zz", false },
	{ "abstract:x%00y", true },
	{ "abstract:", true },
	{ "inet:127.0.0.1:80", true },
	{ "inet:127.0.0.1:65536", false },
	{ "inet:127.0.0:80", false },
	{ "inet:127.0.0.1", false },
	{ "inet6:[::1]:80", true },
	{ "inet6:[fe80::1]:80%2", true },
	{ "inet6:::1:80", false },
	{ "inet6:[::1]80", false },
	{ "ether:1", false },
};

START_TEST(names_of)
{
	char out[SOCK_NAME_MAX];
	struct sockaddr_storage a;
	socklen_t len = 0;

	ck_assert_int_eq(
	    sock_name_parse(names[_i].text, &a, &len), names[_i].good);
	if (!names[_i].good)
		return;
	sock_name_format(out, &a, len);
	ck_assert_str_eq(out, names[_i].text);
}
END_TEST

START_TEST(longest_name)
{
	char text[SOCK_NAME_MAX] = "path:", out[SOCK_NAME_MAX];
	struct sockaddr_storage a;
	socklen_t len = 0;

	memset(text + 5, 'x', 108);
	ck_assert(sock_name_parse(text, &a, &len));
	ck_assert_uint_eq(len, sizeof(struct sockaddr_un));
	sock_name_format(out, &a, len);
	ck_assert_str_eq(out, text);
	text[113] = 'x';
	ck_assert(!sock_name_parse(text, &a, &len));
}
END_TEST

/* ---- of the UNIX domain ---- */

static struct sockaddr_un
in(const char *name)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };

	strcpy(u.sun_path, in_dir(name));
	return u;
}

static void
filter_prepare(void)
{
	struct sock_filter all = { BPF_RET | BPF_K, 0, 0, UINT32_MAX };
	struct sock_fprog prog = { 1, &all };
	int on = 1, v[2];

	at(socket(AF_UNIX, SOCK_DGRAM, 0), 9);
	OK(setsockopt(9, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ==
	    0);
	OK(setsockopt(9, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)) == 0);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, v) == 0);
	OK(write(v[1], "x", 1) == 1);
	close(v[1]);
	at(v[0], 10);
}

static void
filter_verify(void)
{
	struct sock_filter f = { 0 };
	socklen_t n = 1;
	int off = 0;
	char c;

	OK(getsockopt(9, SOL_SOCKET, SO_GET_FILTER, &f, &n) == 0 && n == 1);
	OK(f.code == (BPF_RET | BPF_K) && f.k == UINT32_MAX);
	OK(setsockopt(9, SOL_SOCKET, SO_DETACH_FILTER, &off, 4) != 0);
	OK(read(10, &c, 1) == 1 && c == 'x' && read(10, &c, 1) == 0);
}

START_TEST(filters)
{
	round_trip(filter_prepare, filter_verify);
}
END_TEST

static void
path_prepare(void)
{
	struct sockaddr_un u = in("l");

	at(socket(AF_UNIX, SOCK_STREAM, 0), 5);
	OK(bind(5, (void *)&u, sizeof(u)) == 0 && listen(5, 3) == 0);
}

static void
path_verify(void)
{
	struct sockaddr_un u = in("l");

	at(socket(AF_UNIX, SOCK_STREAM, 0), 6);
	OK(connect(6, (void *)&u, sizeof(u)) == 0);
}

/* A path that somebody has, that is no socket's, whose directory is gone. */
START_TEST(paths)
{
	struct sockaddr_un u = in("l");
	struct process *p = collect(path_prepare);
	int fd;

	ck_assert_int_eq(p->nunsupported, 0);
	/* The socket's file is left of the process that had it. */
	ck_assert_int_eq(restore(p, path_verify), 0);
	unlink(u.sun_path);
	ck_assert_int_eq(restore(p, path_verify), 0);
	unlink(u.sun_path);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	ck_assert(bind(fd, (void *)&u, sizeof(u)) == 0);
	ck_assert_int_eq(restore(p, nothing), -EADDRINUSE);
	ck_assert_msg(
	    strstr(board->text, "another process") != NULL, "%s", board->text);
	close(fd);
	unlink(u.sun_path);
	fd = open(u.sun_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	ck_assert_int_eq(restore(p, nothing), -EADDRINUSE);
	ck_assert_msg(
	    strstr(board->text, "no socket") != NULL, "%s", board->text);
	unlink(u.sun_path);
	process_free(p);
}
END_TEST

/* One that is bound where the kernel does not tell of it. */
START_TEST(path_elsewhere)
{
	struct sockaddr_un u = in("l");
	struct process *p = collect(path_prepare);
	int fd, status;
	pid_t pid;

	unlink(u.sun_path);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) != 0)
			_exit(77);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		OK(bind(fd, (void *)&u, sizeof(u)) == 0);
		raise(SIGSTOP);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	if (WIFSTOPPED(status)) {
		ck_assert_int_eq(restore(p, nothing), -EADDRINUSE);
		ck_assert_int_eq(access(u.sun_path, F_OK), 0);
		end(pid);
	} else
		ck_assert_int_eq(WEXITSTATUS(status), 77);
	process_free(p);
}
END_TEST

static void
rooted_prepare(void)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX, .sun_path = "/l" };

	OK(chroot(dir) == 0 && chdir("/") == 0);
	at(socket(AF_UNIX, SOCK_STREAM, 0), 5);
	OK(bind(5, (void *)&u, sizeof(u)) == 0 && listen(5, 3) == 0);
}

/* Its paths begin at a root directory of its own. */
START_TEST(path_rooted)
{
	struct sockaddr_un u = in("l");
	struct process *p;

	if (geteuid() != 0)
		return;
	p = collect(rooted_prepare);
	ck_assert_int_eq(p->nunsupported, 0);
	p->root = strdup(dir);
	unlink(u.sun_path);
	ck_assert_int_eq(restore(p, path_verify), 0);
	ck_assert_int_eq(access("/l", F_OK), -1);
	process_free(p);
}
END_TEST

static void
accepted_prepare(void)
{
	struct sockaddr_un u = in("l");

	at(socket(AF_UNIX, SOCK_STREAM, 0), 5);
	OK(bind(5, (void *)&u, sizeof(u)) == 0 && listen(5, 0) == 0);
	at(socket(AF_UNIX, SOCK_STREAM, 0), 6);
	OK(connect(6, (void *)&u, sizeof(u)) == 0);
	at(accept(5, NULL, NULL), 7);
}

static void
accepted_verify(void)
{
	char c = 0;

	OK(write(6, "x", 1) == 1 && read(7, &c, 1) == 1 && c == 'x');
}

/* Others, who connect all the time, fill the queue of those who wait. */
START_TEST(crowded)
{
	struct sockaddr_un u = in("l");
	struct process *p = collect(accepted_prepare);
	pid_t pid = fork();

	if (pid == 0)
		for (;;) {
			int fd = socket(AF_UNIX, SOCK_STREAM, 0);

			if (connect(fd, (void *)&u, sizeof(u)) != 0)
				close(fd);
		}
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(restore(p, accepted_verify), 0);
	end(pid);
	process_free(p);
}
END_TEST

/* So many that the kernel is asked for all at once; of one it has more to say. */
static void
hundreds_prepare(void)
{
	struct sockaddr_un u = in("l");
	int fd[2];

	for (int i = 10; i < 210; i += 2) {
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
		/* At numbers that are not in the order of their inodes. */
		at(fd[0], 219 - i);
		at(fd[1], 218 - i);
		OK(write(219 - i, &i, sizeof(i)) == sizeof(i));
	}
	OK(shutdown(100, SHUT_WR) == 0);
	at(socket(AF_UNIX, SOCK_STREAM, 0), 300);
	OK(bind(300, (void *)&u, sizeof(u)) == 0 && listen(300, 7) == 0);
	for (int i = 301; i < 304; i++) {
		at(socket(AF_UNIX, SOCK_STREAM, 0), i);
		OK(connect(i, (void *)&u, sizeof(u)) == 0);
	}
}

static void
hundreds_verify(void)
{
	int v;

	for (int i = 10; i < 210; i += 2) {
		OK(read(218 - i, &v, sizeof(v)) == sizeof(v) && v == i);
		OK(218 - i == 100 ||
		    (write(218 - i, &i, sizeof(i)) == sizeof(i) &&
			read(219 - i, &v, sizeof(v)) == sizeof(v) && v == i));
	}
	OK(read(101, &v, sizeof(v)) == 0);
	for (int i = 301; i < 304; i++) {
		int fd = accept(300, NULL, NULL);

		OK(fd >= 0 && write(i, &i, sizeof(i)) == sizeof(i));
		OK(read(fd, &v, sizeof(v)) == sizeof(v) && v == i);
	}
}

START_TEST(hundreds)
{
	struct sockaddr_un u = in("l");
	struct process *p = collect(hundreds_prepare);

	ck_assert_int_eq(p->nunsupported, 0);
	unlink(u.sun_path);
	ck_assert_int_eq(restore(p, hundreds_verify), 0);
	process_free(p);
}
END_TEST

static void
client_prepare(void)
{
	struct sockaddr_un u = in("ours");

	at(socket(AF_UNIX, SOCK_STREAM, 0), 9);
	OK(connect(9, (void *)&u, sizeof(u)) == 0);
}

/* Its other end is ours; whether we have accepted it or not. */
START_TEST(outsiders)
{
	struct sockaddr_un u = in("ours");
	int l = socket(AF_UNIX, SOCK_STREAM, 0);

	ck_assert(bind(l, (void *)&u, sizeof(u)) == 0 && listen(l, 5) == 0);
	refused(client_prepare, "fd 9", "accepted by another process");
	close(l);
	unlink(u.sun_path);
}
END_TEST

static void
urgent_prepare(void)
{
	int v[2];

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, v) == 0);
	at(v[0], 8);
	at(v[1], 9);
	OK(send(8, "x", 1, MSG_OOB) == 1);
}

static void
unaccepted_prepare(void)
{
	struct sockaddr_un u = in("here");

	at(socket(AF_UNIX, SOCK_STREAM, 0), 5);
	OK(bind(5, (void *)&u, sizeof(u)) == 0 && listen(5, 3) == 0);
	at(socket(AF_UNIX, SOCK_STREAM, 0), 9);
	OK(connect(9, (void *)&u, sizeof(u)) == 0);
	OK(write(9, "early", 5) == 5);
}

START_TEST(unseen)
{
	refused(unaccepted_prepare, "fd 9", "not accepted");
}
END_TEST

START_TEST(urgent)
{
	struct process *p = collect(urgent_prepare);

	ck_assert_uint_ge(p->nunsupported, 1);
	ck_assert(strstr(p->unsupported[p->nunsupported - 1].why, "urgent"));
	process_free(p);
}
END_TEST

/*
 * Looking at a queue leaves it as it was, SO_PEEK_OFF too.
 */
START_TEST(peek)
{
	struct sock_queue q;
	struct snap_ctx *cx = snap_ctx_new(NULL);
	int v[2], off = 2, got = 0;
	socklen_t len = sizeof(got);
	char buf[8];

	ck_assert(socketpair(AF_UNIX, SOCK_DGRAM, 0, v) == 0);
	ck_assert(write(v[0], "abc", 3) == 3 && write(v[0], "", 0) == 0 &&
		  write(v[0], "de", 2) == 2);
	ck_assert(
	    setsockopt(v[1], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0);
	ck_assert_int_eq(sock_queue_peek(cx, v[1], &q), 0);
	ck_assert_uint_eq(q.n, 3);
	ck_assert(q.v[0].len == 3 && q.v[1].len == 0 && q.v[2].len == 2);
	ck_assert(q.len == 5 && memcmp(q.bytes, "abcde", 5) == 0);
	sock_queue_fini(&q);
	ck_assert(getsockopt(v[1], SOL_SOCKET, SO_PEEK_OFF, &got, &len) == 0);
	ck_assert_int_eq(got, 2);
	ck_assert(recv(v[1], buf, 8, 0) == 3 && recv(v[1], buf, 8, 0) == 0 &&
		  recv(v[1], buf, 8, 0) == 2);
	close(v[0]);
	close(v[1]);
	snap_ctx_free(cx);
}
END_TEST

static size_t
count_fds(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Who asks for the sender as a descriptor makes the kernel give us one, too. */
START_TEST(peek_pidfd)
{
	struct sock_queue q;
	struct snap_ctx *cx = snap_ctx_new(NULL);
	int v[2], on = 1;
	size_t before;

	ck_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, v) == 0);
	/* SO_PASSPIDFD: Linux 6.5 */
	if (setsockopt(v[1], SOL_SOCKET, 76, &on, sizeof(on)) == 0) {
		ck_assert(write(v[0], "abc", 3) == 3);
		before = count_fds();
		ck_assert_int_eq(sock_queue_peek(cx, v[1], &q), 0);
		ck_assert_uint_eq(q.len, 3);
		sock_queue_fini(&q);
		ck_assert_uint_eq(count_fds(), before);
	}
	close(v[0]);
	close(v[1]);
	snap_ctx_free(cx);
}
END_TEST

/* If we are killed while it is in force, it is undone all the same. */
START_TEST(guarded)
{
	int v[2], got = -2, on = 0;
	socklen_t len = sizeof(got);
	struct sock_undo u = { -1, SOL_SOCKET, SO_PEEK_OFF, -1 };
	pid_t pid;

	ck_assert(socketpair(AF_UNIX, SOCK_DGRAM, 0, v) == 0);
	u.fd = v[1];
	pid = fork();
	if (pid == 0) {
		struct sock_guard *g;

		if (sock_guard_begin(snap_ctx_new(NULL), &u, 1, &g) != 0)
			_exit(1);
		setsockopt(v[1], SOL_SOCKET, SO_PEEK_OFF, &on, sizeof(on));
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 500 && got != -1; i++) {
		usleep(10000);
		getsockopt(v[1], SOL_SOCKET, SO_PEEK_OFF, &got, &len);
	}
	ck_assert_int_eq(got, -1);
	close(v[0]);
	close(v[1]);
}
END_TEST

static pid_t
only_child(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "r");
	if (f == NULL || fscanf(f, "%d", &pid) != 1)
		_exit(2);
	fclose(f);
	return pid;
}

/* Is the guard killed, its end is ours to bring, and we live. */
START_TEST(guard_killed)
{
	int v[2], st = 0, got = -2;
	socklen_t len = sizeof(got);
	struct sock_undo u = { -1, SOL_SOCKET, SO_PEEK_OFF, -1 };
	pid_t pid;

	ck_assert(socketpair(AF_UNIX, SOCK_DGRAM, 0, v) == 0);
	u.fd = v[1];
	pid = fork();
	if (pid == 0) {
		siginfo_t si;
		struct sock_guard *g;
		int on = 0;

		if (sock_guard_begin(snap_ctx_new(NULL), &u, 1, &g) != 0)
			_exit(1);
		setsockopt(v[1], SOL_SOCKET, SO_PEEK_OFF, &on, sizeof(on));
		kill(only_child(), SIGKILL);
		waitid(P_ALL, 0, &si, WEXITED | WNOWAIT | __WALL);
		sock_guard_end(g);
		_exit(0);
	}
	ck_assert(waitpid(pid, &st, 0) == pid);
	ck_assert_int_eq(st, 0);
	ck_assert(getsockopt(v[1], SOL_SOCKET, SO_PEEK_OFF, &got, &len) == 0);
	ck_assert_int_eq(got, -1);
	close(v[0]);
	close(v[1]);
}
END_TEST

/* ---- of TCP ---- */

static int busy; /* a port that somebody listens on */

static int
listen_on(int port, int reuse)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(a);

	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse, sizeof(reuse));
	if (bind(fd, (void *)&a, sizeof(a)) != 0 || listen(fd, 3) != 0 ||
	    getsockname(fd, (void *)&a, &len) != 0) {
		close(fd);
		return -1;
	}
	busy = ntohs(a.sin_port);
	return fd;
}

static void
listening_prepare(void)
{
	at(listen_on(busy, 0), 9);
}

/* A port that was taken meanwhile. */
START_TEST(port)
{
	struct process *p;
	int fd = listen_on(0, 0);

	close(fd);
	p = collect(listening_prepare);
	ck_assert_uint_eq(p->nunsupported, 0);
	ck_assert_int_eq(restore(p, nothing), 0);
	fd = listen_on(busy, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(restore(p, nothing), -EADDRINUSE);
	ck_assert_msg(
	    strstr(board->text, "inet:127.0.0.1:") != NULL, "%s", board->text);
	close(fd);
	process_free(p);
}
END_TEST

/* An address that is gone, a connection that another has. */
START_TEST(addresses)
{
	static const struct bad there = { "tcp", "socket:[1]", 2,
		{ "domain", "2", "state", "listening", "backlog", "1", "name",
		    "inet:198.51.100.7:80", "object", "0:8:1" },
		NULL };
	struct process *p = one_file(&there);

	ck_assert_int_eq(restore(p, nothing), -EADDRNOTAVAIL);
	ck_assert(strstr(board->text, "198.51.100.7") != NULL);
	process_free(p);
}
END_TEST

static void
connected_prepare(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)busy) };

	at(socket(AF_INET, SOCK_STREAM, 0), 9);
	OK(connect(9, (void *)&a, sizeof(a)) == 0);
	OK(write(9, "hello", 5) == 5);
}

/* The connection is still another's: the clone is refused. */
START_TEST(connection_taken)
{
	int l = listen_on(0, 0), keep, s;
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = process_new();
	char buf[8];
	pid_t pid;

	if (getuid() != 0)
		return;
	pid = start(connected_prepare);
	keep = accept(l, NULL, NULL);
	p->pid = pid;
	p->pgid = getpgid(pid);
	ck_assert_int_eq(fds_collect(cx, &p, 1), 0);
	ck_assert_uint_eq(p->nunsupported, 0);
	ck_assert_int_eq(fds_check(cx, p), 0);
	ck_assert_int_eq(restore(p, nothing), -EADDRNOTAVAIL);
	ck_assert_msg(strstr(board->text, "another socket has it") != NULL,
	    "%s", board->text);
	/* Neither of the two connections has noticed. */
	ck_assert(read(keep, buf, 8) == 5);
	s = (int)recv(keep, buf, 8, MSG_DONTWAIT);
	ck_assert(s < 0 && errno == EAGAIN);
	end(pid);
	close(keep);
	close(l);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

/* If we are killed in the middle, the connection is as it was. */
START_TEST(repair_guarded)
{
	int l = listen_on(0, 0), c, s, on = 1, got = 1, reuse = 0;
	struct sock_undo u[2];
	socklen_t len = sizeof(got);
	char buf[8];
	pid_t pid;

	if (getuid() != 0)
		return;
	at(socket(AF_INET, SOCK_STREAM, 0), 100);
	c = 100;
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)busy) };
	ck_assert(connect(c, (void *)&a, sizeof(a)) == 0);
	setsockopt(c, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	s = accept(l, NULL, NULL);
	pid = fork();
	if (pid == 0) {
		struct sock_guard *g;

		u[0] = (struct sock_undo){ c, IPPROTO_TCP, TCP_REPAIR, -1 };
		u[1] = (struct sock_undo){ c, SOL_SOCKET, SO_REUSEADDR, 1 };
		if (sock_guard_begin(snap_ctx_new(NULL), u, 2, &g) != 0)
			_exit(1);
		setsockopt(c, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 500 && (got == 1 || reuse == 0); i++) {
		usleep(10000);
		getsockopt(c, IPPROTO_TCP, TCP_REPAIR, &got, &len);
		getsockopt(c, SOL_SOCKET, SO_REUSEADDR, &reuse, &len);
	}
	ck_assert_int_eq(got, 0);
	ck_assert_int_eq(reuse, 1);
	ck_assert(write(c, "abc", 3) == 3 && read(s, buf, 8) == 3);
	ck_assert(write(s, "de", 2) == 2 && read(c, buf, 8) == 2);
	close(c);
	close(s);
	close(l);
}
END_TEST

/* ---- what an image may say ---- */

#define UNIX(says, ...) \
	{ \
		"unix", "socket:[1]", 2, { "object", "0:8:1", __VA_ARGS__ }, \
		    says \
	}
#define TCP(says, ...) \
	{ \
		"tcp", "socket:[1]", 2, { __VA_ARGS__ }, says \
	}
#define CONNECTED(says, seq, queues, window, agreed) \
	TCP(says, "domain", "2", "state", "established", "name", \
	    "inet:127.0.0.1:1", "peer", "inet:127.0.0.1:2", "seq", seq, \
	    "queues", queues, "window", window, "agreed", agreed, "timestamp", \
	    "1")

#define INET(says, ...) \
	{ \
		"inet", "socket:[1]", 2, { __VA_ARGS__ }, says \
	}
#define NETLINK(says, ...) \
	{ \
		"netlink", "socket:[1]", 2, { __VA_ARGS__ }, says \
	}

static const struct bad bads[] = {
	UNIX(NULL, "type", "1", "peer", "none"),
	UNIX("well-formed", "type", "4", "peer", "none"),
	UNIX("well-formed", "type", "1"),
	UNIX("well-formed", "type", "1", "peer", "some"),
	UNIX("well-formed", "type", "1", "peer", "socket x"),
	UNIX("says otherwise", "type", "1", "peer", "socket 1"),
	UNIX(NULL, "type", "1", "peer", "socket 2"),
	UNIX("well-formed", "type", "1", "peer", "none", "backlog", "1"),
	UNIX("well-formed", "type", "1", "backlog", "1"),
	UNIX(NULL, "type", "1", "backlog", "1", "name", "path:/a"),
	UNIX("well-formed", "type", "2", "backlog", "1", "name", "path:/a"),
	UNIX("well-formed", "type", "1", "backlog", "1", "name",
	    "inet:1.2.3.4:5"),
	UNIX("well-formed", "type", "1", "peer", "none", "name-file", "755 0"),
	UNIX("well-formed", "type", "1", "peer", "none", "name-file", "99 0 0"),
	UNIX("well-formed", "type", "1", "peer", "none", "shutdown", "4"),
	UNIX("well-formed", "type", "1", "peer", "none", "peer-cred", "1 2"),
	UNIX("pending", "type", "1", "peer", "none", "pending", "x"),
	UNIX("option", "type", "1", "peer", "none", "option", "SO_KEEPALIVE"),
	UNIX("option", "type", "1", "peer", "none", "option", "SO_KEEPALIVE 0"),
	UNIX("option", "type", "1", "peer", "none", "option",
	    "SO_NONE 01000000"),
	UNIX("option", "type", "1", "peer", "none", "option",
	    "TCP_ULP 01000000"),
	UNIX(NULL, "type", "1", "peer", "none", "option",
	    "SO_KEEPALIVE 01000000"),
	UNIX("filter", "type", "1", "peer", "none", "filter", "0600"),
	UNIX(NULL, "type", "1", "peer", "none", "filter", "06000000ffffffff"),
	UNIX("message", "type", "1", "peer", "none", "message", "-1"),
	UNIX("contents", "type", "1", "peer", "none", "message", "5"),
	UNIX(NULL, "type", "1", "peer", "none", "message", "0"),
	UNIX("message", "type", "1", "peer", "none", "message", "0 rights="),
	UNIX("no open file 7", "type", "1", "peer", "none", "message",
	    "0 rights=7"),
	UNIX(NULL, "type", "1", "peer", "none", "message", "0 rights=0"),
	UNIX("message", "type", "1", "peer", "none", "message", "0 cred=1:2"),
	UNIX("message", "type", "1", "peer", "none", "message", "999999999999"),
	TCP(NULL, "domain", "2", "state", "new"),
	TCP("well-formed", "domain", "3", "state", "new"),
	TCP("well-formed", "domain", "2", "state", "old"),
	TCP("well-formed", "domain", "2", "state", "new", "name",
	    "inet6:[::1]:2"),
	TCP(NULL, "domain", "10", "state", "new", "name", "inet6:[::1]:2"),
	TCP("well-formed", "domain", "2", "state", "listening"),
	TCP(NULL, "domain", "2", "state", "listening", "backlog", "1"),
	TCP("well-formed", "domain", "2", "state", "established"),
	TCP("well-formed", "domain", "2", "state", "ended", "queues", "1 0"),
	TCP("contents", "domain", "2", "state", "ended", "queues", "0 5"),
	TCP("well-formed", "domain", "2", "state", "ended", "queues", "0 5 "),
	CONNECTED(NULL, "1 2", "0 0", "1 2 3 4 5", "1460 7 7 7"),
	CONNECTED("contents", "1 2", "0 9", "1 2 3 4 5", "1460 7 7 7"),
	CONNECTED("well-formed", "1", "0 0", "1 2 3 4 5", "1460 7 7 7"),
	CONNECTED(
	    "well-formed", "1 4294967296", "0 0", "1 2 3 4 5", "1460 7 7 7"),
	CONNECTED(
	    "well-formed", "1 2", "0 4294967295", "1 2 3 4 5", "1460 7 7 7"),
	CONNECTED("well-formed", "1 2", "0 0", "1 2 3 4", "1460 7 7 7"),
	CONNECTED("well-formed", "1 2", "0 0", "1 2 3 4 5", "1460 7 15 7"),
	CONNECTED("well-formed", "1 2", "0 0", "1 2 3 4 5", "65536 7 7 7"),
	INET(NULL, "domain", "2", "type", "2", "protocol", "17"),
	INET("well-formed", "domain", "2", "type", "1", "protocol", "6"),
	INET("well-formed", "domain", "1", "type", "2", "protocol", "17"),
	INET("well-formed", "domain", "2", "type", "2", "protocol", "256"),
	INET("well-formed", "domain", "2", "type", "2", "protocol", "17",
	    "name", "path:/a"),
	INET(NULL, "domain", "2", "type", "2", "protocol", "17", "membership",
	    "1 inet:239.1.2.3:0 exclude"),
	INET(NULL, "domain", "2", "type", "2", "protocol", "17", "membership",
	    "1 inet:239.1.2.3:0 include inet:10.0.0.1:0"),
	INET("membership", "domain", "2", "type", "2", "protocol", "17",
	    "membership", "1 inet:239.1.2.3:0"),
	INET("membership", "domain", "2", "type", "2", "protocol", "17",
	    "membership", "1 path:/a exclude"),
	NETLINK(NULL, "type", "3", "protocol", "0", "portid", "1",
	    "netlink-flags", "1f", "membership", "3"),
	NETLINK("membership", "type", "3", "protocol", "0", "portid", "1",
	    "netlink-flags", "1f", "membership", "0"),
	NETLINK("netlink-flags", "type", "3", "protocol", "0", "portid", "1",
	    "netlink-flags", "80"),
	NETLINK("portid", "type", "3", "protocol", "0", "netlink-flags", "0"),
	{ "unix", "socket:[1]", 2, { "type", "1", "peer", "none" }, "object" },
};

START_TEST(checks)
{
	check_bad(&bads[_i]);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static Suite *
suite(void)
{
	Suite *s = suite_create("sockets");
	TCase *tc = tcase_create("sockets");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, names_of, 0, COUNT(names));
	tcase_add_test(tc, longest_name);
	tcase_add_test(tc, filters);
	tcase_add_test(tc, paths);
	tcase_add_test(tc, path_elsewhere);
	tcase_add_test(tc, path_rooted);
	tcase_add_test(tc, crowded);
	tcase_add_test(tc, hundreds);
	tcase_add_test(tc, outsiders);
	tcase_add_test(tc, unseen);
	tcase_add_test(tc, urgent);
	tcase_add_test(tc, peek);
	tcase_add_test(tc, peek_pidfd);
	tcase_add_test(tc, guarded);
	tcase_add_test(tc, guard_killed);
	tcase_add_test(tc, port);
	tcase_add_test(tc, addresses);
	tcase_add_test(tc, connection_taken);
	tcase_add_test(tc, repair_guarded);
	tcase_add_loop_test(tc, checks, 0, COUNT(bads));
	suite_add_tcase(s, tc);
	return s;
}

int
main(void)
{
	return unit_run(suite());
}
