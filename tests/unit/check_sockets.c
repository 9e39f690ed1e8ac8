/*
 * check_sockets.c - sockets: what an image may say of them, the way round, and
 * what is refused because it belongs to another process.
 */
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "roundtrip.h"
#include "sock_guard.h"
#include "sock_name.h"
#include "sock_queue.h"

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

/* ---- what an image may say ---- */

#define UNIX(...) \
	{ \
		"unix", "socket:[1]", 2, { "object", "0:8:1", __VA_ARGS__ },
static const struct bad bads[] = { UNIX("type", "1", "peer", "none") NULL },
			UNIX("type", "4", "peer", "none") "well-formed"
}
, UNIX("type", "1") "well-formed"
}
, UNIX("type", "1", "peer", "some") "well-formed"
}
, UNIX("type", "1", "peer", "socket x") "well-formed"
}
, UNIX("type", "1", "peer", "socket 1") "says otherwise"
}
, UNIX("type", "1", "peer", "socket 2") NULL
}
, UNIX("type", "1", "peer", "none", "backlog", "1") "well-formed"
}
, UNIX("type", "1", "backlog", "1") "well-formed"
}
, UNIX("type", "1", "backlog", "1", "name", "path:/a") NULL
}
, UNIX("type", "2", "backlog", "1", "name", "path:/a") "well-formed"
}
, UNIX("type", "1", "backlog", "1", "name", "inet:1.2.3.4:5") "well-formed"
}
, UNIX("type", "1", "peer", "none", "name-file", "755 0") "well-formed"
}
, UNIX("type", "1", "peer", "none", "name-file", "99 0 0") "well-formed"
}
, UNIX("type", "1", "peer", "none", "shutdown", "4") "well-formed"
}
, UNIX("type", "1", "peer", "none", "peer-cred", "1 2") "well-formed"
}
, UNIX("type", "1", "peer", "none", "pending", "x") "pending"
}
, UNIX("type", "1", "peer", "none", "option", "SO_KEEPALIVE") "option"
}
, UNIX("type", "1", "peer", "none", "option", "SO_KEEPALIVE 0") "option"
}
, UNIX("type", "1", "peer", "none", "option", "SO_NONE 01000000") "option"
}
, UNIX("type", "1", "peer", "none", "option", "TCP_ULP 01000000") "option"
}
, UNIX("type", "1", "peer", "none", "option", "SO_KEEPALIVE 01000000") NULL
}
, UNIX("type", "1", "peer", "none", "filter", "0600") "filter"
}
, UNIX("type", "1", "peer", "none", "filter", "06000000ffffffff") NULL
}
, UNIX("type", "1", "peer", "none", "message", "-1") "message"
}
, UNIX("type", "1", "peer", "none", "message", "5") "contents"
}
, UNIX("type", "1", "peer", "none", "message", "0") NULL
}
, UNIX("type", "1", "peer", "none", "message", "0 rights=") "message"
}
, UNIX("type", "1", "peer", "none", "message", "0 rights=7") "no open file 7"
}
, UNIX("type", "1", "peer", "none", "message", "0 rights=0") NULL
}
, UNIX("type", "1", "peer", "none", "message", "0 cred=1:2") "message"
}
, UNIX("type", "1", "peer", "none", "message", "999999999999") "message"
}
, { "unix", "socket:[1]", 2, { "type", "1", "peer", "none" }, "object" },
}
;

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
	tcase_add_test(tc, outsiders);
	tcase_add_test(tc, unseen);
	tcase_add_test(tc, urgent);
	tcase_add_test(tc, peek);
	tcase_add_test(tc, guarded);
	tcase_add_loop_test(tc, checks, 0, COUNT(bads));
	suite_add_tcase(s, tc);
	return s;
}

int
main(void)
{
	SRunner *sr = srunner_create(suite());
	int failed;

	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
