/*
 * sig_stopped - a process that was stopped with SIGSTOP, all its threads,
 * stays stopped.
 *
 * state: T
 */
#include "subject.h"

static volatile uint64_t turns;

static void *
spin(void *cookie)
{
	subject_thread_begin(cookie);
	for (;;) {
		turns++;
		usleep(200);
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	uint64_t before;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	subject_thread(spin, NULL, NULL);
	while (turns < 3)
		subject_rest();

	subject_ready();
	raise(SIGSTOP);
	/* Here it is stopped, and then continued by the harness. */
	while (!subject_told())
		;
	before = turns;
	for (int i = 0; i < 1000 && turns == before; i++)
		subject_rest();
	expect(turns > before, "the other thread does not run");
	return subject_done();
}
