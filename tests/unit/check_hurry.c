/*
 * check_hurry.c - whoever was real-time for a moment is not afterwards, by
 * whatever right it was.
 */
#include <check.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracee.h"
#include "unit.h"

enum { WELL, STAYS, NOT_ALLOWED };

/* What was begun with all rights, or by RLIMIT_RTPRIO, ends with those of uid. */
static int
hurry_once(uid_t uid)
{
	struct hurry h;

	hurry_begin(&h);
	if (h.policy < 0)
		return NOT_ALLOWED;
	if (syscall(SYS_setresuid, uid, uid, uid) != 0)
		return STAYS;
	hurry_end(&h);
	return (sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_OTHER
		   ? WELL
		   : STAYS;
}

/* Some may not be real-time at all. */
static void
check(uid_t uid)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(hurry_once(uid));
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_ne(WEXITSTATUS(status), STAYS);
}

START_TEST(with_rights)
{
	check(geteuid());
}
END_TEST

/* To take SCHED_RESET_ON_FORK back needs more than to take the policy back. */
START_TEST(without_rights)
{
	check(geteuid() == 0 ? 65534 : geteuid());
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("hurry");
	TCase *tc = tcase_create("hurry");

	tcase_add_test(tc, with_rights);
	tcase_add_test(tc, without_rights);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
