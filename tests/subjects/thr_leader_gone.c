/*
 * thr_leader_gone - the main thread has ended, the others run on: this is not
 * restored, but must not be harmed (badinput.sh).
 *
 * phases: alone
 */
#include "subject.h"

static void *
other(void *cookie)
{
	char text[64];

	subject_thread_begin(cookie);
	/* Its own status would say Z. */
	do {
		subject_rest();
		subject_proc("stat", text, sizeof(text));
	} while (strstr(text, ") Z") == NULL);
	subject_wait();
	_exit(subject_done());
}

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	subject_thread(other, NULL, NULL);
	pthread_exit(NULL);
}
