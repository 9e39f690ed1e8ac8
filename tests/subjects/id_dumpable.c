/*
 * id_dumpable - not dumpable, and with a parent-death signal, which no
 * helper's end may set off.
 */
#include <sys/prctl.h>

#include "subject.h"

static volatile sig_atomic_t died;

static void
handler(int signo)
{
	died = signo;
}

int
main(int argc, char **argv)
{
	int sig = 0;

	subject_init(argc, argv);
	signal(SIGUSR1, handler);
	must(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
	must(prctl(PR_SET_DUMPABLE, 0) == 0);

	subject_wait();

	expect(prctl(PR_GET_DUMPABLE) == 0, "dumpable is %d",
	    prctl(PR_GET_DUMPABLE));
	must(prctl(PR_GET_PDEATHSIG, &sig) == 0);
	expect(sig == SIGUSR1, "parent-death signal is %d", sig);
	for (int i = 0; i < 20; i++)
		subject_rest();
	expect(died == 0, "told of a parent's death");
	return subject_done();
}
