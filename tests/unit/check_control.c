/*
 * What the daemon reads from others: requests in .restore, the texts of /proc,
 * options; and the answers and log lines that it keeps.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "control.h"
#include "opts.h"
#include "procinfo.h"
#include "unit.h"

/* ---- requests ---- */

static const struct {
	const char *text;
	int err;
	const char *path, *tty;
	bool new_pid, stopped, replace;
} requests[] = {
	{ "backup\n", 0, "backup", "", false, false, false },
	{ "backup", 0, "backup", "", false, false, false },
	{ "a dir\\with 'all' of it \n", 0, "a dir\\with 'all' of it ", "",
	    false, false, false },
	{ "/snap/1\npid=new\n", 0, "/snap/1", "", true, false, false },
	{ "pid=new\n/snap/1\n", 0, "/snap/1", "", true, false, false },
	{ "d\nstopped\nreplace", 0, "d", "", false, true, true },
	{ "stopped\nd\ntty=/dev/pts/3\n", 0, "d", "/dev/pts/3", false, true,
	    false },
	{ "d\n\n\n", 0, "d", "", false, false, false },
	{ "./stopped\n", 0, "./stopped", "", false, false, false },
	/* Options alone: the path is still to come. */
	{ "pid=new\n", 0, "", "", true, false, false },
	{ "", -EINVAL, NULL, NULL, false, false, false },
	{ "\n", -EINVAL, NULL, NULL, false, false, false },
	{ "\nd\n", -EINVAL, NULL, NULL, false, false, false },
	{ "d\nfoo\n", -EINVAL, NULL, NULL, false, false, false },
	{ "d\npid=old\n", -EINVAL, NULL, NULL, false, false, false },
	{ "d\npid=new \n", -EINVAL, NULL, NULL, false, false, false },
	{ "d\ntty=\n", -EINVAL, NULL, NULL, false, false, false },
	{ "d\npid=new\nreplace\n", -EINVAL, NULL, NULL, false, false, false },
};

START_TEST(parse)
{
	struct restore_request r = { 0 };
	char why[256];
	int err;

	err = control_parse(
	    requests[_i].text, strlen(requests[_i].text), &r, why, sizeof(why));
	ck_assert_int_eq(err, requests[_i].err);
	ck_assert((why[0] != '\0') == (err != 0));
	if (err != 0)
		return;
	ck_assert_str_eq(r.path, requests[_i].path);
	ck_assert_str_eq(r.tty, requests[_i].tty);
	ck_assert(r.new_pid == requests[_i].new_pid);
	ck_assert(r.stopped == requests[_i].stopped);
	ck_assert(r.replace == requests[_i].replace);
}
END_TEST

START_TEST(parse_wait)
{
	static struct restore_request r;
	char why[256];

	ck_assert_int_eq(control_parse("wait\nd\n", 7, &r, why, 256), 0);
	ck_assert(r.wait && !r.stopped);
	ck_assert_int_eq(control_parse("d\nwaits\n", 8, &r, why, 256), -EINVAL);
}
END_TEST

START_TEST(parse_broker)
{
	static const char *const bad[] = { "broker=\n", "broker=2\n",
		"broker=-5\n", "broker=5x\n", "broker=999999999\n" };
	static struct restore_request r;
	char why[256];

	ck_assert_int_eq(control_parse("broker=7\n/d\n", 12, &r, why, 256), 0);
	ck_assert_uint_eq(r.broker, 7);
	ck_assert_str_eq(r.path, "/d");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(
		    control_parse(bad[i], strlen(bad[i]), &r, why, 256),
		    -EINVAL);
}
END_TEST

START_TEST(parse_ignore)
{
	static struct restore_request r;
	char why[256], text[64] = "ignore=";
	int err = 0, i;

	memset(&r, 0, sizeof(r));
	ck_assert_int_eq(
	    control_parse("ignore=fd 7\nignore=vma\nd\n", 25, &r, why, 256), 0);
	ck_assert_str_eq(r.path, "d");
	ck_assert_str_eq(r.ignore, "fd 7\nvma\n");
	ck_assert_int_eq(control_parse("ignore=\n", 8, &r, why, 256), -EINVAL);
	/* As much as there is room for, and no more. */
	memset(text + 7, 'x', 50);
	for (i = 0; i < 100 && err == 0; i++)
		err = control_parse(text, 57, &r, why, 256);
	ck_assert_int_eq(err, -E2BIG);
	ck_assert_uint_lt(strlen(r.ignore), CONTROL_IGNORE);
}
END_TEST

START_TEST(parse_parents)
{
	static struct restore_request r;
	char why[256], text[64] = "parent=";
	int err = 0, i;

	memset(&r, 0, sizeof(r));
	ck_assert_int_eq(
	    control_parse("parent=a b\nd7\nparent=/x\n", 24, &r, why, 256), 0);
	ck_assert_str_eq(r.path, "d7");
	ck_assert_str_eq(r.parents, "a b\n/x\n");
	ck_assert_int_eq(control_parse("parent=\n", 8, &r, why, 256), -EINVAL);
	memset(text + 7, 'x', 50);
	for (i = 0; i < 300 && err == 0; i++)
		err = control_parse(text, 57, &r, why, 256);
	ck_assert_int_eq(err, -E2BIG);
	ck_assert_uint_lt(strlen(r.parents), CONTROL_PARENTS);
}
END_TEST

START_TEST(parse_two_writes)
{
	struct restore_request r = { 0 };
	char why[256];

	ck_assert_int_eq(control_parse("stopped\n", 8, &r, why, 256), 0);
	ck_assert_str_eq(r.path, "");
	ck_assert_int_eq(control_parse("dir\n", 4, &r, why, 256), 0);
	ck_assert_str_eq(r.path, "dir");
	ck_assert(r.stopped);
}
END_TEST

/* Which of two lines was to be the path, only the writer knows. */
START_TEST(parse_misspelt)
{
	struct restore_request r = { 0 };
	const char bad[] = "templte=yes\ndir\n";
	char why[256];

	ck_assert_int_eq(
	    control_parse(bad, sizeof(bad) - 1, &r, why, 256), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "'templte=yes' and 'dir'"));
	ck_assert_ptr_nonnull(strstr(why, "understood"));
}
END_TEST

START_TEST(parse_inherit)
{
	struct restore_request r = { 0 };
	const char text[] = "stdio=inherit\ndir\n", bad[] = "dir\nstdio=new\n";
	char why[256];

	ck_assert_int_eq(
	    control_parse(bad, sizeof(bad) - 1, &r, why, 256), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "stdio=inherit"));
	memset(&r, 0, sizeof(r));
	ck_assert_int_eq(control_parse("dir\n", 4, &r, why, 256), 0);
	ck_assert(!r.inherit);
	memset(&r, 0, sizeof(r));
	ck_assert_int_eq(
	    control_parse(text, sizeof(text) - 1, &r, why, 256), 0);
	ck_assert_str_eq(r.path, "dir");
	ck_assert(r.inherit);
}
END_TEST

static const struct {
	const char *path, *cwd, *mountpoint;
	bool below;
} places[] = {
	{ "/snap/1234", "/", "/snap", true },
	{ "/snap//1234", "/", "/snap", true },
	{ "/snap", "/", "/snap", false },
	{ "/snap/", "/", "/snap", false },
	{ "/snapshots/1", "/", "/snap", false },
	{ "/srv/1234", "/snap", "/snap", false },
	{ "1234", "/snap", "/snap", true },
	{ "fd", "/snap/1234", "/snap", true },
	{ "1234", "/snapshots", "/snap", false },
	{ "snap/1234@a", "/", "/snap", true },
	{ "mnt/1234", "/home/u", "/home/u/mnt", true },
	{ "mnt", "/home/u", "/home/u/mnt", false },
	{ "mntx/1234", "/home/u", "/home/u/mnt", false },
	{ "backup", "/", "/snap", false },
	{ "/1234", "/", "/", true },
};

START_TEST(below_the_mount)
{
	ck_assert(control_is_below(places[_i].path, places[_i].cwd,
		      places[_i].mountpoint) == places[_i].below);
}
END_TEST

START_TEST(parse_hostile)
{
	struct restore_request r = { 0 };
	char why[64], big[CONTROL_MAX + 2];

	ck_assert_int_eq(
	    control_parse("a\0b\n", 4, &r, why, sizeof(why)), -EINVAL);
	memset(big, 'x', sizeof(big));
	ck_assert_int_eq(
	    control_parse(big, PATH_MAX - 1, &r, why, sizeof(why)), 0);
	ck_assert_uint_eq(strlen(r.path), PATH_MAX - 1);
	memset(&r, 0, sizeof(r));
	ck_assert_int_eq(
	    control_parse(big, PATH_MAX, &r, why, sizeof(why)), -ENAMETOOLONG);
	ck_assert_int_eq(
	    control_parse(big, sizeof(big), &r, why, sizeof(why)), -E2BIG);
	/* A sentence holds no more than it can, and nothing unprintable. */
	memcpy(big, "d\n\033[2J\377", 8);
	memset(&r, 0, sizeof(r));
	ck_assert_int_eq(
	    control_parse(big, 300, &r, why, sizeof(why)), -EINVAL);
	ck_assert_ptr_null(strchr(why, '\033'));
}
END_TEST

START_TEST(answers)
{
	static struct control_answers a;
	char text[32];
	uid_t uid;

	ck_assert_str_eq(control_answer_get(&a, 0), "");
	control_answer_put(&a, 0, "1\n");
	control_answer_put(&a, 0, "2\n");
	ck_assert_str_eq(control_answer_get(&a, 0), "2\n");
	for (uid = 1; uid < CONTROL_USERS + 1; uid++) {
		snprintf(text, sizeof(text), "%u\n", uid);
		control_answer_put(&a, uid, text);
	}
	/* The one that asked least recently is forgotten, no other. */
	ck_assert_str_eq(control_answer_get(&a, 0), "");
	ck_assert_str_eq(control_answer_get(&a, 1), "1\n");
	ck_assert_str_eq(control_answer_get(&a, CONTROL_USERS), "64\n");
}
END_TEST

/* ---- /proc ---- */

START_TEST(stat_of_a_strange_name)
{
	struct procinfo_stat st;

	ck_assert_int_eq(
	    procinfo_parse_stat("42 (a) R 1 (b)) S 7 42 42 34816 42 4194304 "
				"1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2\n",
		&st),
	    0);
	ck_assert_int_eq(st.pid, 42);
	ck_assert_int_eq(st.state, 'S');
	ck_assert_int_eq(st.ppid, 7);
	ck_assert_int_eq(st.pgid, 42);
	ck_assert_int_eq(st.tty_pgid, 42);
	ck_assert_int_eq(st.tty, 34816);
	ck_assert(!st.kernel);
	ck_assert_uint_eq(st.start, 98765);
	ck_assert_int_eq(
	    procinfo_parse_stat("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 "
				"0 0 20 0 1 0 3 0 0\n",
		&st),
	    0);
	ck_assert(st.kernel);
	ck_assert_int_eq(procinfo_parse_stat("42 (a) S 1\n", &st), -EPROTO);
	ck_assert_int_eq(procinfo_parse_stat("", &st), -EPROTO);
	ck_assert_int_eq(procinfo_parse_stat("x) S 1", &st), -EPROTO);
}
END_TEST

START_TEST(private_memory)
{
	static const char text[] = "55d0-7fff ---p 00 00:00 0 [rollup]\n"
				   "Rss:             900 kB\n"
				   "Private_Clean:    12 kB\n"
				   "Private_Dirty:     4 kB\n";
	uint64_t bytes = 0;

	ck_assert_int_eq(procinfo_parse_private(text, &bytes), 0);
	ck_assert_uint_eq(bytes, 16 << 10);
	ck_assert_int_eq(procinfo_parse_private("", &bytes), -EPROTO);
	ck_assert_int_eq(
	    procinfo_parse_private("Private_Clean: 1 kB\n", &bytes), -EPROTO);
}
END_TEST

static const char status_text[] = "Name:\tx\\nUid:\t0 0 0 0\n"
				  "Umask:\t0027\n"
				  "Tgid:\t12\n"
				  "TracerPid:\t5\n"
				  "Uid:\t1000\t1001\t1002\t1003\n"
				  "Gid:\t100\t101\t102\t103\n"
				  "Groups:\t4 20 4294967294 \n"
				  "CapInh:\t0000000000000001\n"
				  "CapPrm:\t000001ffffffffff\n"
				  "CapEff:\t0000000000080000\n"
				  "CapBnd:\t000001fffeffffff\n"
				  "CapAmb:\t0000000000000000\n"
				  "NoNewPrivs:\t1\n"
				  "Seccomp:\t2\n"
				  "Seccomp_filters:\t3\n";

START_TEST(status)
{
	struct procinfo_status st;

	ck_assert_int_eq(procinfo_parse_status(status_text, &st), 0);
	ck_assert_int_eq(st.tgid, 12);
	ck_assert_int_eq(st.tracer, 5);
	ck_assert_uint_eq(st.uid[0], 1000);
	ck_assert_uint_eq(st.uid[3], 1003);
	ck_assert_uint_eq(st.gid[2], 102);
	ck_assert_uint_eq(st.ngroups, 3);
	ck_assert_uint_eq(st.groups[2], 4294967294u);
	ck_assert_uint_eq(st.cap_prm, 0x1ffffffffffull);
	ck_assert_uint_eq(st.cap_eff, 0x80000);
	ck_assert_uint_eq(st.umask, 027);
	ck_assert(st.no_new_privs);
	ck_assert_uint_eq(st.seccomp, 2);
	ck_assert_uint_eq(st.seccomp_filters, 3);
	procinfo_status_fini(&st);
	ck_assert_int_eq(procinfo_parse_status("Name:\tx\n", &st), -EPROTO);
	ck_assert_int_eq(procinfo_parse_status("", &st), -EPROTO);
}
END_TEST

START_TEST(limits)
{
	struct rlimit r[RLIM_NLIMITS] = { 0 };

	r[RLIMIT_CORE].rlim_cur = 77;
	ck_assert_int_eq(
	    procinfo_parse_limits(
		"Limit                     Soft Limit           Hard Limit\n"
		"Max cpu time              unlimited            unlimited\n"
		"Max open files            1024                 524288  "
		"files\n",
		r),
	    0);
	ck_assert(r[RLIMIT_CPU].rlim_max == RLIM_INFINITY);
	ck_assert_uint_eq(r[RLIMIT_NOFILE].rlim_cur, 1024);
	ck_assert_uint_eq(r[RLIMIT_NOFILE].rlim_max, 524288);
	ck_assert_uint_eq(r[RLIMIT_CORE].rlim_cur, 77);
	ck_assert_int_eq(
	    procinfo_parse_limits("Max open files   x y\n", r), -EPROTO);
}
END_TEST

static const char mountinfo[] =
    "24 1 8:1 / / rw - ext4 /dev/sda rw\n"
    "30 24 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n"
    "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup "
    "rw,cpu,cpuacct\n"
    "32 24 0:28 /docker/1 /sys/fs/cgroup/my\\040mem rw - cgroup cgroup "
    "rw,memory\n"
    "33 24 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup "
    "rw,xattr,name=systemd\n";

static const struct {
	const char *line, *dir; /* NULL: not to be found */
} cgroups[] = {
	{ "0::/user.slice/a", "/sys/fs/cgroup/unified/user.slice/a" },
	{ "0::/", "/sys/fs/cgroup/unified/" },
	{ "4:cpu,cpuacct:/x\n5:foo:/", "/sys/fs/cgroup/cpu,cpuacct/x" },
	{ "1:name=systemd:/init", "/sys/fs/cgroup/systemd/init" },
	{ "6:memory:/docker/1/y", "/sys/fs/cgroup/my mem/y" },
	{ "6:memory:/docker/1", "/sys/fs/cgroup/my mem" },
	/* Not below what the mount shows. */
	{ "6:memory:/docker/12", NULL },
	{ "6:memory:/", NULL },
	{ "7:pids:/x", NULL },
	{ "nonsense", NULL },
	{ "", NULL },
};

START_TEST(cgroup_directories)
{
	char dir[256];
	bool found;

	found = cgroup_directory(cgroups[_i].line, mountinfo, dir, sizeof(dir));
	ck_assert(found == (cgroups[_i].dir != NULL));
	if (found)
		ck_assert_str_eq(dir, cgroups[_i].dir);
}
END_TEST

/* ---- options ---- */

START_TEST(seconds)
{
	static const struct {
		const char *text;
		bool ok;
		unsigned ms;
	} v[] = {
		{ "5", true, 5000 },
		{ "0", true, 0 },
		{ "0.25", true, 250 },
		{ "1e3", true, 1000000 },
		{ "", false, 0 },
		{ "-1", false, 0 },
		{ "5s", false, 0 },
		{ "inf", false, 0 },
		{ "nan", false, 0 },
		{ "1e300", false, 0 },
	};
	unsigned ms;

	ck_assert(opts_seconds(v[_i].text, &ms) == v[_i].ok);
	if (v[_i].ok)
		ck_assert_uint_eq(ms, v[_i].ms);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("control");
	TCase *tc = tcase_create("control");

	tcase_add_loop_test(
	    tc, parse, 0, sizeof(requests) / sizeof(requests[0]));
	tcase_add_test(tc, parse_two_writes);
	tcase_add_test(tc, parse_wait);
	tcase_add_test(tc, parse_broker);
	tcase_add_test(tc, parse_ignore);
	tcase_add_test(tc, parse_parents);
	tcase_add_test(tc, parse_misspelt);
	tcase_add_test(tc, parse_inherit);
	tcase_add_loop_test(
	    tc, below_the_mount, 0, sizeof(places) / sizeof(places[0]));
	tcase_add_test(tc, parse_hostile);
	tcase_add_test(tc, answers);
	tcase_add_test(tc, stat_of_a_strange_name);
	tcase_add_test(tc, private_memory);
	tcase_add_test(tc, status);
	tcase_add_test(tc, limits);
	tcase_add_loop_test(
	    tc, cgroup_directories, 0, sizeof(cgroups) / sizeof(cgroups[0]));
	tcase_add_loop_test(tc, seconds, 0, 10);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
