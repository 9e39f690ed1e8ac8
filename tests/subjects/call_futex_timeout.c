/*
 * call_futex_timeout - asleep in futex(2) with a relative time-out, one that
 * runs out and one that does not, and with an absolute one.
 *
 * variants: musl
 * clones: alone
 */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "call.h"

static int runs_out, woken, absolute;
static struct timespec until;

static long
waits(void *arg)
{
	struct timespec ts = { arg == &woken ? 1000 : 1, 0 };

	long r = call_errno(
	    syscall(SYS_futex, arg, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0));

	/* Issued again only when the word was another: as good as woken. */
	return r == -EAGAIN && __atomic_load_n((int *)arg, __ATOMIC_SEQ_CST)
		   ? 0
		   : r;
}

static long
waits_until(void *arg)
{
	return call_errno(
	    syscall(SYS_futex, arg, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0,
		&until, NULL, FUTEX_BITSET_MATCH_ANY));
}

int
main(int argc, char **argv)
{
	struct call a = { .make = waits, .nr = SYS_futex, .arg = &runs_out };
	struct call b = { .make = waits, .nr = SYS_futex, .arg = &woken };
	struct call c = {
		.make = waits_until, .nr = SYS_futex, .arg = &absolute
	};

	subject_init(argc, argv);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	call_begin(&a);
	call_begin(&b);
	call_begin(&c);

	subject_wait();

	call_timed("futex", &a, -ETIMEDOUT, 1000);
	call_end("futex until", &c, -ETIMEDOUT);
	expect(!call_finished(&b), "futex returned %ld too early", b.result);
	woken = 1;
	syscall(SYS_futex, &woken, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	call_end("futex that is woken", &b, 0);
	return subject_done();
}
