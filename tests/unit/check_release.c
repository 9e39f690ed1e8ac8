/*
 * check_release.c - whoever lets a tree go dies: nobody of it runs on.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_release.h"
#include "restore_tree.h"
#include "unit.h"

#define N 3

/* Three that were let go already, and what ends then. */
static void __attribute__((noreturn)) restorer(int out, bool ends_it)
{
	struct restore_tree t = { .cx = snap_ctx_new(NULL), .n = N };
	struct release r;

	t.v = calloc(N, sizeof(*t.v));
	for (int i = 0; i < N; i++) {
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				pause();
		t.v[i].pid = pid;
		if (write(out, &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
	}
	if (release_begin(&t, &r) != 0)
		_exit(1);
	if (ends_it)
		release_end(&r);
	kill(getpid(), SIGKILL);
	_exit(1);
}

/* Whoever is left comes to us. */
static void
run(pid_t kids[N], bool ends_it)
{
	int p[2], st;
	pid_t pid;

	ck_assert(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe(p) == 0);
	pid = fork();
	if (pid == 0)
		restorer(p[1], ends_it);
	close(p[1]);
	ck_assert(waitpid(pid, &st, 0) == pid);
	ck_assert(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	for (int i = 0; i < N; i++)
		ck_assert(read(p[0], &kids[i], sizeof(pid)) == sizeof(pid));
	close(p[0]);
}

START_TEST(killed_before_all_run)
{
	pid_t kids[N];
	int st;

	run(kids, false);
	for (int i = 0; i < N; i++) {
		ck_assert(waitpid(kids[i], &st, 0) == kids[i]);
		ck_assert(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	}
	/* The guard has ended, too. */
	ck_assert(waitpid(-1, &st, 0) > 0);
	ck_assert(waitpid(-1, &st, 0) < 0);
}
END_TEST

START_TEST(killed_afterwards)
{
	pid_t kids[N];
	int st;

	run(kids, true);
	for (int i = 0; i < N; i++) {
		ck_assert(kill(kids[i], SIGUSR1) == 0);
		ck_assert(waitpid(kids[i], &st, 0) == kids[i]);
		ck_assert(WIFSIGNALED(st) && WTERMSIG(st) == SIGUSR1);
	}
	ck_assert(waitpid(-1, &st, 0) < 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("release");
	TCase *tc = tcase_create("release");

	tcase_add_test(tc, killed_before_all_run);
	tcase_add_test(tc, killed_afterwards);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
