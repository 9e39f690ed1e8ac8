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

static void
timed(const char *what, struct call *c, long want, int ms, int most)
{
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

void
call_timed(const char *what, struct call *c, long want, int ms)
{
	/* A hundred pauses of some ms each may add to it. */
	timed(what, c, want, ms, ms + 1000);
}

void
call_timed_anew(const char *what, struct call *c, long want, int ms)
{
	timed(what, c, want, ms, ms + 30000);
}
