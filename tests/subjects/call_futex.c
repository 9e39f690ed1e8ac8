/*
 * call_futex - asleep in futex(2) without a time-out.
 *
 * variants: musl
 * clones: alone
 */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "call.h"

static int word;

static long
waits(void *arg)
{
	long r = call_errno(
	    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));

	(void)arg;
	/* Issued again only when the word was another: as good as woken. */
	return r == -EAGAIN && __atomic_load_n(&word, __ATOMIC_SEQ_CST) ? 0 : r;
}

int
main(int argc, char **argv)
{
	struct call c = { .make = waits, .nr = SYS_futex };

	subject_init(argc, argv);
	call_begin(&c);

	subject_wait();

	expect(!call_finished(&c), "futex returned %ld too early", c.result);
	word = 1;
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	call_end("futex", &c, 0);
	return subject_done();
}
