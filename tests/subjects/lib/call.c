/*
 * call.c - a thread inside a system call.
 */
#include "../call.h"

#include <sys/syscall.h>

/* How wrong subject_alive() may be after some restores. */
#define SLACK 150000000

static void *
run(void *cookie)
{
	struct call *c = subject_thread_begin(cookie);

	c->began = subject_alive();
	c->began_real = subject_now(CLOCK_MONOTONIC);
	c->result = c->make(c->arg);
	c->ended_real = subject_now(CLOCK_MONOTONIC);
	c->ended = subject_alive();
	__atomic_store_n(&c->finished, 1, __ATOMIC_SEQ_CST);
	/* Stay, so that the process is made of the same threads. */
	for (;;)
		pause();
	return NULL;
}

void
call_begin(struct call *c)
{
	c->finished = 0;
	c->thread = subject_thread(run, c, &c->tid);
	subject_blocked(c->tid, c->nr);
}

bool
call_finished(struct call *c)
{
	return __atomic_load_n(&c->finished, __ATOMIC_SEQ_CST) != 0;
}

static void
wait_finished(const char *what, struct call *c, int ms)
{
	int64_t until = subject_alive() + ms * 1000000ll;

	while (!call_finished(c) && subject_alive() < until)
		subject_rest();
	expect(call_finished(c), "%s does not return", what);
}

static void
expect_result(const char *what, const struct call *c, long want)
{
	if (c->result == want)
		return;
	if (c->result < 0)
		subject_fail("%s: %s", what, strerror((int)-c->result));
	else
		subject_fail("%s gave %ld, not %ld", what, c->result, want);
}

void
call_end(const char *what, struct call *c, long want)
{
	wait_finished(what, c, 5000);
	if (call_finished(c))
		expect_result(what, c, want);
}

void
call_timed(const char *what, struct call *c, long want, int ms)
{
	/* A hundred pauses of some ms each may add to it. */
	int most = ms + 1000;
	int64_t took;

	wait_finished(what, c, most + 2000);
	if (!call_finished(c))
		return;
	expect_result(what, c, want);
	/*
	 * The clock also runs while the process is frozen, what lives not.
	 * Where it was one life, the kernel went by the clock.
	 */
	took = subject_restored() ? c->ended - c->began + SLACK
				  : c->ended_real - c->began_real;
	took /= 1000000;
	expect(took >= ms && took <= most + SLACK / 1000000,
	    "%s returned after %lld ms, not %d", what, (long long)took, ms);
}

long
call_exactly(long nr, const uint64_t args[6])
{
	uint64_t rax = (uint64_t)nr, rcx, a[6], behind;
	register uint64_t r10 __asm__("r10");
	register uint64_t r8 __asm__("r8");
	register uint64_t r9 __asm__("r9");
	uint8_t carry;

	memcpy(a, args, sizeof(a));
	r10 = a[3];
	r8 = a[4];
	r9 = a[5];
	__asm__ volatile(
	    "lea	1f(%%rip), %[behind]\n\t"
	    "stc\n\t"
	    "syscall\n"
	    "1:\n\t"
	    "setc	%[carry]"
	    : "+a"(rax), "+D"(a[0]), "+S"(a[1]), "+d"(a[2]), "+r"(r10),
	    "+r"(r8), "+r"(r9),
	    "=&c"(rcx), [behind] "=&b"(behind), [carry] "=&q"(carry)
	    :
	    : "r11", "memory", "cc");
	a[3] = r10;
	a[4] = r8;
	a[5] = r9;
	for (int i = 0; i < 6; i++)
		expect(a[i] == args[i],
		    "call %ld: its argument %d has become %#lx", nr, i,
		    (unsigned long)a[i]);
	expect(rcx == behind && carry == 1, "call %ld: rcx is %#lx, carry %d",
	    nr, (unsigned long)rcx, carry);
	return (long)rax;
}
