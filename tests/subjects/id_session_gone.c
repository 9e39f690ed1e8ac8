/*
 * id_session_gone - member of a session and a group whose leader has ended:
 * it comes back in one of its own, or in that one.
 */
#include <sys/wait.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	pid_t leader;
	int status;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	must((leader = fork()) >= 0);
	if (leader > 0) {
		must(waitpid(leader, &status, 0) == leader);
		_exit(0); /* the subject is the grandchild */
	}
	must(setsid() == getpid());
	must((leader = fork()) >= 0);
	if (leader > 0)
		_exit(0);
	while (kill(getsid(0), 0) == 0)
		subject_rest();

	subject_wait();

	expect(getsid(0) > 0 && getpgid(0) > 0, "session %d, group %d",
	    getsid(0), getpgid(0));
	return subject_done();
}
