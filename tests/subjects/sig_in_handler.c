/*
 * sig_in_handler - checkpointed while inside a handler that runs on an
 * alternate stack; it returns to where the signal came.
 *
 * variants: musl
 * clones: glibc
 */
#include <sys/mman.h>

#include "subject.h"

#define SIZE (512 * 1024)

static volatile sig_atomic_t ran, inner;

static void
on_inner(int signo)
{
	inner = signo;
}

static void
handler(int signo)
{
	stack_t ss;
	sigset_t mask;

	(void)signo;
	subject_wait();
	must(sigaltstack(NULL, &ss) == 0);
	expect(ss.ss_flags == SS_ONSTACK, "flags of the altstack are %x",
	    ss.ss_flags);
	must(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
	expect(sigismember(&mask, SIGUSR1) == 1 &&
		   sigismember(&mask, SIGUSR2) == 1,
	    "the handler's signals are not blocked");
	/* Pending until this handler returns. */
	raise(SIGUSR2);
	expect(inner == 0, "SIGUSR2 came though it is blocked");
	ran = 1;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	stack_t ss = { .ss_size = SIZE };
	char here[1000];
	double x = 1.25;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MASKS);
	ss.ss_sp = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(ss.ss_sp != MAP_FAILED);
	must(sigaltstack(&ss, NULL) == 0);
	sigaddset(&sa.sa_mask, SIGUSR2);
	must(sigaction(SIGUSR1, &sa, NULL) == 0);
	signal(SIGUSR2, on_inner);
	subject_fill(here, sizeof(here), 5);

	__asm__ volatile("" : "+x"(x));
	raise(SIGUSR1);
	__asm__ volatile("" : "+x"(x));

	expect(ran == 1, "the handler did not finish");
	expect(inner == SIGUSR2, "SIGUSR2 did not come");
	expect(x == 1.25, "a floating point register changed");
	subject_filled("the stack below", here, sizeof(here), 5);
	must(sigaltstack(NULL, &ss) == 0);
	expect(ss.ss_flags == 0, "flags of the altstack are %x", ss.ss_flags);
	return subject_done();
}
