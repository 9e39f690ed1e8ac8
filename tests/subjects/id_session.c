/*
 * id_session - leader of a session of its own.
 *
 * variants: musl
 */
#include "subject.h"

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	must(setsid() == getpid());

	subject_wait();

	expect(getsid(0) == getpid(), "session is %d", getsid(0));
	expect(getpgid(0) == getpid(), "group is %d", getpgid(0));
	return subject_done();
}
