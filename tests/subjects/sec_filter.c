/*
 * sec_filter - seccomp filters: a chain of them, one with a flag, some that all
 * threads got at once, and one of a thread alone.
 *
 * variants: musl
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "subject.h"

static volatile int go, checked;

/* This call fails with that error, all others are as before. */
static long
forbid(long nr, int error, unsigned flags)
{
	struct sock_filter v[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(v) / sizeof(v[0]), v };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void
is_forbidden(const char *who, long nr, int error)
{
	long r;

	errno = 0;
	r = syscall(nr, 0, 0, 0);
	if (error == 0)
		expect(r >= 0, "%s: call %ld: %s", who, nr, strerror(errno));
	else
		expect(r < 0 && errno == error, "%s: call %ld: %ld, error %d",
		    who, nr, r, errno);
}

static void
has_filters(pid_t tid, int n)
{
	char name[64], text[4096], *s;

	snprintf(name, sizeof(name), "task/%d/status", (int)tid);
	s = strstr(subject_proc(name, text, sizeof(text)), "Seccomp_filters:");
	if (s != NULL)
		expect(atoi(s + 16) == n, "thread %d: %d filters, not %d",
		    (int)tid, atoi(s + 16), n);
}

static void *
plain(void *cookie)
{
	subject_thread_begin(cookie);
	while (checked != 2)
		usleep(2000);
	is_forbidden("plain", SYS_getppid, 91);
	is_forbidden("plain", SYS_getpgrp, 92);
	is_forbidden("plain", SYS_times, 93);
	/* From the other thread. */
	is_forbidden("plain", SYS_alarm, 94);
	is_forbidden("plain", SYS_getuid, 95);
	return NULL;
}

static void *
special(void *cookie)
{
	subject_thread_begin(cookie);
	must(forbid(SYS_alarm, 94, 0) == 0);
	checked = 1;
	while (!go)
		usleep(2000);
	is_forbidden("special", SYS_alarm, 94);
	has_filters(subject_tid(), 4);
	/* Only if what all the others are under is at the root of its own. */
	expect(forbid(SYS_getuid, 95, SECCOMP_FILTER_FLAG_TSYNC) == 0,
	    "the filters are not the same for all threads: %s",
	    strerror(errno));
	checked = 2;
	return NULL;
}

int
main(int argc, char **argv)
{
	pthread_t a, b;

	subject_init(argc, argv);
	if (forbid(SYS_getppid, 91, SECCOMP_FILTER_FLAG_LOG) != 0)
		subject_skip("seccomp: %s", strerror(errno));
	a = subject_thread(plain, NULL, NULL);
	must(forbid(SYS_getpgrp, 92, SECCOMP_FILTER_FLAG_TSYNC) == 0);
	must(forbid(SYS_times, 93, SECCOMP_FILTER_FLAG_TSYNC) == 0);
	b = subject_thread(special, NULL, NULL);
	while (!checked)
		usleep(1000);

	subject_wait();

	subject_forget();
	is_forbidden("main", SYS_getppid, 91);
	is_forbidden("main", SYS_getpgrp, 92);
	is_forbidden("main", SYS_times, 93);
	is_forbidden("main", SYS_alarm, 0);
	has_filters(getpid(), 3);
	checked = 1;
	go = 1;
	pthread_join(b, NULL);
	is_forbidden("main", SYS_alarm, 94);
	is_forbidden("main", SYS_getuid, 95);
	pthread_join(a, NULL);
	return subject_done();
}
