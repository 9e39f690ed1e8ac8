/*
 * check_ttys.c - terminals, the way round.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "roundtrip.h"
#include "unit.h"

static char slave_name[64];

static void
tty_prepare(void)
{
	struct termios t;

	at(open(slave_name, O_RDWR | O_NOCTTY), 0);
	OK(tcgetattr(0, &t) == 0);
	t.c_lflag &= ~(tcflag_t)ECHO;
	t.c_cc[VINTR] = 7;
	OK(tcsetattr(0, TCSANOW, &t) == 0);
	at(dup(0), 1);
	at(open(slave_name, O_WRONLY | O_NOCTTY | O_NONBLOCK), 2);
}

static void
tty_verify(void)
{
	struct termios t;

	OK(tcgetattr(0, &t) == 0);
	OK((t.c_lflag & ECHO) == 0 && t.c_cc[VINTR] == 7);
	OK(flags_of(1) == O_RDWR);
	OK(flags_of(2) == (O_WRONLY | O_NONBLOCK));
	OK(strcmp(ttyname(2), slave_name) == 0);
}

static void
hung_up_verify(void)
{
	char c;

	OK(read(0, &c, 1) == 0);
	OK(write(2, "x", 1) < 0 && errno == EIO);
	OK(flags_of(2) == (O_WRONLY | O_NONBLOCK));
}

START_TEST(ttys)
{
	struct process *p;
	int master, one, two;

	ck_assert_int_eq(openpty(&master, &one, slave_name, NULL, NULL), 0);
	p = collect(tty_prepare);
	ck_assert_int_eq(restore(p, hung_up_verify), 0);
	ck_assert_int_eq(openpty(&master, &two, slave_name, NULL, NULL), 0);
	tty = two;
	ck_assert_int_eq(restore(p, tty_verify), 0);
	ck_assert_uint_eq(p->nunsupported, 0);
	process_free(p);
}
END_TEST

static void
ptmx_prepare(void)
{
	at(posix_openpt(O_RDWR | O_NOCTTY), 3);
}

START_TEST(ptmx)
{
	refused(ptmx_prepare, "fd 3", "the master side");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("ttys");
	TCase *tc = tcase_create("round trip");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, ttys);
	tcase_add_test(tc, ptmx);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
