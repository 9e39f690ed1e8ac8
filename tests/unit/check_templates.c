/*
 * Which template is for whom, and which goes when; and its spare.  No process is
 * made but those that stand for these: a template's descriptors are an eventfd,
 * or the end of a socket on which we see what it is told, and our own pidfd.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "opts.h"
#include "templates.h"
#include "unit.h"

#define CHILDREN 16

static struct templates all;
static pid_t children[CHILDREN];
static unsigned nchildren;
static pid_t child; /* the newest of them */

/* A process that may be killed: each template has one of its own. */
static void
start_child(void)
{
	int closed[2];
	char none;

	ck_assert_uint_lt(nchildren, CHILDREN);
	ck_assert_int_eq(pipe(closed), 0);
	child = fork();
	if (child == 0) {
		/* Whoever looks for the end of a socket is not to wait for it. */
		close_range(3, ~0u, 0);
		for (;;)
			pause();
	}
	ck_assert_int_gt(child, 0);
	children[nchildren++] = child;
	close(closed[1]);
	ck_assert_int_eq(read(closed[0], &none, 1), 0);
	close(closed[0]);
}

static void
set_up(void)
{
	all = (struct templates){ .max = 2, .max_bytes = 100 };
	templates_init(&all);
	nchildren = 0;
}

static void
tear_down(void)
{
	templates_drop_all(&all);
	ck_assert_uint_eq(all.n, 0);
	ck_assert_uint_eq(all.bytes, 0);
	/* One that a test has waited for is another's number by now. */
	while (nchildren-- > 0)
		if (waitpid(children[nchildren], NULL, WNOHANG) == 0) {
			kill(children[nchildren], SIGKILL);
			waitpid(children[nchildren], NULL, 0);
		}
}

static struct identity
image(uint64_t ino, uint64_t sum)
{
	return (struct identity){
		.dev = 1, .ino = ino, .sum = { sum, 1 }, .bytes = 40
	};
}

static struct template *
add(struct identity id, const char *place, uint64_t now)
{
	struct template made = {
		.image = id,
		.place = (char *)place,
		.path = (char *)"p",
		.t = { .control = eventfd(0, 0) },
	};

	start_child();
	made.pid = child;
	made.t.pidfd = pidfd_open(child, 0);
	return templates_add(&all, &made, now);
}

START_TEST(of_the_same_image_in_the_same_place)
{
	const struct identity a = image(1, 1), b = image(2, 1);
	struct template *v = add(a, "here", 0);

	templates_put(&all, v);
	ck_assert_ptr_eq(templates_get(&all, &a, "here", 1), v);
	templates_put(&all, v);
	ck_assert_ptr_null(templates_get(&all, &a, "there", 1));
	ck_assert_ptr_null(templates_get(&all, &a, "her", 1));
	ck_assert_ptr_null(templates_get(&all, &b, "here", 1));
	ck_assert_uint_eq(all.n, 1);
	ck_assert(templates_has(&all, child));
	ck_assert(!templates_has(&all, child + 1));
}
END_TEST

START_TEST(a_changed_image_has_none)
{
	const struct identity a = image(1, 1), changed = image(1, 2);

	templates_put(&all, add(a, "here", 0));
	ck_assert_ptr_null(templates_get(&all, &changed, "here", 1));
	ck_assert_uint_eq(all.n, 0);
	ck_assert_uint_eq(all.dropped, 1);
	ck_assert_ptr_null(templates_get(&all, &a, "here", 1));
}
END_TEST

START_TEST(the_least_recently_used_goes)
{
	const struct identity a = image(1, 1), b = image(2, 1), c = image(3, 1);
	struct template *v;

	templates_put(&all, add(a, "here", 0));
	templates_put(&all, add(b, "here", 1));
	v = templates_get(&all, &a, "here", 2);
	templates_put(&all, v);
	templates_put(&all, add(c, "here", 3));
	ck_assert_uint_eq(all.n, 2);
	ck_assert_ptr_null(templates_get(&all, &b, "here", 4));
	ck_assert_ptr_eq(templates_get(&all, &a, "here", 4), v);
	templates_put(&all, v);
}
END_TEST

START_TEST(so_many_bytes)
{
	struct identity big = image(3, 1);

	all.max = 10;
	templates_put(&all, add(image(1, 1), "here", 0));
	templates_put(&all, add(image(2, 1), "here", 1));
	big.bytes = 60;
	templates_put(&all, add(big, "here", 2));
	ck_assert_uint_eq(all.n, 2);
	ck_assert_uint_eq(all.bytes, 100);
	big.bytes = 101;
	ck_assert(!templates_worth(&all, &big, NULL, 0, true));
	/* Nor is one taken that nobody was asked to make. */
	ck_assert_ptr_null(add(big, "here", 3));
	big.bytes = UINT64_MAX;
	ck_assert_ptr_null(add(big, "here", 4));
	ck_assert_uint_eq(all.n, 2);
	ck_assert_uint_eq(all.bytes, 100);
}
END_TEST

START_TEST(one_in_use_ends_when_it_is_not)
{
	const struct identity a = image(1, 1);
	struct template *v = add(a, "here", 0);

	templates_drop(&all, v);
	templates_drop(&all, v);
	ck_assert_uint_eq(all.dropped, 1);
	ck_assert_ptr_null(templates_get(&all, &a, "here", 1));
	ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
	templates_put(&all, v); /* frees it, and kills */
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert(!templates_drop_one(&all));
}
END_TEST

START_TEST(one_that_has_ended)
{
	const struct identity a = image(1, 1);

	templates_put(&all, add(a, "here", 0));
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_ptr_null(templates_get(&all, &a, "here", 1));
	ck_assert_uint_eq(all.n, 0);
}
END_TEST

START_TEST(two_of_the_same)
{
	const struct identity a = image(1, 1);

	templates_put(&all, add(a, "here", 0));
	ck_assert_ptr_null(add(a, "here", 1));
	ck_assert_uint_eq(all.n, 1);
}
END_TEST

START_TEST(worth_it_the_second_time)
{
	const struct identity a = image(1, 1), b = image(2, 1);

	ck_assert(!templates_worth(&all, &a, NULL, 0, false));
	ck_assert(!templates_worth(&all, &a, NULL, 0, false));
	templates_see(&all, &a, NULL, 0);
	templates_see(&all, &a, NULL, 0);
	ck_assert_uint_eq(all.next_seen, 1);
	ck_assert(templates_worth(&all, &a, NULL, 0, false));
	ck_assert(!templates_worth(&all, &a, NULL, 1000, false));
	ck_assert(!templates_worth(&all, &b, NULL, 0, false));
	/* It was refused. */
	templates_unsee(&all, &a, NULL, 0);
	templates_unsee(&all, &b, NULL, 0);
	ck_assert(!templates_worth(&all, &a, NULL, 0, false));
	templates_see(&all, &a, NULL, 1000);
	ck_assert(templates_worth(&all, &a, NULL, 1000, false));
	ck_assert(templates_worth(&all, &b, NULL, 7, true));
	all.max = 0;
	ck_assert(!templates_worth(&all, &a, NULL, 0, true));
}
END_TEST

/* What a session of snapfs-run has seen is nothing to another. */
START_TEST(worth_it_in_each_place)
{
	const struct identity a = image(1, 1);

	templates_see(&all, &a, "here", 0);
	ck_assert(templates_worth(&all, &a, "here", 0, false));
	ck_assert(!templates_worth(&all, &a, "there", 0, false));
	ck_assert(!templates_worth(&all, &a, NULL, 0, false));
	templates_see(&all, &a, "there", 0);
	ck_assert(templates_worth(&all, &a, "there", 0, false));
	ck_assert(templates_worth(&all, &a, "here", 0, false));
}
END_TEST

START_TEST(being_made)
{
	const struct identity a = image(1, 1), b = image(1, 2);
	struct template_making m = { 0 };

	templates_end(&m);
	templates_begin(&all, &m, &a, "here");
	ck_assert(templates_is_made(&all, &a, "here"));
	ck_assert(!templates_is_made(&all, &a, "there"));
	ck_assert(!templates_is_made(&all, &b, "here"));
	templates_end(&m);
	ck_assert(!templates_is_made(&all, &a, "here"));
	templates_end(&m);
}
END_TEST

/* ---- spares ---- */

/* A template whose orders come to *orders. */
static struct template *
add_listener(struct identity id, uint64_t now, int *orders)
{
	int sv[2];
	struct template made = {
		.image = id,
		.place = (char *)"here",
		.path = (char *)"p",
		.uid = getuid(),
	};
	struct template *v;

	start_child();
	made.pid = child;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	made.t.control = sv[0];
	made.t.pidfd = pidfd_open(child, 0);
	*orders = sv[1];
	v = templates_add(&all, &made, now);
	ck_assert_ptr_nonnull(v);
	templates_put(&all, v);
	return v;
}

/* The socket that came with an order; -1: nothing was ordered. */
static int
ordered(int orders)
{
	char body[256];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec iov = { body, sizeof(body) };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c) };
	int fd = -1;

	if (recvmsg(orders, &m, MSG_DONTWAIT) < 0)
		return -1;
	ck_assert_uint_ge(m.msg_controllen, CMSG_LEN(sizeof(fd)));
	memcpy(&fd, CMSG_DATA(&c.head), sizeof(fd));
	return fd;
}

/* A process that says that it is the spare with this socket, which it takes. */
static pid_t
stand_in(int sock)
{
	pid_t pid = fork();

	if (pid == 0) {
		ck_assert_int_eq(send(sock, "s", 1, 0), 1);
		for (;;)
			pause();
	}
	close(sock);
	return pid;
}

static void
with_spares(unsigned max)
{
	all.max = 10;
	all.max_bytes = 1 << 20;
	all.max_spares = max;
	all.proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* It was killed, and not by us. */
static bool
is_killed(pid_t pid)
{
	int st;

	return waitpid(pid, &st, 0) == pid && WIFSIGNALED(st) &&
	       WTERMSIG(st) == SIGKILL;
}

START_TEST(a_spare_is_made_when_due)
{
	struct template *v;
	uint64_t bytes;
	int orders, sock;
	pid_t pid;

	with_spares(2);
	v = add_listener(image(1, 1), 0, &orders);
	bytes = all.bytes;
	templates_bear(&all);
	ck_assert_int_eq(ordered(orders), -1);
	v->due = true;
	templates_bear(&all);
	sock = ordered(orders);
	ck_assert_int_ge(sock, 0);
	ck_assert_uint_eq(all.nspares, 1);
	ck_assert_uint_eq(all.bytes, bytes + spare_cost(40));
	/* Not two. */
	v->due = true;
	templates_bear(&all);
	ck_assert_int_eq(ordered(orders), -1);
	pid = stand_in(sock);
	while (v->spare.pid == 0)
		templates_has(&all, 1);
	ck_assert_int_eq(v->spare.pid, pid);
	ck_assert(templates_has(&all, pid));
	/* One that is at its end is none. */
	kill(pid, SIGKILL);
	ck_assert(is_killed(pid));
	templates_sweep(&all);
	ck_assert_uint_eq(all.nspares, 0);
	ck_assert_uint_eq(all.bytes, bytes);
	ck_assert_int_eq(templates_take_spare(&all, v).sock, 0);
	close(orders);
}
END_TEST

START_TEST(a_spare_is_given_away)
{
	struct template *v;
	struct spare taken;
	int orders;
	char byte;
	pid_t pid;

	with_spares(2);
	v = add_listener(image(1, 1), 0, &orders);
	v->due = true;
	templates_bear(&all);
	pid = stand_in(ordered(orders));
	while (v->spare.pid == 0)
		templates_sweep(&all);
	taken = templates_take_spare(&all, v);
	ck_assert_int_gt(taken.sock, 0);
	ck_assert_uint_eq(all.nspares, 0);
	ck_assert_uint_eq(all.spares_used, 1);
	ck_assert(!templates_has(&all, pid));
	/* It is not ours to end. */
	templates_drop(&all, v);
	ck_assert_int_eq(kill(pid, 0), 0);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	ck_assert_int_eq(recv(taken.sock, &byte, 1, MSG_DONTWAIT), -1);
	spare_end(&taken);
	ck_assert(is_killed(pid));
	ck_assert_int_eq(taken.sock, 0);
	close(orders);
}
END_TEST

START_TEST(a_spare_ends_with_its_template)
{
	struct template *v;
	int orders, sock;
	char byte;
	pid_t pid;

	with_spares(2);
	v = add_listener(image(1, 1), 0, &orders);
	v->due = true;
	templates_bear(&all);
	pid = stand_in(ordered(orders));
	while (v->spare.pid == 0)
		templates_sweep(&all);
	templates_drop(&all, v);
	ck_assert(is_killed(pid));
	close(orders);
	/* One that was not there yet sees its socket closed. */
	v = add_listener(image(2, 1), 0, &orders);
	v->due = true;
	templates_bear(&all);
	sock = ordered(orders);
	ck_assert(templates_drop_spares(&all));
	ck_assert(!templates_drop_spares(&all));
	ck_assert_int_eq(recv(sock, &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_uint_eq(all.nspares, 0);
	close(sock);
	close(orders);
}
END_TEST

START_TEST(so_many_spares)
{
	struct template *v[3];
	int orders[3], sock[3];
	char byte;

	with_spares(2);
	for (unsigned i = 0; i < 3; i++) {
		v[i] = add_listener(image(i + 1, 1), i, &orders[i]);
		v[i]->due = true;
		templates_bear(&all);
		sock[i] = ordered(orders[i]);
		ck_assert_int_ge(sock[i], 0);
	}
	/* That of the first gave way. */
	ck_assert_uint_eq(all.nspares, 2);
	ck_assert_int_eq(recv(sock[0], &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(recv(sock[1], &byte, 1, MSG_DONTWAIT), -1);
	/* A template is worth more than a spare. */
	all.max_bytes = all.bytes;
	templates_put(&all, add(image(9, 1), "here", 9));
	ck_assert_uint_eq(all.n, 4);
	ck_assert_uint_eq(all.nspares, 1);
	/* There is no room for one. */
	all.max_bytes = all.bytes + spare_cost(40) - 1;
	v[0]->due = true;
	templates_bear(&all);
	ck_assert_int_eq(ordered(orders[0]), -1);
	all.max_bytes++;
	all.max_spares = 0;
	v[0]->due = true;
	templates_bear(&all);
	ck_assert_int_eq(ordered(orders[0]), -1);
	templates_drop_all(&all);
	for (unsigned i = 0; i < 3; i++) {
		close(sock[i]);
		close(orders[i]);
	}
}
END_TEST

/* Somebody else's process is not killed by whoever says that it is his spare. */
START_TEST(another_users_process_is_no_spare)
{
	struct template *v;
	int orders;
	pid_t pid;

	with_spares(2);
	v = add_listener(image(1, 1), 0, &orders);
	v->uid = getuid() + 1;
	v->due = true;
	templates_bear(&all);
	pid = stand_in(ordered(orders));
	while (all.nspares > 0)
		templates_sweep(&all);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	ck_assert(is_killed(pid));
	close(orders);
}
END_TEST

START_TEST(sizes)
{
	static const struct {
		const char *s;
		uint64_t bytes; /* 0: none */
	} v[] = {
		{ "1", 1 },
		{ "4096", 4096 },
		{ "1K", 1 << 10 },
		{ "512M", 512ull << 20 },
		{ "2G", 2ull << 30 },
		{ "1T", 1ull << 40 },
		{ "", 0 },
		{ "M", 0 },
		{ "1m", 0 },
		{ "1MB", 0 },
		{ "-1", 0 },
		{ " 1", 0 },
		{ "99999999T", 0 },
		{ "99999999999999999999", 0 },
	};
	uint64_t got;

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		got = 0;
		ck_assert(opts_size(v[i].s, &got) == (v[i].bytes != 0));
		ck_assert_uint_eq(got, v[i].bytes);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("templates");
	TCase *tc = tcase_create("templates");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, of_the_same_image_in_the_same_place);
	tcase_add_test(tc, a_changed_image_has_none);
	tcase_add_test(tc, the_least_recently_used_goes);
	tcase_add_test(tc, so_many_bytes);
	tcase_add_test(tc, one_in_use_ends_when_it_is_not);
	tcase_add_test(tc, one_that_has_ended);
	tcase_add_test(tc, two_of_the_same);
	tcase_add_test(tc, worth_it_the_second_time);
	tcase_add_test(tc, worth_it_in_each_place);
	tcase_add_test(tc, being_made);
	tcase_add_test(tc, a_spare_is_made_when_due);
	tcase_add_test(tc, a_spare_is_given_away);
	tcase_add_test(tc, a_spare_ends_with_its_template);
	tcase_add_test(tc, so_many_spares);
	tcase_add_test(tc, another_users_process_is_no_spare);
	tcase_add_test(tc, sizes);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
