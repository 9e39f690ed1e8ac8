/*
 * Interrupted calls: which EINTR is hidden, what the image and the code that
 * takes a thread home make of the kernel's private errors.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "calls.h"
#include "tracee.h"
#include "unit.h"

#define RIP 0x401000u

/* Memory of which only one place can be read. */
struct place {
	uint64_t addr;
	const void *bytes;
	size_t size;
};

static bool
read_place(void *arg, void *buf, size_t len, uint64_t addr)
{
	const struct place *p = arg;

	if (addr < p->addr || addr - p->addr > p->size ||
	    len > p->size - (addr - p->addr))
		return false;
	memcpy(buf, (const char *)p->bytes + (addr - p->addr), len);
	return true;
}

static struct user_regs_struct
in_call(long nr, long answer)
{
	struct user_regs_struct r = { .rip = RIP };

	r.orig_rax = (unsigned long)nr;
	r.rax = (unsigned long)answer;
	return r;
}

static const struct {
	long nr, answer;
	bool hidden;
} eintr[] = {
	{ SYS_epoll_wait, -4, true },
	{ SYS_rt_sigtimedwait, -4, true },
	{ SYS_recvfrom, -4, true },
	{ SYS_close, -4, false },
	{ SYS_epoll_wait, -11, false },
	{ SYS_epoll_wait, 0, false },
	{ -1, -4, false },
};

START_TEST(hides_eintr)
{
	struct user_regs_struct r = in_call(eintr[_i].nr, eintr[_i].answer);

	ck_assert(calls_hide_eintr(&r) == eintr[_i].hidden);
	ck_assert_int_eq(
	    (long)r.rax, eintr[_i].hidden ? -514 : eintr[_i].answer);
	ck_assert_int_eq((long)r.orig_rax, eintr[_i].nr);
	ck_assert_uint_eq(r.rip, RIP);
}
END_TEST

static const struct {
	long answer, rax;
	bool again;
} by_hand[] = {
	{ -512, SYS_read, true },
	{ -513, SYS_read, true },
	{ -514, SYS_read, true },
	{ -516, SYS_restart_syscall, true },
	{ -4, -4, false },
	{ 7, 7, false },
};

START_TEST(goes_home_by_hand)
{
	struct user_regs_struct r = in_call(SYS_read, by_hand[_i].answer), h;

	calls_by_hand(&h, &r);
	ck_assert_int_eq((long)h.rax, by_hand[_i].rax);
	ck_assert_uint_eq(h.rip, by_hand[_i].again ? RIP - 2 : RIP);
	ck_assert_int_eq((long)h.orig_rax, -1);
}
END_TEST

START_TEST(image_of_a_sleep)
{
	const struct timespec t = { 3, 500 };
	struct place place = { 0x10000, &t, sizeof(t) };
	const struct calls_memory m = { read_place, &place };
	struct user_regs_struct r = in_call(SYS_nanosleep, -516);
	struct call_sample s = { 0 };
	struct thread th = { 0 };

	r.rdi = 0x10000;
	ck_assert(calls_image(&th, &r, &s, &m));
	ck_assert_int_eq(th.restart.nr, SYS_nanosleep);
	ck_assert(th.restart.has_timeout);
	ck_assert_uint_eq(th.restart.left_ns, 3000000500ull);

	/* A signal with a handler is about to come. */
	calls_signalled(&th, &r, SA_RESTART);
	ck_assert_int_lt(th.restart.nr, 0);
	ck_assert_int_eq((long)th.regs.rax, -4);
}
END_TEST

/* One whose time-out the kernel does not keep, of which we know the end. */
START_TEST(image_of_a_timed_call)
{
	struct place nowhere = { 0 };
	const struct calls_memory m = { read_place, &nowhere };
	struct user_regs_struct r = in_call(SYS_epoll_wait, -514);
	struct call_sample s = { .since = 7000, .slept = 500, .until = 9000 };
	struct thread th = { 0 };

	r.r10 = 30000;
	ck_assert(calls_image(&th, &r, &s, &m));
	ck_assert_int_eq(th.restart.nr, SYS_epoll_wait);
	ck_assert(th.restart.has_timeout);
	ck_assert_uint_eq(th.restart.left_ns, 1500);
	ck_assert_uint_eq(th.restart.args[3], 30000);
	ck_assert_uint_eq(th.regs.rip, RIP);
	/* It is over; it is far away; it is not known. */
	s.until = 1;
	ck_assert(calls_image(&th, &r, &s, &m));
	ck_assert_uint_eq(th.restart.left_ns, 0);
	s.until = UINT64_MAX;
	ck_assert(calls_image(&th, &r, &s, &m));
	ck_assert_uint_eq(th.restart.left_ns, INT64_MAX);
	s.until = 0;
	ck_assert(calls_image(&th, &r, &s, &m));
	ck_assert_int_lt(th.restart.nr, 0);
	ck_assert_uint_eq(th.regs.rip, RIP - 2);
}
END_TEST

/* restart_syscall: the call's own number is to be found out. */
START_TEST(image_of_a_restarted_sleep)
{
	const struct timespec t = { 3, 500 };
	struct place place = { 0x10000, &t, sizeof(t) };
	const struct calls_memory m = { read_place, &place };
	struct user_regs_struct r = in_call(SYS_restart_syscall, -516);
	struct call_sample s = { 0 };
	struct thread th = { 0 };

	/* clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) */
	r.rdi = 1;
	r.rdx = 0x10000;
	ck_assert(calls_image(&th, &r, &s, &m));
	ck_assert_int_eq(th.restart.nr, SYS_clock_nanosleep);

	/* futex(0x20000, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, &t): it is
	 * until a moment, and so begins anew. */
	r.rdi = 0x20000;
	r.rsi = 9 | 128;
	r.rdx = 0;
	r.r10 = 0x10000;
	memset(&th, 0, sizeof(th));
	ck_assert(calls_image(&th, &r, &s, &m));
	ck_assert_int_eq(th.restart.nr, -1);
	ck_assert_int_eq((long)th.regs.rax, SYS_futex);
	ck_assert_uint_eq(th.regs.rip, RIP - 2);

	/* Nothing that it could be: it answers EINTR. */
	r.rsi = 0x7fff0000;
	r.r10 = 0;
	memset(&th, 0, sizeof(th));
	ck_assert(!calls_image(&th, &r, &s, &m));
	ck_assert_int_eq((long)th.regs.rax, -4);
}
END_TEST

/* What we take for the time at which it fell asleep may be a little too late. */
START_TEST(asleep_just_now)
{
	const uint64_t now = now_ns();
	struct call_sample s = { .since = now + 3600000000000u };

	calls_stopped(&s);
	ck_assert_uint_eq(s.slept, 0);
	ck_assert(s.since >= now && s.since < now + 3600000000000u);
	s.since = now - 1000;
	calls_stopped(&s);
	ck_assert_uint_ge(s.slept, 1000);
	ck_assert_uint_eq(s.since, now - 1000);
}
END_TEST

/* About to be made, at its `syscall`: a handler ends it; others are left. */
START_TEST(made_interruptible)
{
	static const struct {
		unsigned long nr;
		long err; /* 0: left */
	} calls[] = { { SYS_select, -514 }, { SYS_poll, -514 },
		{ SYS_epoll_wait, -514 }, { SYS_read, -512 },
		{ SYS_wait4, -512 }, { SYS_getpid, 0 }, { SYS_close, 0 } };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct user_regs_struct r = { .rax = calls[i].nr,
			.orig_rax = (unsigned long)-1,
			.rip = 1000 };
		struct user_regs_struct was = r;

		ck_assert_int_eq(calls_interruptible(&r), calls[i].err != 0);
		if (calls[i].err == 0) {
			ck_assert_mem_eq(&r, &was, sizeof(r));
			continue;
		}
		ck_assert_uint_eq(r.orig_rax, calls[i].nr);
		ck_assert_int_eq((long)r.rax, calls[i].err);
		ck_assert_uint_eq(r.rip, 1002);
		ck_assert(!calls_interruptible(&r));
	}
}
END_TEST

START_TEST(sa_restart_counts)
{
	struct user_regs_struct r = in_call(SYS_read, -512);
	struct call_sample s = { 0 };
	struct place nowhere = { 0 };
	const struct calls_memory m = { read_place, &nowhere };
	struct thread th = { 0 };

	ck_assert(calls_image(&th, &r, &s, &m));
	calls_signalled(&th, &r, SA_RESTART);
	ck_assert_int_eq((long)th.regs.rax, SYS_read);
	ck_assert_uint_eq(th.regs.rip, RIP - 2);
	calls_signalled(&th, &r, 0);
	ck_assert_int_eq((long)th.regs.rax, -4);
	ck_assert_uint_eq(th.regs.rip, RIP);
}
END_TEST

static const struct {
	long nr,
	    answer; /* nr -1: brought home by hand, `answer` is to be called */
	uint64_t rdx, r10;
	bool waits;
} waits[] = {
	{ SYS_wait4, -512, __WALL, 0, true },
	{ SYS_wait4, -512, __WCLONE | WNOHANG, 0, true },
	{ SYS_wait4, -512, WUNTRACED, __WALL, false },
	{ SYS_waitid, -512, __WALL, 0, false },
	{ SYS_waitid, -512, 0, WEXITED | __WALL, true },
	{ SYS_read, -512, __WALL, __WALL, false },
	{ -1, SYS_wait4, __WALL, 0, true },
	{ -1, SYS_waitid, 0, __WALL, true },
	{ -1, SYS_read, __WALL, __WALL, false },
};

START_TEST(waits_for_clones)
{
	struct user_regs_struct r = in_call(waits[_i].nr, waits[_i].answer);

	r.rdx = waits[_i].rdx;
	r.r10 = waits[_i].r10;
	ck_assert_int_eq(calls_waits_for_clones(&r), waits[_i].waits);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("calls");
	TCase *tc = tcase_create("calls");

	tcase_add_loop_test(tc, hides_eintr, 0, sizeof(eintr) / sizeof(*eintr));
	tcase_add_loop_test(
	    tc, goes_home_by_hand, 0, sizeof(by_hand) / sizeof(*by_hand));
	tcase_add_loop_test(
	    tc, waits_for_clones, 0, sizeof(waits) / sizeof(*waits));
	tcase_add_test(tc, image_of_a_sleep);
	tcase_add_test(tc, image_of_a_timed_call);
	tcase_add_test(tc, asleep_just_now);
	tcase_add_test(tc, image_of_a_restarted_sleep);
	tcase_add_test(tc, made_interruptible);
	tcase_add_test(tc, sa_restart_counts);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
