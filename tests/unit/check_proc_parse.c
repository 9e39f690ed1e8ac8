/*
 * Texts of /proc: what the kernel writes is understood, names that mislead do
 * not, and what is cut short is refused.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proc_parse.h"
#include "unit.h"

static const char status[] =
    "Name:\ta\\nTgid:\\\\b\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t12\n"
    "Ngid:\t0\nPid:\t13\nPPid:\t1\nTracerPid:\t7\nUid:\t1\t2\t3\t4\n"
    "Gid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t0 4294967295 \nNStgid:\t12\t2\n"
    "NSpid:\t13\t3\nNSpgid:\t1\nVmLck:\t       4 kB\nThreads:\t2\n"
    "SigQ:\t0/96365\nSigPnd:\t0000000000000001\nShdPnd:\t0000000000000002\n"
    "SigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000000000000\n"
    "SigCgt:\t0000000000000000\nCapInh:\t0000000000000000\n"
    "CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n"
    "CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"
    "Seccomp:\t2\nSeccomp_filters:\t1\n";

START_TEST(reads_status)
{
	struct proc_status st;

	ck_assert_int_eq(proc_parse_status(status, &st), 0);
	ck_assert_str_eq(st.comm, "a\nTgid:\\b");
	ck_assert_int_eq(st.tgid, 12);
	ck_assert_int_eq(st.pid, 13);
	ck_assert_int_eq(st.tracer, 7);
	ck_assert_int_eq(st.state, 'S');
	ck_assert_uint_eq(st.umask, 022);
	ck_assert_uint_eq(st.creds.fsuid, 4);
	ck_assert_uint_eq(st.creds.fsgid, 8);
	ck_assert_uint_eq(st.creds.ngroups, 2);
	ck_assert_uint_eq(st.creds.groups[1], 4294967295u);
	ck_assert_uint_eq(st.nspids, 2);
	ck_assert_int_eq(st.nspid, 3);
	ck_assert_uint_eq(st.vm_locked, 4096);
	ck_assert_uint_eq(st.sigpnd, 1);
	ck_assert_uint_eq(st.shdpnd, 2);
	ck_assert_uint_eq(st.sigblk, 0xfffffffe7ffbfeff);
	ck_assert(st.creds.no_new_privs);
	ck_assert_uint_eq(st.seccomp, 2);
	free(st.creds.groups);
}
END_TEST

/* Every shorter text lacks something, but for the last two lines. */
START_TEST(refuses_half_a_status)
{
	size_t end =
	    strlen(status) - strlen("Seccomp:\t2\nSeccomp_filters:\t1\n");
	struct proc_status st;
	char *text;

	for (size_t n = 0; n < end - 2; n++) {
		text = strndup(status, n);
		if (proc_parse_status(text, &st) == 0)
			ck_abort_msg("understood: %s", text);
		free(text);
	}
}
END_TEST

START_TEST(reads_stat)
{
	struct proc_stat st;
	char text[1024] = "9 (a) S 1 (b)) T 2 3 4 34816 -1 2097152";

	for (int field = 10; field <= 52; field++)
		sprintf(text + strlen(text), " %d", field);
	ck_assert_int_eq(proc_parse_stat(text, &st), 0);
	ck_assert_str_eq(st.comm, "a) S 1 (b)");
	ck_assert_int_eq(st.state, 'T');
	ck_assert_int_eq(st.ppid, 2);
	ck_assert_int_eq(st.pgid, 3);
	ck_assert_int_eq(st.sid, 4);
	ck_assert_uint_eq(st.tty, 34816);
	ck_assert_int_eq(st.tty_pgid, -1);
	ck_assert_uint_eq(st.flags, PROC_PF_KTHREAD);
	ck_assert_uint_eq(st.starttime, 22);
	ck_assert_int_eq(st.exit_signal, 38);
	ck_assert_uint_eq(st.mm.start_code, 26);
	ck_assert_uint_eq(st.mm.env_end, 51);
	text[strlen(text) - strlen(" 51 52")] = '\0';
	ck_assert_int_eq(proc_parse_stat(text, &st), -EPROTO);
	ck_assert_int_eq(proc_parse_stat("", &st), -EPROTO);
	ck_assert_int_eq(proc_parse_stat(")(", &st), -EPROTO);
}
END_TEST

START_TEST(reads_timers)
{
	struct posix_timer *v;
	size_t n;

	ck_assert_int_eq(
	    proc_parse_timers("ID: 0\nsignal: 14/00007ffc7e1e0d70\n"
			      "notify: signal/pid.1234\nClockID: 0\n"
			      "ID: 7\nsignal: 0/0\nnotify: none/tid.99\n"
			      "ClockID: -6\n",
		&v, &n),
	    0);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(v[0].signo, 14);
	ck_assert_uint_eq(v[0].sigval, 0x7ffc7e1e0d70);
	ck_assert_int_eq(v[0].notify, SIGEV_SIGNAL);
	ck_assert_int_eq(v[1].id, 7);
	ck_assert_int_eq(v[1].notify, SIGEV_NONE | 4 /* SIGEV_THREAD_ID */);
	ck_assert_int_eq(v[1].tid, 99);
	ck_assert_int_eq(v[1].clockid, -6);
	free(v);
	ck_assert_int_eq(proc_parse_timers("", &v, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(proc_parse_timers("signal: 1/0\n", &v, &n), -EPROTO);
	ck_assert_int_eq(
	    proc_parse_timers("ID: 1\nnotify: pigeon/pid.1\n", &v, &n),
	    -EPROTO);
}
END_TEST

START_TEST(reads_limits)
{
	struct proc_limit l[PROCESS_NRLIMITS];
	char line[128], text[4096] = "Limit                     Soft Limit     "
				     "      Hard Limit       "
				     "    Units     \n";
	static const char *const names[] = { "cpu time", "file size",
		"data size", "stack size", "core file size", "resident set",
		"processes", "open files", "locked memory", "address space",
		"file locks", "pending signals", "msgqueue size",
		"nice priority", "realtime priority", "realtime timeout" };

	for (unsigned i = 0; i < PROCESS_NRLIMITS; i++) {
		ck_assert_int_eq(proc_parse_limits(text, l), -EPROTO);
		snprintf(line, sizeof(line), "Max %-21s %-20u %-20s bytes\n",
		    names[i], i, "unlimited");
		strcat(text, line);
	}
	ck_assert_int_eq(proc_parse_limits(text, l), 0);
	ck_assert_uint_eq(l[3].cur, 3);
	ck_assert_uint_eq(l[3].max, UINT64_MAX);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("proc_parse");
	TCase *tc = tcase_create("proc_parse");

	tcase_add_test(tc, reads_status);
	tcase_add_test(tc, refuses_half_a_status);
	tcase_add_test(tc, reads_stat);
	tcase_add_test(tc, reads_timers);
	tcase_add_test(tc, reads_limits);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
