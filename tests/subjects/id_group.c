/*
 * id_group - leader of a process group in the session of another.
 */
#include "subject.h"

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	must(setpgid(0, 0) == 0);

	subject_wait();

	expect(getpgid(0) == getpid(), "group is %d", getpgid(0));
	return subject_done();
}
